"""The messages that changes rest on, with their text at hand: as it stood when the change came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from memfold.canonical import encode, from_us
from memfold.events import MessageAppended, MessageUpdated
from memfold.ids import encode_token
from memfold.provenance import Position
from memfold_projections.said import TEXT_MAX, Name, Said, events_of, recorded_at

if TYPE_CHECKING:
    from memfold_projections.log import Log
    from memfold_projections.reader import Reader
    from memfold_projections.tracing import Changed

EVIDENCE_BYTES_MAX: Final = 192 * 1024
"""What the evidence of one change may take of an answer."""
_RESOURCE_TOKEN: Final = 3

_EVENTS: Final = """
SELECT id, sequence, index FROM seen WHERE id IN (SELECT unnest($ids::TEXT[]))
"""
_PLACES: Final = """
SELECT DISTINCT thread.id, message.id, message.sequence, message.index
FROM message JOIN thread ON message.thread = thread.key
WHERE thread.resource = $resource AND message.sequence IN (SELECT unnest($sequences::BIGINT[]))
"""
_SUBJECTS: Final = "SELECT sequence, subject FROM event WHERE sequence IN (SELECT unnest(?))"


class Sources:
    """The evidence and causes of some changes of one resource, read at once."""

    def __init__(self, log: Log, reader: Reader, resource: str, changes: Sequence[Changed]) -> None:
        self._causes = _find_causes(log, reader, resource, changes)
        wanted = {name for each in changes for name in evidence(each)}
        wanted |= set(self._causes.values())
        self._said = Said(log, reader, resource, wanted)

    def describe(self, change: Changed) -> dict[str, Any]:
        """Return a change with its reason, its evidence and what caused it."""
        data = change.data
        reason = data.get("reason")
        found: list[dict[str, Any]] = []
        names = evidence(change)
        room = EVIDENCE_BYTES_MAX
        for name in names:
            source = self._source(name, change.position[0])
            room -= len(encode(source))
            if room < 0 and found:
                break
            found.append(source)
        cause = self._causes.get(change.position)
        return {
            "sequence": change.position[0],
            "index": change.position[1],
            "time": from_us(change.time_us),
            "actor": change.actor,
            "id": change.id,
            "type": change.type,
            "mode": data.get("mode"),
            "reason": None if reason is None else reason[:TEXT_MAX],
            "causation": change.causation,
            "correlation": change.correlation,
            "reverts": data.get("reverts"),
            "evidence": found,
            "more_evidence": len(names) - len(found),
            "cause": None if cause is None else self._source(cause, change.position[0]),
        }

    def _source(self, name: Name, sequence: int) -> dict[str, Any]:
        """Return a message as it stood at a sequence, who said so, and what became of it since."""
        version, since = self._said.at(name, sequence)
        shown: dict[str, Any] = {"thread": name[0], "message": name[1], "since": since}
        if version is None:
            unknown = ("role", "actor", "created_at", "text", "sequence", "index")
            return shown | dict.fromkeys(unknown) | {"cut": False}
        actor, position = self._said.origin(name, version)
        text = version.text
        return shown | {
            "role": version.role,
            "actor": actor,
            "created_at": from_us(version.created_at_us),
            "text": text[:TEXT_MAX],
            "cut": len(text) > TEXT_MAX,
            "sequence": position[0],
            "index": position[1],
        }


def evidence(change: Changed) -> list[Name]:
    """Return the messages that a change names as its evidence, each once."""
    named: list[dict[str, str]] = change.data.get("evidence") or []
    return list(dict.fromkeys((each["thread"], each["message"]) for each in named))


def _find_causes(
    log: Log, reader: Reader, resource: str, changes: Iterable[Changed]
) -> dict[Position, Name]:
    """Return by position of a change the message that the event which caused it was about.

    An id is unique for its actor alone, and a later event can have it, too: what counts is the
    first event of that id in the resource, and it must come before the change.
    """
    caused = {each.position: each.causation for each in changes if each.causation}
    if not caused:
        return {}
    known: dict[str, list[Position]] = {}
    for id_, sequence, index in reader.rows(_EVENTS, {"ids": sorted(set(caused.values()))}):
        known.setdefault(id_, []).append((sequence, index))
    sequences = sorted({position[0] for positions in known.values() for position in positions})
    if not sequences:
        return {}
    places: dict[Position, Name] = {
        (row[2], row[3]): (row[0], row[1])
        for row in reader.rows(_PLACES, {"resource": resource, "sequences": sequences})
    }
    # The log has no message any more where an erasure left only a part of it.
    ours = {position[0] for position in places} | _sequences_of(log, resource, sequences)
    found: dict[Position, Name] = {}
    for position, id_ in caused.items():
        earlier = [each for each in known.get(id_, ()) if each < position and each[0] in ours]
        if not earlier:
            continue
        first = min(earlier)
        name = places.get(first) or _message_at(log, reader, first)
        if name is not None:
            found[position] = name
    return found


def _sequences_of(log: Log, resource: str, sequences: list[int]) -> set[int]:
    """Return those of some sequences whose subject is a resource's."""
    token = encode_token(resource)
    return {
        sequence
        for rows in log.pages(_SUBJECTS, [sequences], 1000)
        for sequence, subject in rows
        if subject.split(".")[_RESOURCE_TOKEN] == token
    }


def _message_at(log: Log, reader: Reader, position: Position) -> Name | None:
    """Return the message that an event saved again or changed, if it is such an event."""
    kind = reader.outcomes([position[0]]).get(position, ("applied",))[0]
    if kind not in {"applied", "unchanged"}:
        return None
    for message in recorded_at(log, position[0]):
        for event in events_of(message):
            data = event.data
            if event.index != position[1]:
                continue
            if isinstance(data, MessageAppended):
                return str(event.address.thread), data.message.id
            if isinstance(data, MessageUpdated):
                return str(event.address.thread), data.id
    return None
