"""Reads of a generation, each in one short transaction: exact at the sequence it returns."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

from memfold.canonical import from_us
from memfold.definitions import Definition
from memfold.erasure import Erasure
from memfold.provenance import Position
from memfold.state import Memory, definition_in_force, definition_places
from memfold_projections.bloom import stable_hash
from memfold_projections.database import OPEN, roll_back
from memfold_projections.loader import (
    FIND_DEFINITIONS,
    FIND_MEMORIES,
    FIND_RESOURCES,
    FIND_SEEN,
    FIND_THREADS,
)
from memfold_projections.messages import Selection, message_page
from memfold_projections.parked import ParkedCounts
from memfold_projections.recent import TAIL_BYTES_MAX, TAIL_MESSAGES, Shown, Tail
from memfold_projections.rows import Row, decode, memory_from, resource_from, thread_from
from memfold_projections.views import NO_ACTIVITY, Activity, thread_json

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    import duckdb

    from memfold.state import EventKey, MemoryKey, Resource, Whose
    from memfold_projections.generation import Generation

FETCH_ROWS: Final = 64

_ACTIVITY: Final = f"""
SELECT max(created_at_us), max(updated_at_us) FROM message WHERE thread = ? AND valid_to = {OPEN}
"""  # noqa: S608  # constants only
_OUTCOMES: Final = """
SELECT sequence, index, kind, reason, detail, of_sequence, of_index FROM outcome
WHERE sequence IN (SELECT unnest($1::BIGINT[]))
"""
_PARKED: Final = """
SELECT sequence, index, resource, thread, reason, detail, time_us,
    gone_sequence, gone_index, gone_actor, gone_reason, gone_time_us
FROM parked
WHERE (sequence, index) > ($sequence, $index) AND ($resource IS NULL OR resource = $resource)
  AND ($everything OR gone_sequence IS NULL)
ORDER BY sequence, index LIMIT $limit
"""
_PARKED_COUNTS: Final = """
SELECT resource, thread, count(*) FROM parked
WHERE gone_sequence IS NULL AND ($resource IS NULL OR resource = $resource) GROUP BY ALL
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
       (SELECT count(*) FROM parked WHERE gone_sequence IS NULL) AS parked
