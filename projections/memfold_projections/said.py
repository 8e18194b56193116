"""What messages said, when, and by which event: each version of them with its text and its actor.

The event behind a version is the one that gave it its words: not the first of the message, which
only gave it its place, and not one that changed nothing but metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from memfold.canonical import encode, is_array
from memfold.events import MessageAppended, MessageUpdated
from memfold.wire import Event, Recorded, read_message
from memfold_projections.rows import decode

if TYPE_CHECKING:
    from memfold.provenance import Position
    from memfold_projections.log import Log
    from memfold_projections.reader import Reader

TEXT_MAX: Final = 4096
"""Characters of a message's text, and of a change's reason, that are shown."""
_WHOLE_MAX: Final = 16 * TEXT_MAX
"""Characters of a content up to which it is read as it is."""

Name = tuple[str, str]
"""(thread, message)."""
Since = Literal["unchanged", "changed", "deleted", "appended", "erased", "unknown"]

_THREADS: Final = """
SELECT key, id, live, valid_from, valid_to FROM thread
WHERE resource = $resource AND id IN (SELECT unnest($threads::TEXT[]))
"""
# Of a very long message only the texts are read, and of these the beginning.
_MESSAGES: Final = f"""
SELECT thread, id, role, sequence, index, created_at_us, valid_from, valid_to, sha256(content),
    CASE WHEN length(content) <= {_WHOLE_MAX} THEN content
         WHEN starts_with(content, '"') THEN to_json(left(content ->> '$', {TEXT_MAX + 1}))::TEXT
         ELSE to_json(left(array_to_string(list_transform(
             list_filter(json_extract(content, '$[*].text'), lambda t: json_type(t) = 'VARCHAR'),
             lambda t: json_extract_string(t, '$')), chr(10)), {TEXT_MAX + 1}))::TEXT
    END
FROM message WHERE thread IN (SELECT unnest($keys::INTEGER[]))
  AND id IN (SELECT unnest($ids::TEXT[]))
