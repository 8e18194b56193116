"""What ``log.duckdb`` holds besides messages and leaves, held against these.

Those tables are small, but the engine goes by them: a wrong row would skip an erasure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.events import Erased
from memfold.wire import Event, Recorded, read_message
from memfold_projections.leaves import NO_LEAF, WHERE

if TYPE_CHECKING:
    from memfold.audit.findings import Findings
    from memfold_projections.log import Log
    from memfold_projections.rows import Row

_ROWS: Final = 1000
_CHECKPOINT: Final = """
SELECT (SELECT count(*) FROM checkpoint), checkpoint.time_us, checkpoint.rewrite,
    (SELECT coalesce(max(time_us), 0) FROM event), (SELECT count(*) FROM erased)
FROM checkpoint LIMIT 1
"""
_ERASURES: Final = """
SELECT sequence, time_ns, subject, payload, msg_id, redacted FROM event
WHERE sequence IN (SELECT erasure FROM erased)
"""
_ERASED: Final = "SELECT erasure, count(*) FROM erased GROUP BY erasure ORDER BY erasure"


def check_tables(log: Log, namespace: str, findings: Findings) -> None:
    """Check the tables ``checkpoint`` and ``erased``.

    Raises:
        StorageError: the file cannot be read.
    """
    [(rows, time_us, rewrite, due_us, erased)] = _read(log, _CHECKPOINT)
    if rows != 1:
        findings.add("table_differs", None, WHERE, f"the table checkpoint has {rows} rows, not one")
    if time_us != due_us:
        text = "the log's time in the table checkpoint is not that of its newest message"
        findings.add("table_differs", None, WHERE, text)
    # It is written anew for one erasure at least.
    if not bool(erased) <= rewrite <= erased:
        text = f"it says to be written anew {rewrite} times, for {erased} erasures"
        findings.add("table_differs", None, WHERE, text)
    marks = _read(log, _ERASED)
    records = {row[0] for row in _read(log, _ERASURES) if _is_erasure(namespace, row)}
    for erasure, count in marks:
        if erasure not in records:
            text = f"the table erased names {erasure}, which is no record of an erasure"
            findings.add("table_differs", erasure, WHERE, text)
        elif count > 1:
            text = f"the table erased names the erasure {erasure} more than once"
            findings.add("table_differs", erasure, WHERE, text)


def _read(log: Log, statement: str) -> list[Row]:
    return [row for page in log.pages(statement, [], _ROWS) for row in page]


def _is_erasure(namespace: str, row: Row) -> bool:
    sequence, time_ns, subject, payload, msg_id, redacted = row
    leaf = NO_LEAF if redacted else None
    message = Recorded(sequence, time_ns, subject, payload, msg_id, leaf)
    return any(
        isinstance(event, Event) and isinstance(event.data, Erased)
        for event in read_message(namespace, message, time_us=0)
    )
