"""Upcasters: raw JSON of (type, version n) to version n + 1, before any model sees it.

Every released wire form stays readable for ever: a changed shape needs a new ``version`` on its
class in ``memfold.events`` and an upcaster here. Upcasters are pure and total over valid old data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from memfold.errors import InvalidEvent

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {}
"""(type, version) -> the function that turns this version's ``data`` into the next one's."""


READABLE_SINCE: Final[Mapping[tuple[str, int], int]] = {}
"""(type, version) -> the first fold version that reads it; what is not here was always read.

Tells a parked event that was discarded, because nobody could read it then, from one that was never
parked: a newer fold must leave out the former, and only that.
"""


def upcast(
    type_: str,
    version: int,
    data: dict[str, Any],
    *,
    current: int,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> dict[str, Any]:
    """Bring ``data`` of an event type from ``version`` to ``current``, step by step.

    Raises:
        InvalidEvent: reason ``unknown_version`` (newer than this code, or a step is missing) or
            ``invalid_data`` (a step failed on it).
    """
    while version < current:
        step = upcasters.get((type_, version))
        if step is None:
            break
        try:
            data = step(data)
        except Exception:  # noqa: BLE001  # old data that never was valid may break a step anyhow
            message = f"the data of {type_} version {version} could not be upcast"
            raise InvalidEvent(message, reason="invalid_data") from None
        version += 1
    if version != current:
        message = f"{type_} version {version} is not known here (this code reads {current})"
        raise InvalidEvent(message, reason="unknown_version")
    return data
