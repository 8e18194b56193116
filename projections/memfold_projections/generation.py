"""A generation: one projection file, folded batch by batch, each in one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import duckdb

from memfold.errors import StorageError
from memfold.fold import apply, evolve
from memfold.limits import FOLD_VERSION
from memfold.wire import Event, Recorded, Unreadable, read_message
from memfold_projections.attachments import attachment_rows
from memfold_projections.changes import Changes, NextKeys
from memfold_projections.database import (
    MEMORY_MIB,
    OPEN,
    checkpoint_if_idle,
    insert_rows,
    move_checkpoint,
    open_database,
    roll_back,
    run_columns,
    tells_damage,
)
from memfold_projections.discards import without_effect
from memfold_projections.loader import Loader
from memfold_projections.rows import memory_row

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from memfold.provenance import Position
    from memfold.sealed import KeyFinder
    from memfold.steps import Step
    from memfold_projections.changes import Versions

FORMAT: Final = 6
ENTITIES_MAX: Final = 20_000
"""Resources, threads and memories each that are kept in memory between batches."""

TABLES: Final = (
    "resource",
    "thread",
    "message",
    "definition",
    "working_memory",
    "keyframe",
    "change",
    "outcome",
    "parked",
    "seen",
    "attachment",
    "erasure",
    "completion",
)
CLOSE_RESOURCES: Final = f"""
UPDATE resource SET valid_to = ended.sequence
FROM (SELECT unnest($1::TEXT[]) AS id, unnest($2::BIGINT[]) AS sequence) AS ended
WHERE resource.id = ended.id AND valid_to = {OPEN}
"""  # noqa: S608  # constants only
CLOSE_THREADS: Final = f"""
UPDATE thread SET valid_to = ended.sequence
FROM (SELECT unnest($1::INTEGER[]) AS key, unnest($2::BIGINT[]) AS sequence) AS ended
WHERE thread.key = ended.key AND valid_to = {OPEN}
"""  # noqa: S608  # constants only
CLOSE_MESSAGES: Final = f"""
UPDATE message SET valid_to = ended.sequence
FROM (SELECT unnest($1::INTEGER[]) AS thread, unnest($2::TEXT[]) AS id,
      unnest($3::BIGINT[]) AS sequence) AS ended
WHERE message.thread = ended.thread AND message.id = ended.id AND valid_to = {OPEN}
"""  # noqa: S608  # constants only
CLOSE_DEFINITIONS: Final = f"""
UPDATE definition SET valid_to = ended.sequence
FROM (SELECT unnest($1::INTEGER[]) AS memory, unnest($2::BIGINT[]) AS sequence) AS ended
WHERE definition.memory = ended.memory AND valid_to = {OPEN}
"""  # noqa: S608  # constants only
NEWEST_ERASURES: Final = "SELECT resource, max(sequence) FROM erasure GROUP BY resource"
DISCARD_PARKED: Final = """
UPDATE parked SET gone_sequence = gone.by_sequence, gone_index = gone.by_index,
    gone_actor = gone.actor, gone_reason = gone.why, gone_time_us = gone.at_us
FROM (SELECT unnest($1::BIGINT[]) AS sequence, unnest($2::INTEGER[]) AS index,
      unnest($3::BIGINT[]) AS by_sequence, unnest($4::INTEGER[]) AS by_index,
      unnest($5::TEXT[]) AS actor, unnest($6::TEXT[]) AS why, unnest($7::BIGINT[]) AS at_us) AS gone
