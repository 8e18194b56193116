"""The messages that changes rest on, with their text at hand: as it stood when the change came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from memfold.canonical import encode, from_us, is_array
from memfold.ids import decode_token
from memfold.provenance import Position
from memfold_projections.rows import Row, decode

if TYPE_CHECKING:
    from memfold_projections.log import Log
    from memfold_projections.reader import Reader
    from memfold_projections.tracing import Changed

TEXT_MAX: Final = 4096
"""Characters of a message's text, and of a change's reason, that are shown."""
EVIDENCE_BYTES_MAX: Final = 192 * 1024
"""What the evidence of one change may take of an answer."""

Name = tuple[str, str]
"""(thread, message)."""

_THREADS: Final = """
SELECT key, id, live, valid_from, valid_to FROM thread
WHERE resource = $resource AND id IN (SELECT unnest($threads::TEXT[]))
"""
# Of a very long message only the beginning is read.
_MESSAGES: Final = f"""
SELECT thread, id, role, sequence, index, created_at_us, valid_from, valid_to,
    CASE WHEN length(content) <= {16 * TEXT_MAX} THEN content
         WHEN starts_with(content, '"') THEN to_json(left(content ->> '$', {TEXT_MAX + 1}))::TEXT
    END
FROM message WHERE thread IN (SELECT unnest($keys::INTEGER[]))
  AND id IN (SELECT unnest($ids::TEXT[]))
ORDER BY valid_from
"""  # noqa: S608  # constants only
_EVENTS: Final = """
SELECT id, source, sequence, index FROM seen WHERE id IN (SELECT unnest($ids::TEXT[]))
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
        self._reader = reader
        self._resource = resource
        self._causes = self._find_causes({each.causation for each in changes if each.causation})
        wanted = {name for each in changes for name in evidence(each)}
        wanted |= set(self._causes.values())
        self._threads = self._find_threads({name[0] for name in wanted})
        self._versions = self._find_versions({name[1] for name in wanted})
        self._actors = _actors(log, {row[3] for rows in self._versions.values() for row in rows})

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
            "cause": self._cause(change),
        }

    def _cause(self, change: Changed) -> dict[str, Any] | None:
        cause = self._causes.get(change.causation or "")
        return None if cause is None else self._source(cause, change.position[0])

    def _source(self, name: Name, sequence: int) -> dict[str, Any]:
        """Return a message as it stood at a sequence, and what became of it since."""
        shown: dict[str, Any] = {
            "thread": name[0],
            "message": name[1],
            "role": None,
            "actor": None,
            "created_at": None,
            "text": None,
            "cut": False,
            "since": "unknown",
            "sequence": None,
            "index": None,
        }
        then = self._version(name, sequence)
        now = self._version(name, self._reader.sequence)
        row = then
        if then is None:
            later = [row for row in self._versions.get(name, []) if row[6] > sequence]
            row, since = (later[0], "appended") if later else (None, "unknown")
        elif now is None or now[0] != then[0]:
            since = "deleted"
        else:
            since = "unchanged" if now[6] == then[6] else "changed"
        if row is None:
            return shown
        text = None if row[8] is None else _text(decode(row[8]))
        return shown | {
            "role": row[2],
            "actor": self._actors.get(row[3]),
            "created_at": from_us(row[5]),
            "text": None if text is None else text[:TEXT_MAX],
            "cut": text is None or len(text) > TEXT_MAX,
            "since": since,
            "sequence": row[3],
            "index": row[4],
        }

    def _version(self, name: Name, at: int) -> Row | None:
        for key, _, live, valid_from, valid_to in self._threads.get(name[0], []):
            if live and valid_from <= at < valid_to:
                for row in self._versions.get(name, []):
                    if row[0] == key and row[6] <= at < row[7]:
                        return row
        return None

    def _find_threads(self, names: set[str]) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        if names:
            asked = {"resource": self._resource, "threads": sorted(names)}
            for row in self._reader.rows(_THREADS, asked):
                found.setdefault(row[1], []).append(row)
        return found

    def _find_versions(self, ids: set[str]) -> dict[Name, list[Row]]:
        names = {row[0]: row[1] for rows in self._threads.values() for row in rows}
        found: dict[Name, list[Row]] = {}
        if names and ids:
            asked = {"keys": sorted(names), "ids": sorted(ids)}
            for row in self._reader.rows(_MESSAGES, asked):
                found.setdefault((names[row[0]], row[1]), []).append(row)
        return found

    def _find_causes(self, ids: set[str]) -> dict[str, Name]:
        """Return by event id the message that the event appended, if it is one of the resource."""
        if not ids:
            return {}
        events = list(self._reader.rows(_EVENTS, {"ids": sorted(ids)}))
        asked = {"resource": self._resource, "sequences": sorted({row[2] for row in events})}
        places: dict[Position, Name] = {
            (row[2], row[3]): (row[0], row[1]) for row in self._reader.rows(_PLACES, asked)
        }
        return {row[0]: places[row[2], row[3]] for row in events if (row[2], row[3]) in places}


def evidence(change: Changed) -> list[Name]:
    """Return the messages that a change names as its evidence, each once."""
    named: list[dict[str, str]] = change.data.get("evidence") or []
    return list(dict.fromkeys((each["thread"], each["message"]) for each in named))


def _actors(log: Log, sequences: Iterable[int]) -> dict[int, str]:
    asked = sorted(sequences)
    if not asked:
        return {}
    return {
        sequence: decode_token(subject.rsplit(".", 1)[-1])
        for rows in log.pages(_SUBJECTS, [asked], 1000)
        for sequence, subject in rows
    }


def _text(content: object) -> str:
    """Return what a message says as text: its own, or that of its parts."""
    if isinstance(content, str):
        return content
    parts = content if is_array(content) else []
    texts = [cast("dict[str, Any]", part).get("text") for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))