ORDER BY valid_from
"""  # noqa: S608  # constants only
_ACTORS: Final = """
SELECT sequence, index, source FROM seen WHERE sequence IN (SELECT unnest($sequences::BIGINT[]))
"""
_ERASURES: Final = """
SELECT DISTINCT target, thread, message FROM erasure
WHERE resource = $resource AND target IN ('resource', 'thread', 'message')
"""
_MESSAGE: Final = """
SELECT sequence, time_ns, subject, payload, msg_id FROM event WHERE sequence = ?
"""


@dataclass(frozen=True, slots=True)
class Version:
    """A message as it was from one sequence up to another; ``place`` is where it first appeared."""

    key: int
    id: str
    role: str
    place: Position
    created_at_us: int
    valid_from: int
    valid_to: int
    digest: str
    content: str

    @property
    def text(self) -> str:
        """What it says, or more of its beginning than is shown."""
        return _text(decode(self.content))

    def is_same_message(self, other: Version) -> bool:
        """Tell a message from another one of its id: it was deleted, or its thread, in between."""
        return (self.key, self.place) == (other.key, other.place)

    def says_the_same(self, other: Version) -> bool:
        """Tell whether role and content are equal."""
        return (self.role, self.digest) == (other.role, other.digest)


class Said:
    """The versions of some messages of one resource, read at once."""

    def __init__(self, log: Log, reader: Reader, resource: str, names: set[Name]) -> None:
        self._log = log
        self._reader = reader
        self._resource = resource
        self._keys: dict[int, str] = {}
        self._threads = self._find_threads({name[0] for name in names})
        self._versions = self._find_versions({name[1] for name in names})
        self._actors: dict[int, str] = {}
        self._indexes: dict[int, list[int]] = {}
        self._find_actors()
        self._erased: set[tuple[str, ...]] | None = None
        self._batches: dict[int, list[Recorded]] = {}

    def at(self, name: Name, sequence: int) -> tuple[Version | None, Since]:
        """Return a message as it stood at a sequence, and what became of it since.

        One that was gone by then is shown as it last was, one that came later as it came.
        """
        versions = self._versions.get(name, [])
        then = self._standing(name, sequence)
        earlier = [each for each in versions if each.valid_from <= sequence]
        if then is None and earlier:
            then = earlier[-1]
        if then is None:
            if self._is_erased(name):
                return None, "erased"
            return (versions[0], "appended") if versions else (None, "unknown")
        now = self._standing(name, self._reader.sequence)
        if now is None or not now.is_same_message(then):
            return then, "deleted"
        return then, "unchanged" if now.says_the_same(then) else "changed"

    def origin(self, name: Name, version: Version) -> tuple[str | None, Position]:
        """Return the actor and the position of the event that gave a version its words."""
        versions = self._versions[name]
        at = versions.index(version)
        while at and _goes_on(versions[at - 1], version):
            at -= 1
            version = versions[at]
        sequence = version.valid_from
        return self._actors.get(sequence), (sequence, self._index(version))

    def _standing(self, name: Name, at: int) -> Version | None:
        for key, valid_from, valid_to in self._threads.get(name[0], []):
            if valid_from <= at < valid_to:
                for each in self._versions.get(name, []):
                    if each.key == key and each.valid_from <= at < each.valid_to:
                        return each
        return None

    def _index(self, version: Version) -> int:
        """Return which event of its message in the log it was."""
        sequence = version.valid_from
        known = self._indexes.get(sequence, [0])
        first = version.place[1] if version.place[0] == sequence else known[0]
        if len(known) == 1:
            return known[0]
        if sequence not in self._batches:
            self._batches[sequence] = recorded_at(self._log, sequence)
        found = first
        for message in self._batches[sequence]:
            if version.place[0] == sequence and message.payload.count(encode(version.id)) == 1:
                # Nothing else in the batch is about it: it need not be taken apart.
                break
            outcomes = self._reader.outcomes([sequence])
            for event in events_of(message):
                applied = outcomes.get((sequence, event.index), ("applied",))[0] == "applied"
                if applied and _gives_words(event, version.id):
                    found = event.index
        return found

    def _is_erased(self, name: Name) -> bool:
        if self._erased is None:
            rows = self._reader.rows(_ERASURES, {"resource": self._resource})
            self._erased = {(row[0], row[1] or "", row[2] or "") for row in rows}
        thread, message = name
        covering = {("resource", "", ""), ("thread", thread, ""), ("message", thread, message)}
        return not covering.isdisjoint(self._erased)

    def _find_threads(self, names: set[str]) -> dict[str, list[tuple[int, int, int]]]:
        """Return by name the keys of threads, with the sequences from and to which each lived."""
        found: dict[str, list[tuple[int, int, int]]] = {}
        if names:
            asked = {"resource": self._resource, "threads": sorted(names)}
            for key, id_, live, valid_from, valid_to in self._reader.rows(_THREADS, asked):
                self._keys[key] = id_
                if live:
                    found.setdefault(id_, []).append((key, valid_from, valid_to))
        return found

    def _find_versions(self, ids: set[str]) -> dict[Name, list[Version]]:
        found: dict[Name, list[Version]] = {}
        if self._keys and ids:
            asked = {"keys": sorted(self._keys), "ids": sorted(ids)}
            for row in self._reader.rows(_MESSAGES, asked):
                key, id_, role, sequence, index, *rest = row
                version = Version(key, id_, role, (sequence, index), *rest)
                found.setdefault((self._keys[key], id_), []).append(version)
        return found

    def _find_actors(self) -> None:
        sequences = {each.valid_from for found in self._versions.values() for each in found}
        if not sequences:
            return
        for sequence, index, source in self._reader.rows(_ACTORS, {"sequences": sorted(sequences)}):
            self._actors[sequence] = source
            self._indexes.setdefault(sequence, []).append(index)


def recorded_at(log: Log, sequence: int) -> list[Recorded]:
    """Return the message that the log has at a sequence, if there is one."""
    return [Recorded(*row) for rows in log.pages(_MESSAGE, [sequence], 1) for row in rows]


def events_of(message: Recorded) -> Iterator[Event]:
    """Yield those events of a message that can be read."""
    namespace = message.subject.split(".", 1)[0]
    # What they say does not depend on the time.
    for event in read_message(namespace, message, time_us=0):
        if isinstance(event, Event):
            yield event


def _goes_on(before: Version, version: Version) -> bool:
    return (
        before.is_same_message(version)
        and before.says_the_same(version)
        and before.valid_to == version.valid_from
    )


def _gives_words(event: Event, message: str) -> bool:
    data = event.data
    if isinstance(data, MessageAppended):
        return data.message.id == message
    if isinstance(data, MessageUpdated) and data.id == message:
        return data.patch.role is not None or data.patch.content is not None
    return False


def _text(content: object) -> str:
    """Return what a message says as text: its own, or that of its parts."""
    if isinstance(content, str):
        return content
    parts = content if is_array(content) else []
    texts = [cast("dict[str, Any]", part).get("text") for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))