"""  # noqa: S608  # constants only

_ERASURES: Final = """
SELECT sequence, resource, thread, target, message, at_sequence, at_index FROM erasure
ORDER BY sequence, index
"""
_ERASURE_LIST: Final = """
SELECT * FROM erasure
WHERE (sequence, index) > ($sequence, $index) AND ($resource IS NULL OR resource = $resource)
ORDER BY sequence, index LIMIT $limit
"""
_COMPLETIONS: Final = """
SELECT * FROM completion WHERE erasure IN (SELECT unnest($1::BIGINT[])) ORDER BY sequence
"""
_COMPLETED: Final = "SELECT erasure FROM completion WHERE engine = ?"

Outcome = tuple[str, str, str, Position | None]
"""kind, reason, detail, first position of a duplicate."""


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

    def memory_in_force(
        self, resource: str | None, thread: str | None
    ) -> tuple[Memory | None, tuple[Definition, Whose] | None]:
        """Return one working memory, and the definition in force for it with whose that is."""
        key = (resource, thread)
        places = dict.fromkeys(definition_places(key))
        rows = {
            (row[1] or None, row[2] or None): row
            for row in self._cursor.execute(
                FIND_MEMORIES,
                [[place[0] or "" for place in places], [place[1] or "" for place in places]],
            ).fetchall()
        }
        if not rows:
            return None, None
        definitions = {
            row[0]: Definition(row[1], row[2])
            for row in self._cursor.execute(
                FIND_DEFINITIONS, [[row[0] for row in rows.values()]]
            ).fetchall()
        }
        # Of the other places only the definition is wanted: their documents are not decoded.
        found: dict[MemoryKey, Memory] = {
            place: Memory(definition=definitions.get(row[0])) for place, row in rows.items()
        }
        own = rows.get(key)
        memory = None if own is None else memory_from(own, definitions.get(own[0]))
        return memory, definition_in_force(found, key)

    def thread(self, resource: str, thread: str) -> Shown:
        """Return one thread, live or not, with what its messages say of it."""
        row = self._cursor.execute(FIND_THREADS, [[resource], [thread]]).fetchone()
        found, activity = None, NO_ACTIVITY
        if row is not None:
            found = thread_from(row)
            last_us, changed_us = self._cursor.execute(_ACTIVITY, [row[0]]).fetchone() or (None, 0)
            activity = Activity(last_us, changed_us or 0)
        return Shown(found, activity, thread_json(resource, thread, found, activity))

    def resource(self, name: str) -> Resource | None:
        """Return one resource, live or not."""
        row = self._cursor.execute(FIND_RESOURCES, [[name]]).fetchone()
        return None if row is None else resource_from(row)

    def tail(self, resource: str, thread: str) -> Tail:
        """Return the newest messages of a thread as they are kept in memory."""
        meant = Selection(resource, (thread,), self.sequence)
        page = message_page(self, meant, limit=TAIL_MESSAGES, bytes_max=TAIL_BYTES_MAX, newest=True)
        tail = Tail(complete=page.next is None)
        for message in page.messages:
            tail.append(message)
        return tail

    def rows(self, statement: str, parameters: dict[str, Any]) -> Iterator[Row]:
        """Yield the rows of a statement; read them to the end before the next one."""
        self._cursor.execute(statement, parameters)
        while rows := self._cursor.fetchmany(FETCH_ROWS):
            yield from rows

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

    def parked(
        self, resource: str | None, *, after: Position, limit: int, everything: bool = False
    ) -> list[tuple[Any, ...]]:
        """Return rows of parked events behind a position; ``everything``: discarded ones, too."""
        return self._cursor.execute(
            _PARKED,
            {
                "sequence": after[0],
                "index": after[1],
                "resource": resource,
                "limit": limit,
                "everything": everything,
            },
        ).fetchall()

    def erasures(self) -> list[Erasure]:
        """Return all erasures, in the log's order."""
        return [
            Erasure(
                sequence=row[0],
                resource=row[1] or None,
                thread=row[2] or None,
                target=row[3],
                message=row[4],
                position=None if row[5] is None else (row[5], row[6]),
            )
            for row in self._cursor.execute(_ERASURES).fetchall()
        ]

    def erasure_list(
        self, resource: str | None, *, after: Position, limit: int
    ) -> list[dict[str, Any]]:
        """Return erasures behind a position as plain JSON, each with what the engines told."""
        rows = self._cursor.execute(
            _ERASURE_LIST,
            {"sequence": after[0], "index": after[1], "resource": resource, "limit": limit},
        ).fetchall()
        told: dict[int, list[dict[str, Any]]] = {row[0]: [] for row in rows}
        for erasure, engine, stores, sequence, time_us in self._cursor.execute(
            _COMPLETIONS, [list(told)]
        ).fetchall():
            told[erasure].append(
                {
                    "engine": engine,
                    "stores": decode(stores),
                    "sequence": sequence,
                    "time": from_us(time_us),
                }
            )
        return [
            {
                "sequence": row[0],
                "index": row[1],
                "resource": row[2] or None,
                "thread": row[3] or None,
                "target": row[4],
                "message": row[5],
                "position": None if row[6] is None else [row[6], row[7]],
                "actor": row[8],
                "reason": row[9],
                "time": from_us(row[10]),
                "completed": told[row[0]],
            }
            for row in rows
        ]

    def completed_by(self, engine: str) -> set[int]:
        """Return the erasures that an engine has told to be complete."""
        return {row[0] for row in self._cursor.execute(_COMPLETED, [engine]).fetchall()}

    def parked_counts(self, resource: str | None = None) -> ParkedCounts:
        """Return how many events are parked and not discarded, of a resource or of all."""
        rows = self._cursor.execute(_PARKED_COUNTS, {"resource": resource}).fetchall()
        return ParkedCounts({(row[0], row[1]): row[2] for row in rows})

    def counts(self) -> dict[str, int]:
        """Return how many resources, threads, messages, versions and parked events there are."""
        self._cursor.execute(_COUNTS)
        names = [column[0] for column in self._cursor.description or ()]
        row = self._cursor.fetchone() or ()
        return dict(zip(names, row, strict=True))


@contextmanager
def reading(generation: Generation) -> Generator[Reader]:
    """Open one short read transaction on a generation."""
    with generation.watched(), closing(generation.cursor()) as cursor:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            yield Reader(cursor)
        finally:
            roll_back(cursor)
