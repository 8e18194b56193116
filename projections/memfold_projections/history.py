"""Reads of the log: the changes of a resource or thread, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from memfold.canonical import encode, from_us
from memfold.ids import encode_token
from memfold.sealed import keyids
from memfold.wire import Event, Recorded, Unreadable, read_message

if TYPE_CHECKING:
    from memfold.provenance import Position
    from memfold.sealed import KeyFinder
    from memfold_projections.log import Log
    from memfold_projections.reader import Reader

FETCH_MESSAGES: Final = 64

_RECORDED: Final = """
SELECT sequence, time_ns, subject, payload, msg_id, time_us FROM event
WHERE sequence >= $after AND sequence <= $upto AND split_part(subject, '.', 4) = $resource
  AND ($thread IS NULL OR split_part(subject, '.', 5) = $thread)
ORDER BY sequence
"""

_MESSAGE: Final = """
SELECT sequence, time_ns, subject, payload, msg_id FROM event WHERE sequence = ?
"""

_PAYLOADS: Final = """
SELECT payload FROM event WHERE sequence > ? AND split_part(subject, '.', 4) = ?
"""


def changes(  # noqa: PLR0913  # one query with its named parts
    log: Log,
    reader: Reader,
    namespace: str,
    resource: str,
    thread: str | None,
    *,
    after: Position,
    limit: int,
    bytes_max: int,
    upto: int | None = None,
    everything: bool = False,
    keys: KeyFinder | None = None,
) -> tuple[list[bytes], Position | None]:
    """Return the changes behind a position in the log's order, and where to go on.

    Only events that changed something, unless ``everything`` asks for the unchanged, rejected and
    duplicate ones too. Parked events cannot be shown as changes; they are listed on their own.
    """
    found: list[bytes] = []
    size = 0
    last: Position = after
    meant = {
        "after": after[0],
        "upto": reader.sequence if upto is None else upto,
        "resource": encode_token(resource),
        "thread": None if thread is None else encode_token(thread),
    }
    for rows in log.pages(_RECORDED, meant, FETCH_MESSAGES):
        outcomes = reader.outcomes([row[0] for row in rows])
        for row in rows:
            message = Recorded(*row[:5])
            for event in read_message(namespace, message, time_us=row[5], keys=keys):
                position = (event.sequence, event.index)
                outcome = outcomes.get(position, ("applied", "", "", None))
                if position <= after or not isinstance(event, Event):
                    continue
                if outcome[0] == "parked" or (not everything and outcome[0] != "applied"):
                    continue
                encoded = encode(_change(event, outcome[0], outcome[1]))
                if len(found) == limit or (found and size + len(encoded) > bytes_max):
                    return found, last
                found.append(encoded)
                size += len(encoded) + 1
                last = position
    return found, None


def events_at(
    log: Log, namespace: str, sequence: int, keys: KeyFinder | None = None
) -> list[Event | Unreadable]:
    """Return the events of one message as this code reads them; none if it is not there."""
    for rows in log.pages(_MESSAGE, [sequence], 1):
        # Whether they can be read does not depend on the time.
        return list(read_message(namespace, Recorded(*rows[0]), time_us=0, keys=keys))
    return []


def keyids_after(log: Log, resource: str, sequence: int) -> set[str]:
    """Return the ids of the keys that a resource's events behind a sequence are sealed under."""
    found: set[str] = set()
    for rows in log.pages(_PAYLOADS, [sequence, encode_token(resource)], FETCH_MESSAGES):
        for (payload,) in rows:
            found.update(keyids(payload))
    return found


def parked_whole(log: Log, namespace: str, sequence: int) -> bool:
    """Tell whether what was parked at index 0 is all of its message: it has no other events."""
    for rows in log.pages(_MESSAGE, [sequence], 1):
        # Their number does not depend on the time.
        return sum(1 for _ in read_message(namespace, Recorded(*rows[0]), time_us=0)) == 1
    return False


def _change(event: Event, outcome: str, reason: str) -> dict[str, Any]:
    envelope = event.envelope
    return {
        "sequence": event.sequence,
        "index": event.index,
        "time": from_us(event.time_us),
        "actor": event.address.actor,
        "type": envelope.type,
        "resource": event.address.resource,
        "thread": event.address.thread,
        "id": envelope.id,
        "causation": envelope.causationid,
        "correlation": envelope.correlationid,
        "outcome": outcome,
        "reason": reason or None,
        "data": event.shown(),
    }
