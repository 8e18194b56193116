"""Parked events that were given up: which of them newer rules must leave without effect.

Whoever folds from the start under newer rules meets the event before the ``ParkedDiscarded`` that
gave it up, and could read it. So the positions are taken from ``log.duckdb`` beforehand. An event
that the rules of that time could read was never parked, and its discard was rejected: it stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold import upcast
from memfold.events import ParkedDiscarded
from memfold.limits import FOLD_VERSION
from memfold.wire import Event, Recorded, Unreadable, read_message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memfold.provenance import Position
    from memfold.sealed import KeyFinder
    from memfold_projections.log import Log

FETCH_MESSAGES: Final = 64

_ACTS: Final = """
SELECT sequence, time_ns, subject, payload, msg_id FROM event
WHERE split_part(subject, '.', 6) = 'erasure' ORDER BY sequence
"""
_MESSAGE: Final = """
SELECT sequence, time_ns, subject, payload, msg_id FROM event WHERE sequence = ?
"""


def without_effect(event: Event | Unreadable, discarded: frozenset[Position]) -> Event | Unreadable:
    """Return an event to be folded, as one that cannot be read if it was given up."""
    if not discarded or not isinstance(event, Event):
        return event
    if (event.sequence, event.index) not in discarded:
        return event
    return Unreadable(
        event.sequence,
        event.index,
        event.time_us,
        event.address,
        reason="discarded",
        detail="it was given up when it could not be read",
    )


def find_discarded(log: Log, namespace: str, keys: KeyFinder | None = None) -> frozenset[Position]:
    """Return the positions that were given up, and that only these rules could read."""
    if not upcast.READABLE_SINCE:
        return frozenset()
    return frozenset(
        (act.data.sequence, act.data.index)
        for act in _events(log, namespace, _ACTS, [], None)
        if isinstance(act.data, ParkedDiscarded)
        and _was_parked(log, namespace, act, act.data, keys)
    )


def _was_parked(
    log: Log, namespace: str, act: Event, data: ParkedDiscarded, keys: KeyFinder | None
) -> bool:
    if data.fold_version >= FOLD_VERSION or data.sequence >= act.sequence:
        return False
    whose = (act.address.resource, act.address.thread)
    for event in _events(log, namespace, _MESSAGE, [data.sequence], keys):
        if event.index == data.index:
            kind = (event.envelope.type, event.envelope.dataversion)
            since = upcast.READABLE_SINCE.get(kind, 0)
            same = whose == (event.address.resource, event.address.thread)
            return same and since > data.fold_version
    return False


def _events(
    log: Log, namespace: str, statement: str, parameters: list[int], keys: KeyFinder | None
) -> Iterator[Event]:
    for rows in log.pages(statement, parameters, FETCH_MESSAGES):
        for row in rows:
            # No rule here depends on the time.
            for event in read_message(namespace, Recorded(*row), time_us=0, keys=keys):
                if isinstance(event, Event):
                    yield event
