"""Reads of a generation, each in one short transaction: exact at the sequence it returns."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from memfold.canonical import encode
from memfold.definitions import Definition
from memfold.provenance import Position
from memfold.state import Memory, definition_in_force, definition_places
from memfold_projections.bloom import stable_hash
from memfold_projections.database import OPEN
from memfold_projections.loader import (
    FIND_DEFINITIONS,
    FIND_MEMORIES,
    FIND_RESOURCES,
    FIND_SEEN,
    FIND_THREADS,
)
from memfold_projections.recent import TAIL_MESSAGES, Tail
from memfold_projections.rows import (
    MESSAGE_COLUMNS,
    RESOURCE_COLUMNS,
    THREAD_COLUMNS,
    memory_from,
    message_from,
    resource_from,
    thread_from,
)
from memfold_projections.views import message_json, resource_view, thread_json

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import duckdb

    from memfold.state import EventKey, MemoryKey, Resource, Thread, Whose
    from memfold_projections.generation import Generation

FETCH_ROWS: Final = 64

_THREAD_KEYS: Final = """
SELECT key, id FROM thread
WHERE resource = $resource AND ($thread IS NULL OR id = $thread) AND live
  AND valid_from <= $as_of AND valid_to > $as_of
"""
_MESSAGES: Final = f"""
SELECT {MESSAGE_COLUMNS} FROM message
WHERE thread IN (SELECT unnest($keys::INTEGER[])) AND valid_from <= $as_of AND valid_to > $as_of
"""  # noqa: S608  # constants only
_OLDEST_FIRST: Final = f"""
{_MESSAGES} AND (sequence, index) > ($sequence, $index) ORDER BY sequence, index LIMIT $limit
"""
_NEWEST_FIRST: Final = f"""
{_MESSAGES} AND (sequence, index) < ($sequence, $index)
ORDER BY sequence DESC, index DESC LIMIT $limit
"""
_DEFINITIONS: Final = f"""
SELECT resource, thread, kind, body FROM definition JOIN working_memory
    ON definition.memory = working_memory.key
WHERE valid_to = {OPEN} AND (resource, thread) IN
    (SELECT unnest($1::TEXT[]) AS resource, unnest($2::TEXT[]) AS thread)
"""  # noqa: S608  # constants only
_THREADS: Final = f"""
SELECT {THREAD_COLUMNS} FROM thread WHERE resource = ? AND live
  AND valid_from <= ? AND valid_to > ? AND key > ? ORDER BY key LIMIT ?
"""  # noqa: S608  # constants only
_RESOURCES: Final = f"""
SELECT {RESOURCE_COLUMNS} FROM resource
WHERE valid_from <= ? AND valid_to > ? AND began > 0 AND (began, began_index) > (?, ?)
ORDER BY began, began_index LIMIT ?
"""  # noqa: S608  # constants only
_OUTCOMES: Final = """
SELECT sequence, index, kind, reason, detail, of_sequence, of_index FROM outcome
WHERE sequence IN (SELECT unnest($1::BIGINT[]))
"""
_PARKED: Final = """
SELECT sequence, index, resource, thread, reason, detail, time_us FROM parked
WHERE (sequence, index) > ($sequence, $index) AND ($resource IS NULL OR resource = $resource)
ORDER BY sequence, index LIMIT $limit
"""
_COUNTS: Final = f"""
SELECT (SELECT count(*) FROM resource WHERE began > 0 AND valid_to = {OPEN}) AS resources,
       (SELECT count(*) FROM thread WHERE live AND valid_to = {OPEN}) AS threads,
       (SELECT count(*) FROM message JOIN thread ON message.thread = thread.key
        WHERE message.valid_to = {OPEN} AND thread.live
          AND thread.valid_to = {OPEN}) AS messages,
       (SELECT count(*) FROM resource) + (SELECT count(*) FROM thread)
       + (SELECT count(*) FROM message) + (SELECT count(*) FROM definition)
       + (SELECT count(*) FROM keyframe) AS versions,
       (SELECT count(*) FROM parked) AS parked
