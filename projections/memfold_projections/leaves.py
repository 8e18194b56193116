"""Reading log.duckdb to check it: leaves and messages by their sequences, from any thread.

Each read is short and by a range, so it holds up neither the writer nor an idle checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from memfold.audit.merkle import HASH_BYTES
from memfold.leaf import leaf_hash
from memfold.wire import Recorded

if TYPE_CHECKING:
    from memfold.audit.findings import Findings
    from memfold.erasure_records import ErasureRecords
    from memfold_projections.log import Log

CHUNK: Final = 20_000
"""Leaves read at once."""
CHUNK_MESSAGES: Final = 2000
CHUNK_BYTES: Final = 8 * 1024 * 1024
WHERE: Final = "log.duckdb"

NO_LEAF: Final = bytes(HASH_BYTES)
"""Stands where the table has no leaf: no message has it."""

_LEAVES: Final = """
SELECT sequence, hash FROM leaf WHERE sequence >= ? AND sequence <= ? ORDER BY sequence, rowid
"""
_SIZES: Final = """
SELECT sequence, octet_length(payload) FROM event
WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""
_EVENTS: Final = """
SELECT sequence, time_ns, subject, payload, msg_id, time_us, redacted FROM event
WHERE sequence > ? AND sequence <= ? ORDER BY sequence, rowid
"""
_OUTSIDE: Final = """
SELECT
    (SELECT min(sequence) FROM event WHERE sequence < 1 OR sequence > checkpoint.sequence),
    (SELECT min(sequence) FROM leaf WHERE sequence < 1 OR sequence > checkpoint.sequence)
FROM checkpoint
"""

Tick = Callable[[int], None]
"""Told how many are done; may raise to end the work."""


class Leaves:
    """The leaf table, read forwards in chunks. Not for two threads at once."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._first = 1
        self._kept: list[bytes] = []

    def between(self, first: int, last: int) -> list[bytes]:
        """Return the leaves of the sequences from ``first`` to ``last``, both included.

        ``NO_LEAF`` stands for one that is missing. Ask for what is committed only.

        Raises:
            StorageError: the file cannot be read.
        """
        found: list[bytes] = []
        while first <= last:
            place = first - self._first
            if not 0 <= place < len(self._kept):
                self._read(first, max(last, first + CHUNK - 1))
                place = 0
            part = self._kept[place : place + last - first + 1]
            found += part
            first += len(part)
        return found

    def all(self, last: int, *, after: int = 0) -> Iterator[bytes]:
        """Yield the leaves behind a sequence up to another one."""
        while after < last:
            upto = min(last, after + CHUNK)
            yield from self.between(after + 1, upto)
            after = upto

    def _read(self, first: int, last: int) -> None:
        last = min(last, first + CHUNK - 1, self._log.sequence)
        kept = [NO_LEAF] * max(1, last - first + 1)
        for rows in self._log.pages(_LEAVES, [first, last], CHUNK):
            for sequence, leaf in rows:
                kept[sequence - first] = leaf if len(leaf) == HASH_BYTES else NO_LEAF
        self._first, self._kept = first, kept


def check_log(
    log: Log, upto: int, records: ErasureRecords, findings: Findings, tick: Tick
) -> list[tuple[int, int]]:
    """Compute each leaf anew from its message, and hold the tables against each other.

    Returned are the ranges where what is left of messages is not what the records say; it may be
    that those are not complete yet.

    Raises:
        StorageError: the file cannot be read.
    """
    _check_outside(log, findings)
    check = _Check(records, findings)
    after = 0
    while after < upto:
        last = _chunk_end(log, after, upto)
        rows = _rows(log, _EVENTS, after, last)
        leaves = _rows(log, _LEAVES, after + 1, last)
        check.chunk(after + 1, last, rows, leaves)
        after = last
        tick(after)
    return check.doubtful


def _rows(log: Log, statement: str, first: int, last: int) -> list[tuple[Any, ...]]:
    return [row for page in log.pages(statement, [first, last], CHUNK) for row in page]


def _chunk_end(log: Log, after: int, upto: int) -> int:
    """Return up to where messages are read at once: so many sequences, or bytes."""
    last = min(after + CHUNK_MESSAGES, upto)
    end, size = after, 0
    for sequence, length in _rows(log, _SIZES, after, last):
        size += length
        if size > CHUNK_BYTES and end > after:
            return end
        end = sequence
    return last


def _check_outside(log: Log, findings: Findings) -> None:
    for page in log.pages(_OUTSIDE, [], 1):
        for table, sequence in zip(("event", "leaf"), page[0], strict=True):
            if sequence is not None:
                text = f"the table {table} has a row at {sequence}, where the log has no message"
                findings.add(f"{table}_inserted", sequence, WHERE, text)


class _Check:
    def __init__(self, records: ErasureRecords, findings: Findings) -> None:
        self._records = records
        self._findings = findings
        self._time_us = 0
        self._sure = True
        """Whether all times so far are known: the log's time is the maximum of its rows' times."""
        self.doubtful: list[tuple[int, int]] = []

    def chunk(
        self,
        first: int,
        last: int,
        rows: list[tuple[Any, ...]],
        leaves: list[tuple[int, bytes]],
    ) -> None:
        found: dict[int, bytes] = {}
        for place, leaf in leaves:
            if place in found:
                text = f"the table leaf has more than one row at {place}"
                self._findings.add("leaf_inserted", place, WHERE, text)
            found.setdefault(place, leaf)
        if len(found) != last - first + 1:
            self._missing(first, last, found)
        due = first
        for row in rows:
            sequence: int = row[0]
            if sequence < due:
                text = f"the table event has more than one row at {sequence}"
                self._findings.add("event_inserted", sequence, WHERE, text)
                continue
            self._hole(due, sequence - 1)
            self._message(row, found.get(sequence))
            due = sequence + 1
        self._hole(due, last)

    def _message(self, row: tuple[Any, ...], leaf: bytes | None) -> None:
        message, time_us = Recorded(*row[:5]), row[5]
        sequence, due_us = message.sequence, max(self._time_us, message.time_ns // 1000)
        if row[6]:
            # Erased in part, so it no longer gives its leaf: the records say what is left.
            if replace(message, leaf=b"") != self._records.message(sequence, b""):
                self.doubtful.append((sequence, sequence))
        elif leaf is not None and leaf_hash(message) != leaf:
            text = f"message {sequence} and its leaf do not fit: one of the two was changed"
            self._findings.add("event_changed", sequence, WHERE, text)
            # Its time may be what was changed: it says nothing of the ones behind it.
            self._sure = False
            return
        if time_us != due_us and (self._sure or time_us < due_us):
            text = f"the log's time of message {sequence} is not the one that its time gives"
            self._findings.add("event_changed", sequence, WHERE, text)
        elif not self._sure:
            due_us, self._sure = time_us, True
        self._time_us = due_us

    def _hole(self, first: int, last: int) -> None:
        if first > last:
            return
        missing = self._records.unexplained(first, last)
        if missing:
            # Its time may be what is behind the next ones.
            self._sure = False
        self.doubtful += missing
        self.doubtful += [(each, each) for each in self._records.survivors(first, last)]

    def _missing(self, first: int, last: int, found: dict[int, bytes]) -> None:
        due = first
        for sequence in [*found, last + 1]:
            if sequence > due:
                text = f"the table leaf has no rows {due} to {sequence - 1}"
                self._findings.add("leaf_missing", due, WHERE, text)
            due = sequence + 1
