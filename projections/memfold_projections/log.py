"""``log.duckdb``: every recorded message with its leaf, in order. The second copy of the log."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import duckdb

from memfold.durable import sync_directory
from memfold.errors import StorageError
from memfold.leaf import leaf_hash
from memfold.wire import Recorded
from memfold_projections.database import (
    MEMORY_MIB,
    checkpoint_if_idle,
    insert_rows,
    move_checkpoint,
    open_database,
    roll_back,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from memfold_projections.rows import Row

FORMAT: Final = 2
UPGRADE: Final = """
ALTER TABLE event ADD COLUMN redacted BOOLEAN DEFAULT false;
ALTER TABLE checkpoint ADD COLUMN rewrite INTEGER DEFAULT 0;
CREATE TABLE erased (erasure BIGINT NOT NULL, messages BIGINT NOT NULL, events BIGINT NOT NULL);
UPDATE checkpoint SET format = 2;
"""
"""From format 1. The log is kept for ever, so every format of it can be read."""
READ_MESSAGES: Final = 2000
"""Messages per chunk when the log is read back."""

READ_BYTES_MAX: Final = 8 * 1024 * 1024
"""Payload bytes per chunk; one message may exceed it."""
SIZES: Final = """
SELECT sequence, octet_length(payload) FROM event
WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""
READ_EVENTS: Final = """
SELECT sequence, time_ns, subject, payload, msg_id, redacted FROM event
WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""
LEAVES: Final = "SELECT sequence, hash FROM leaf WHERE sequence IN (SELECT unnest(?::BIGINT[]))"
DRAIN_S: Final = 60.0
"""How long readers may be at a file that is to be replaced."""

READ_WHOLE: Final = """
SELECT sequence FROM event WHERE sequence > ? AND sequence <= ? AND NOT redacted
"""
READ_LEAVES: Final = "SELECT sequence, hash FROM leaf WHERE sequence > ? AND sequence <= ?"
NEWEST_LEAVES: Final = "SELECT sequence, hash FROM leaf ORDER BY sequence DESC LIMIT ?"


class Log:
    """The engine's own copy of the log.

    What writes belongs to the writer thread; ``read`` and ``pages`` work from any.
    """

    def __init__(self, path: Path, namespace: str, *, memory_mib: int = MEMORY_MIB) -> None:
        """Open or create the file.

        Raises:
            StorageError: unreadable, of another namespace, or of a newer format.
        """
        self.path = path
        self._namespace = namespace
        self._memory_mib = memory_mib
        self._readers = Readers()
        self._open()

    def _open(self) -> None:
        path, namespace = self.path, self._namespace
        self._connection = open_database(path, "schema_log.sql", memory_mib=self._memory_mib)
        row: Row | None = self._connection.execute("SELECT * FROM checkpoint").fetchone()
        if row is None:
            row = (0, 0, namespace, FORMAT, 0)
            self._connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?)", row)
        if row[2:] == (namespace, 1):
            self._connection.execute("BEGIN")
            self._connection.execute(UPGRADE)
            self._connection.execute("COMMIT")
            row = (*row[:3], FORMAT, 0)
        if row[2:4] != (namespace, FORMAT):
            self._connection.close()
            message = (
                f"{path.name} holds namespace {row[2]!r} in format {row[3]}, "
                f"not {namespace!r} in format {FORMAT}"
            )
            raise StorageError(message)
        self.sequence: int = row[0]
        self.time_us: int = row[1]
        self.rewrite: int = row[4]
        """How often the file was written anew, without what was erased."""

    def append(self, messages: Sequence[Recorded]) -> None:
        """Add messages that follow the checkpoint, with their leaves, in one transaction.

        Raises:
            StorageError: another writer moved the checkpoint.
        """
        rows, time_us = event_rows(messages, self.time_us)
        leaves = [
            (message.sequence, leaf_hash(message) if message.leaf is None else message.leaf)
            for message in messages
        ]
        last = messages[-1].sequence
        connection = self._connection
        connection.execute("BEGIN")
        try:
            insert_rows(connection, "event", rows)
            insert_rows(connection, "leaf", leaves)
            move_checkpoint(connection, last, time_us, self.sequence)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        self.sequence, self.time_us = last, time_us

    def read(self, after: int, upto: int | None = None) -> Iterator[list[Recorded]]:
        """Yield the messages behind a sequence, in chunks, in order; from any thread.

        ``upto`` is the last one wanted; without it reading goes on to the end of the log, also
        of what is appended meanwhile. Erased messages are left out. A chunk has at most 2,000
        messages, and 8 MiB unless one message alone is larger.
        """
        with self._readers.reading(), closing(self._connection.cursor()) as cursor:
            while after < (end := self.sequence if upto is None else min(upto, self.sequence)):
                # By ranges, not by LIMIT: a range touches only the blocks that hold it.
                last = min(after + READ_MESSAGES, end)
                last = _that_fit(cursor.execute(SIZES, [after, last]).fetchall(), last)
                rows = cursor.execute(READ_EVENTS, [after, last]).fetchall()
                if rows:
                    yield _messages(cursor, rows)
                after = last

    def leaves(self, after: int, upto: int) -> dict[int, bytes]:
        """Return the leaves behind a sequence up to another one, by sequence; from any thread."""
        with self._readers.reading(), closing(self._connection.cursor()) as cursor:
            return dict(cursor.execute(READ_LEAVES, [after, upto]).fetchall())

    def whole(self, after: int, upto: int) -> set[int]:
        """Return which messages behind a sequence up to another one are there, none redacted."""
        return {
            row[0] for rows in self.pages(READ_WHOLE, [after, upto], READ_MESSAGES) for row in rows
        }

    def tail(self, count: int) -> list[tuple[int, bytes]]:
        """Return (sequence, leaf) of the newest messages, newest first; from any thread."""
        with self._readers.reading(), closing(self._connection.cursor()) as cursor:
            return cursor.execute(NEWEST_LEAVES, [count]).fetchall()

    def pages(self, statement: str, parameters: object, size: int) -> Iterator[list[Row]]:
        """Yield the rows of a statement, so many at a time; from any thread.

        Raises:
            StorageError: the file cannot be read; it is not a generation's error.
        """
        with self._readers.reading(), closing(self._connection.cursor()) as cursor:
            try:
                cursor.execute(statement, parameters)
                while rows := cursor.fetchmany(size):
                    yield rows
            except duckdb.Error as error:
                message = "log.duckdb cannot be read"
                raise StorageError(message, detail=str(error)) from error

    def tidy(self) -> bool:
        """Move the WAL into the file while nothing else is to do."""
        return checkpoint_if_idle(self._connection)

    def copy(
        self, messages: Sequence[Recorded], leaves: Sequence[tuple[int, bytes]], last: int
    ) -> None:
        """Add what another log holds up to a sequence, with that log's leaves as they are there."""
        rows, time_us = event_rows(messages, self.time_us)
        connection = self._connection
        connection.execute("BEGIN")
        try:
            insert_rows(connection, "event", rows)
            insert_rows(connection, "leaf", leaves)
            move_checkpoint(connection, last, time_us, self.sequence)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        self.sequence, self.time_us = last, time_us

    def mark(self, rewrite: int, erased: Sequence[Row]) -> None:
        """Note how often the log was written anew, and (erasure, messages, events) of each."""
        self._connection.execute("BEGIN")
        try:
            self._connection.execute("UPDATE checkpoint SET rewrite = ?", [rewrite])
            insert_rows(self._connection, "erased", erased)
            self._connection.execute("COMMIT")
        except BaseException:
            roll_back(self._connection)
            raise
        self.rewrite = rewrite

    def erased(self) -> list[Row]:
        """Return (erasure, messages, events) of each erasure that this file was written for."""
        with self._readers.reading(), closing(self._connection.cursor()) as cursor:
            return cursor.execute("SELECT * FROM erased ORDER BY erasure").fetchall()

    def replace_by(self, path: Path) -> None:
        """Put another log's file in the place of this one, and go on with that.

        Raises:
            StorageError: readers did not let go of the file in time; nothing has changed.
        """
        with self._readers.away(DRAIN_S):
            # Closing moves the WAL into the file: none is left that would be taken for the new one.
            self._connection.close()
            path.replace(self.path)
            sync_directory(self.path.parent)
            self._open()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def rewritten_path(path: Path) -> Path:
    """Return where a log is written anew, before it takes the place of the one at ``path``."""
    return path.with_name("log-without-erased.duckdb")