"""  # noqa: S608  # constants only

Outcome = tuple[str, str, str, Position | None]
"""kind, reason, detail, first position of a duplicate."""


@dataclass(frozen=True, slots=True)
class Page:
    """Encoded messages, oldest first; ``next`` is where to go on in the asked direction."""

    messages: list[bytes]
    next: Position | None


class Reader:
    """One read transaction; ``sequence`` is the checkpoint it sees."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        row = cursor.execute("SELECT sequence FROM checkpoint").fetchone()
        self.sequence: int = 0 if row is None else row[0]

    def memory(self, resource: str | None, thread: str | None) -> Memory | None:
        """Return one working memory with its definition."""
        row = self._cursor.execute(FIND_MEMORIES, [[resource or ""], [thread or ""]]).fetchone()
        if row is None:
            return None
        found = self._cursor.execute(FIND_DEFINITIONS, [[row[0]]]).fetchone()
        return memory_from(row, None if found is None else Definition(found[1], found[2]))

    def definition(
        self, resource: str | None, thread: str | None
    ) -> tuple[Definition, Whose] | None:
        """Return the definition in force for one working memory, and whose it is."""
        key = (resource, thread)
        places = definition_places(key)
        rows = self._cursor.execute(
            _DEFINITIONS,
            [[place[0] or "" for place in places], [place[1] or "" for place in places]],
        ).fetchall()
        found: dict[MemoryKey, Memory] = {
            (row[0] or None, row[1] or None): Memory(definition=Definition(row[2], row[3]))
            for row in rows
        }
        return definition_in_force(found, key)

    def thread(self, resource: str, thread: str) -> Thread | None:
        """Return one thread, live or not."""
        row = self._cursor.execute(FIND_THREADS, [[resource], [thread]]).fetchone()
        return None if row is None else thread_from(row)

    def resource(self, name: str) -> Resource | None:
        """Return one resource, live or not."""
        row = self._cursor.execute(FIND_RESOURCES, [[name]]).fetchone()
        return None if row is None else resource_from(row)

    def tail(self, resource: str, thread: str) -> Tail:
        """Return the newest messages of a thread as they are kept in memory."""
        page = self.messages(resource, thread, limit=TAIL_MESSAGES, bytes_max=1 << 40, newest=True)
        tail = Tail(complete=page.next is None)
        tail.messages.extend(page.messages)
        return tail

    def messages(
        self,
        resource: str,
        thread: str | None,
        *,
        limit: int,
        bytes_max: int,
        newest: bool = False,
        beyond: Position | None = None,
        as_of: int | None = None,
    ) -> Page:
        """Return a page of messages of a thread, or of all threads of a resource.

        Oldest first from behind ``beyond``, or with ``newest`` the newest before it. A page ends at
        ``limit`` messages or ``bytes_max`` bytes, whichever comes first, and holds at least one
        message if there is one.
        """
        as_of = self.sequence if as_of is None else as_of
        names = dict(
            self._cursor.execute(
                _THREAD_KEYS, {"resource": resource, "thread": thread, "as_of": as_of}
            ).fetchall()
        )
        if not names or limit < 1:
            return Page([], None)
        sequence, index = beyond or ((1 << 62, 0) if newest else (-1, 0))
        self._cursor.execute(
            _NEWEST_FIRST if newest else _OLDEST_FIRST,
            {
                "keys": list(names),
                "as_of": as_of,
                "sequence": sequence,
                "index": index,
                "limit": limit + 1,
            },
        )
        found: list[bytes] = []
        size = 0
        last: Position | None = None
        more = False
        while not more and (rows := self._cursor.fetchmany(FETCH_ROWS)):
            for row in rows:
                encoded = message_json(names[row[0]], message_from(row))
                if len(found) == limit or (found and size + len(encoded) > bytes_max):
                    more = True
                    break
                found.append(encoded)
                size += len(encoded) + 1
                last = (row[2], row[3])
        if newest:
            found.reverse()
        return Page(found, last if more else None)

    def threads(
        self, resource: str, *, after: int, limit: int, bytes_max: int
    ) -> tuple[list[bytes], int | None]:
        """Return live threads in order of creation, and where to go on."""
        rows = self._cursor.execute(
            _THREADS, [resource, self.sequence, self.sequence, after, limit + 1]
        ).fetchall()
        shown = [thread_json(resource, row[2], thread_from(row)) for row in rows[:limit]]
        found = _fitting(shown, bytes_max)
        return found, rows[len(found) - 1][0] if len(rows) > len(found) else None

    def resources(
        self, *, after: Position, limit: int, bytes_max: int
    ) -> tuple[list[bytes], Position | None]:
        """Return resources in order of first appearance, and where to go on."""
        rows = self._cursor.execute(
            _RESOURCES, [self.sequence, self.sequence, *after, limit + 1]
        ).fetchall()
        shown = [encode(resource_view(row[0], resource_from(row))) for row in rows[:limit]]
        found = _fitting(shown, bytes_max)
        last = rows[len(found) - 1] if len(rows) > len(found) else None
        return found, None if last is None else (last[2], last[3])

    def outcomes(self, sequences: Sequence[int]) -> dict[Position, Outcome]:
        """Return the outcomes of what was not simply applied at these sequences."""
        rows = self._cursor.execute(_OUTCOMES, [list(sequences)]).fetchall()
        return {
            (row[0], row[1]): (
                row[2],
                row[3],
                row[4],
                None if row[5] is None else (row[5], row[6]),
            )
            for row in rows
        }

    def known(self, keys: Sequence[EventKey]) -> dict[EventKey, Position]:
        """Return the positions of those of these events that were folded."""
        hashes = [stable_hash(source, id_) for source, id_ in keys]
        rows = self._cursor.execute(
            FIND_SEEN, [hashes, [key[0] for key in keys], [key[1] for key in keys]]
        ).fetchall()
        return {(row[0], row[1]): (row[3], row[4]) for row in rows}

    def parked(self, resource: str | None, *, after: Position, limit: int) -> list[tuple[Any, ...]]:
        """Return rows of parked events behind a position."""
        return self._cursor.execute(
            _PARKED,
            {"sequence": after[0], "index": after[1], "resource": resource, "limit": limit},
        ).fetchall()

    def counts(self) -> dict[str, int]:
        """Return how many resources, threads, messages, versions and parked events there are."""
        self._cursor.execute(_COUNTS)
        names = [column[0] for column in self._cursor.description or ()]
        row = self._cursor.fetchone() or ()
        return dict(zip(names, row, strict=True))


def _fitting(items: list[bytes], bytes_max: int) -> list[bytes]:
    """Return the first items that fit together, at least one."""
    size = 0
    for number, item in enumerate(items):
        size += len(item) + 1
        if number and size > bytes_max:
            return items[:number]
    return items


@contextmanager
def reading(generation: Generation) -> Generator[Reader]:
    """Open one short read transaction on a generation."""
    cursor = generation.cursor()
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield Reader(cursor)
        finally:
            cursor.execute("ROLLBACK")
    finally:
        cursor.close()
