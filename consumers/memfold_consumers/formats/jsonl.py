"""Our own events, one a line, in the form they have on the wire (docs: the envelope's attributes).

The envelope says what else the subject would say: whose memory, and who changes it (``source``).
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections import Counter
from typing import Any, Final, cast

from memfold.building import prepare
from memfold.errors import InvalidEvent
from memfold.events import DATA_TYPES, Data, MemoryMerged
from memfold.gate import check, parse
from memfold.ids import check_id
from memfold.limits import EVENT_BYTES_MAX
from memfold.subjects import Address, Facet
from memfold.wire import digest
from memfold_consumers.formats.stable import Fault, Item, Salts, stable_id

LINE_BYTES_MAX: Final = 8 * EVENT_BYTES_MAX
"""Longest line: an event of the full size with nearly every character escaped."""

_TYPES: Final[tuple[type[Data], ...]] = (MemoryMerged, *DATA_TYPES)
_FACETS: Final[dict[str, Facet]] = {data.type: data.facet for data in _TYPES}


class LineReader:
    """Reads the lines of one input, in order; ``file`` is its name for messages.

    A line without an id gets one from its content and from how often it came before.
    """

    def __init__(self, file: str, salts: Salts) -> None:
        self._file = file
        self._salts = salts
        self._line = 0
        self._seen: Counter[bytes] = Counter()

    def read(self, line: bytes) -> Item | Fault | None:
        """Return the line's event, or what is wrong with it; None for an empty line."""
        self._line += 1
        if self._line == 1:
            line = line.removeprefix(BOM_UTF8)
        if not line.strip():
            return None
        origin = f"{self._file}: line {self._line}"
        try:
            return self._item(line, origin)
        except InvalidEvent as error:
            return Fault(origin, error.reason, error.message)

    def _item(self, line: bytes, origin: str) -> Item:
        if len(line) > LINE_BYTES_MAX:
            message = f"the line is longer than {LINE_BYTES_MAX} bytes"
            raise InvalidEvent(message, reason="event_too_large")
        parsed: object = parse(line)
        check(parsed)
        if not isinstance(parsed, dict):
            message = "a line holds one event, a JSON object"
            raise InvalidEvent(message, reason="invalid_envelope")
        raw = cast("dict[str, Any]", parsed)
        address = _address(raw)
        given_id = "id" in raw
        if not given_id:
            content = {name: value for name, value in raw.items() if name != "salt"}
            key = digest(content)
            self._seen[key] += 1
            raw["id"] = stable_id(content, self._seen[key])
        raw.setdefault("salt", self._salts())
        return Item(prepare(raw, address), origin, digest(raw), given_id)


def _address(raw: dict[str, Any]) -> Address:
    facet = _FACETS.get(str(raw.get("type")))
    if facet is None:
        message = "unknown event type"
        raise InvalidEvent(message, reason="unknown_type")
    if not isinstance(raw.get("source"), str):
        message = "the envelope does not fit: source: text is required"
        raise InvalidEvent(message, reason="invalid_envelope")
    return Address(
        resource=_optional_id(raw, "resourceid"),
        thread=_optional_id(raw, "threadid"),
        facet=facet,
        actor=check_id(raw["source"], "source"),
    )


def _optional_id(raw: dict[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return None if value is None else check_id(value, name)