def remove_log(path: Path) -> None:
    """Remove a log's file with what DuckDB has put beside it."""
    for each in (path, path.with_name(f"{path.name}.wal")):
        each.unlink(missing_ok=True)
    shutil.rmtree(path.with_name(f"{path.name}.tmp"), ignore_errors=True)


class Readers:
    """Counts who reads a file, so that it can be replaced between two reads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._barred = False

    @contextmanager
    def reading(self) -> Generator[None]:
        """Read for the length of a block; waits while the file is being replaced."""
        with self._changed:
            self._changed.wait_for(lambda: not self._barred)
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    @contextmanager
    def away(self, timeout_s: float) -> Generator[None]:
        """Let nobody read for the length of a block.

        Raises:
            StorageError: somebody is still reading after ``timeout_s`` seconds.
        """
        with self._changed:
            self._barred = True
            empty = self._changed.wait_for(lambda: self._count == 0, timeout_s)
        try:
            if not empty:
                message = "the log is being read for too long: it is written anew later"
                raise StorageError(message)
            yield
        finally:
            with self._changed:
                self._barred = False
                self._changed.notify_all()


def event_rows(messages: Iterable[Recorded], time_us: int) -> tuple[list[Row], int]:
    """Return the rows of messages that follow a time, and the time after them.

    What was erased as a whole has none.
    """
    rows: list[Row] = []
    for message in messages:
        if message.leaf is not None and not message.payload:
            continue
        time_us = max(time_us, message.time_ns // 1000)
        rows.append(
            (
                message.sequence,
                message.time_ns,
                time_us,
                message.subject,
                message.msg_id,
                message.payload,
                message.leaf is not None,
            )
        )
    return rows, time_us


def _messages(cursor: duckdb.DuckDBPyConnection, rows: list[Row]) -> list[Recorded]:
    redacted = [row[0] for row in rows if row[5]]
    if not redacted:
        return [Recorded(*row[:5]) for row in rows]
    leaves = dict(cursor.execute(LEAVES, [redacted]).fetchall())
    return [replace(Recorded(*row[:5]), leaf=leaves.get(row[0])) for row in rows]


def _that_fit(sizes: list[tuple[int, int]], last: int) -> int:
    """Return up to which sequence one chunk goes: to ``last`` if the payloads fit."""
    total = 0
    before = 0
    for sequence, size in sizes:
        total += size
        if total > READ_BYTES_MAX and before:
            return before
        before = sequence
    return last
