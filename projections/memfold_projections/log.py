"""``log.duckdb``: every recorded message with its leaf, in order. The second copy of the log."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import duckdb

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
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from memfold_projections.rows import Row

FORMAT: Final = 1
READ_MESSAGES: Final = 2000
"""Messages per chunk when the log is read back."""

READ_BYTES_MAX: Final = 8 * 1024 * 1024
"""Payload bytes per chunk; one message may exceed it."""
SIZES: Final = """
SELECT sequence, octet_length(payload) FROM event
WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""
READ_EVENTS: Final = """
SELECT sequence, time_ns, subject, payload, msg_id FROM event
WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""


class Log:
    """The engine's own copy of the log.

    What writes belongs to the writer thread; ``read`` and ``pages`` work from any.
    """

    def __init__(self, path: Path, namespace: str, *, memory_mib: int = MEMORY_MIB) -> None:
        """Open or create the file.

        Raises:
            StorageError: unreadable, of another namespace, or of a newer format.
        """
        self._connection = open_database(path, "schema_log.sql", memory_mib=memory_mib)
        row = self._connection.execute("SELECT * FROM checkpoint").fetchone()
        if row is None:
            row = (0, 0, namespace, FORMAT)
            self._connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", row)
        self.sequence: int = row[0]
        self._time_us: int = row[1]
        if row[2] != namespace or row[3] != FORMAT:
            self._connection.close()
            message = (
                f"{path.name} holds namespace {row[2]!r} in format {row[3]}, "
                f"not {namespace!r} in format {FORMAT}"
            )
            raise StorageError(message)

    def append(self, messages: Sequence[Recorded]) -> None:
        """Add messages that follow the checkpoint, with their leaves, in one transaction.

        Raises:
            StorageError: another writer moved the checkpoint.
        """
        rows: list[tuple[int, int, int, str, str, bytes]] = []
        leaves: list[tuple[int, bytes]] = []
        time_us = self._time_us
        for message in messages:
            time_us = max(time_us, message.time_ns // 1000)
            rows.append(
                (
                    message.sequence,
                    message.time_ns,
                    time_us,
                    message.subject,
                    message.msg_id,
                    message.payload,
                )
            )
            leaves.append((message.sequence, leaf_hash(message)))
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
        self.sequence, self._time_us = last, time_us

    def read(self, after: int, upto: int | None = None) -> Iterator[list[Recorded]]:
        """Yield the messages behind a sequence, in chunks, in order; from any thread.

        ``upto`` is the last one wanted; without it reading goes on to the end of the log, also
        of what is appended meanwhile. Erased messages are left out. A chunk has at most 2,000
        messages, and 8 MiB unless one message alone is larger.
        """
        with closing(self._connection.cursor()) as cursor:
            while after < (end := self.sequence if upto is None else min(upto, self.sequence)):
                # By ranges, not by LIMIT: a range touches only the blocks that hold it.
                last = min(after + READ_MESSAGES, end)
                last = _that_fit(cursor.execute(SIZES, [after, last]).fetchall(), last)
                rows = cursor.execute(READ_EVENTS, [after, last]).fetchall()
                if rows:
                    yield [Recorded(*row) for row in rows]
                after = last

    def tail(self, count: int) -> list[tuple[int, bytes]]:
        """Return (sequence, leaf) of the newest messages, newest first."""
        return self._connection.execute(
            "SELECT sequence, hash FROM leaf ORDER BY sequence DESC LIMIT ?", [count]
        ).fetchall()

    def pages(self, statement: str, parameters: object, size: int) -> Iterator[list[Row]]:
        """Yield the rows of a statement, so many at a time; from any thread.

        Raises:
            StorageError: the file cannot be read; it is not a generation's error.
        """
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, parameters)
            while rows := cursor.fetchmany(size):
                yield rows
        except duckdb.Error as error:
            message = "log.duckdb cannot be read"
            raise StorageError(message, detail=str(error)) from error
        finally:
            cursor.close()

    def tidy(self) -> bool:
        """Move the WAL into the file while nothing else is to do."""
        return checkpoint_if_idle(self._connection)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


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