WHERE parked.sequence = gone.sequence AND parked.index = gone.index
"""
DELETE_MEMORIES: Final = "DELETE FROM working_memory WHERE key IN (SELECT unnest($1::INTEGER[]))"


@dataclass(frozen=True, slots=True)
class Folded:
    """What one batch did: every event with its step, in order, and the new checkpoint."""

    steps: list[tuple[Event | Unreadable, Step]]
    changes: Changes
    sequence: int
    time_us: int


def read_events(
    namespace: str,
    messages: Sequence[Recorded],
    time_us: int,
    keys: KeyFinder | None = None,
) -> list[Event | Unreadable]:
    """Read the events of messages that follow a log's time; from any thread."""
    events: list[Event | Unreadable] = []
    for message in messages:
        time_us = max(time_us, message.time_ns // 1000)
        events.extend(read_message(namespace, message, time_us=time_us, keys=keys))
    return events


def log_time_us(messages: Sequence[Recorded], time_us: int) -> int:
    """Return the log's time behind messages: the server's, made monotone."""
    return max([time_us, *(message.time_ns // 1000 for message in messages)])


class Generation:
    """One projection file. All methods but ``cursor`` belong to the writer thread."""

    def __init__(
        self, path: Path, namespace: str, *, memory_mib: int = MEMORY_MIB, rewrite: int = 0
    ) -> None:
        """Open or create the file; ``rewrite`` is that of the log that a new one is folded from.

        Raises:
            StorageError: unreadable, of another namespace, fold version or format.
        """
        self.path = path
        self.namespace = namespace
        self._connection = open_database(path, "schema_generation.sql", memory_mib=memory_mib)
        row = self._connection.execute("SELECT * FROM checkpoint").fetchone()
        if row is None:
            row = (0, 0, namespace, FOLD_VERSION, FORMAT, rewrite)
            self._connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?, ?)", row)
        if row[2:5] != (namespace, FOLD_VERSION, FORMAT):
            self._connection.close()
            message = (
                f"{path.name} was folded by other rules (namespace, version, format: {row[2:5]})"
            )
            raise StorageError(message)
        self.rewrite: int = row[5]
        """Of the log that it is folded from: with a lower one it may hold what was erased since."""
        self.sequence: int = row[0]
        self.time_us: int = row[1]
        self.damage: str | None = None
        """What was met that says the file is damaged: a new generation has to take its place."""
        self.discarded: frozenset[Position] = frozenset()
        """What was given up while it could not be read, and can be by now: see ``discards``."""
        self.keys: KeyFinder | None = None
        """What opens sealed events."""
        self._stale = True
        try:
            self._open_state()
        except duckdb.OutOfMemoryException:
            self._connection.close()
            raise
        except duckdb.Error as error:
            self._connection.close()
            message = f"{path.name} cannot be read (damaged)"
            raise StorageError(message, detail=str(error)) from error

    def _open_state(self) -> None:
        self.loader = Loader(self._connection)
        self._next = NextKeys(
            self._next_key("SELECT max(key) FROM thread"),
            self._next_key("SELECT max(key) FROM working_memory"),
        )
        self.erased: dict[str, int] = dict(self._connection.execute(NEWEST_ERASURES).fetchall())
        """The newest erasure of each resource that has one, by the sequence of its record."""
        self._stale = False

    def _next_key(self, statement: str) -> int:
        row = self._connection.execute(statement).fetchone()
        return 1 if row is None or row[0] is None else int(row[0]) + 1

    @contextmanager
    def watched(self) -> Generator[None]:
        """Note in ``damage`` what an error in the block says of the file; raise it in any case."""
        try:
            yield
        except duckdb.Error as error:
            if tells_damage(error):
                self.damage = str(error)
            raise

    def fold(
        self, messages: Sequence[Recorded], events: list[Event | Unreadable] | None = None
    ) -> Folded:
        """Fold messages that follow the checkpoint, and commit them with it.

        ``events`` are theirs if they were read already, by :func:`read_events`.

        Raises:
            StorageError: another writer moved the checkpoint; nothing was changed.
            duckdb.Error: nothing was changed; see ``damage``.
        """
        with self.watched():
            return self._fold(messages, events)

    def _fold(
        self, messages: Sequence[Recorded], events: list[Event | Unreadable] | None
    ) -> Folded:
        if self._stale:
            self._open_state()
        if events is None:
            events = read_events(self.namespace, messages, self.time_us, self.keys)
        time_us = log_time_us(messages, self.time_us)
        if self.discarded:
            events = [without_effect(each, self.discarded) for each in events]
        self._connection.execute("BEGIN")
        try:
            folded = self._evolve(events, messages[-1].sequence, time_us)
            self._write(folded)
            insert_rows(self._connection, "attachment", attachment_rows(messages, self.keys))
            self._connection.execute("COMMIT")
        except BaseException:
            # What is in memory may be ahead of the file now: the next fold starts from the file.
            self._stale = True
            roll_back(self._connection)
            raise
        self.sequence, self.time_us = folded.sequence, time_us
        self.erased.update({row[2]: row[0] for row in folded.changes.erasures})
        self.loader.forget(ENTITIES_MAX)
        return folded

    def _evolve(self, events: list[Event | Unreadable], sequence: int, time_us: int) -> Folded:
        loader = self.loader
        loader.load(events)
        changes = Changes()
        steps: list[tuple[Event | Unreadable, Step]] = []
        for event in events:
            step = evolve(loader.state, event)
            changes.add(loader, event, step, self._next)
            apply(loader.state, step)
            steps.append((event, step))
        return Folded(steps, changes, sequence, time_us)

    def _write(self, folded: Folded) -> None:
        changes = folded.changes
        self._write_versions("resource", changes.resources, CLOSE_RESOURCES)
        self._write_versions("thread", changes.threads, CLOSE_THREADS)
        self._write_versions("message", changes.messages, CLOSE_MESSAGES)
        self._write_versions("definition", changes.definitions, CLOSE_DEFINITIONS)
        keys = self.loader.memory_keys
        memories = [memory_row(keys[key], *key, memory) for key, memory in changes.memories.items()]
        if memories:
            self._connection.execute(DELETE_MEMORIES, [[row[0] for row in memories]])
        for table, rows in (
            ("working_memory", memories),
            ("keyframe", changes.keyframes),
            ("change", changes.documents),
            ("outcome", changes.outcomes),
            ("parked", changes.parked),
            ("seen", changes.seen),
            ("erasure", changes.erasures),
            ("completion", changes.completions),
        ):
            insert_rows(self._connection, table, rows)
        run_columns(self._connection, DISCARD_PARKED, changes.discarded)
        move_checkpoint(self._connection, folded.sequence, folded.time_us, self.sequence)

    def _write_versions(self, table: str, versions: Versions, close: str) -> None:
        if versions.closes:
            rows = [(*key, sequence) for key, sequence in versions.closes.items()]
            run_columns(self._connection, close, rows)
        insert_rows(self._connection, table, versions.rows())

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor for one short read, from any thread; close it at once."""
        return self._connection.cursor()

    def tidy(self) -> bool:
        """Move the WAL into the file while nothing else is to do."""
        with self.watched():
            return checkpoint_if_idle(self._connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
