"""Opening DuckDB files: hardened, with units and pragmas in one place. Knows no tables.

One process owns a file, one thread writes to it; readers use short-lived cursors.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import duckdb

from memfold.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OPEN: Final = 9_223_372_036_854_775_807
"""``valid_to`` of a row that is still valid."""

WAL_BYTES_MAX: Final = "256MB"
"""A commit that finds the WAL larger checkpoints by itself; idle checkpoints come long before."""

MEMORY_MIB: Final = 512
"""For one file, where nothing else is said; DuckDB itself would take most of the machine."""

MOVE_CHECKPOINT: Final = "UPDATE checkpoint SET sequence = ?, time_us = ? WHERE sequence = ?"

_NO_ROOM: Final = "no space left"
_SIGNS_OF_DAMAGE: Final = ("corrupt database file", "could not read enough bytes")

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "checkpoint_threshold": WAL_BYTES_MAX,
    "threads": "2",
}


def open_database(
    path: Path, schema: str, *, memory_mib: int = MEMORY_MIB
) -> duckdb.DuckDBPyConnection:
    """Open a file, creating it with the named ``.sql`` schema of this package if it is new.

    ``memory_mib`` bounds what DuckDB keeps in memory of it; what does not fit a sort goes to a
    directory beside the file.

    Raises:
        StorageError: the file is locked by another process, damaged, or not ours.
    """
    try:
        connection = duckdb.connect(
            str(path), config={**_CONFIG, "memory_limit": f"{memory_mib}MiB"}
        )
        connection.execute("SET lock_configuration = true")
        found = connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
        if found is None or found[0] == 0:
            _create(connection, schema)
        # Much damage shows only when blocks are read.
        connection.execute("SELECT * FROM checkpoint").fetchall()
    except duckdb.Error as error:
        message = f"{path.name} cannot be opened (damaged, or used by another process)"
        raise StorageError(message, detail=str(error)) from error
    return connection


def _create(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    text = resources.files("memfold_projections").joinpath(schema).read_text()
    # All or nothing: a file without its tables would never be taken for a new one again.
    connection.execute("BEGIN")
    connection.execute(text)
    connection.execute("COMMIT")


def tells_damage(error: duckdb.Error) -> bool:
    """Tell whether an error means that the file is damaged: no full disk, no lack of memory."""
    # DuckDB has no class of its own for this, and quotes it in what comes after.
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS_OF_DAMAGE)


def tells_shortage(error: BaseException) -> bool:
    """Tell whether an error, or what caused it, means no room on the disk or in memory."""
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
        return True
    if isinstance(error, duckdb.Error) and _NO_ROOM in str(error).lower():
        return True
    return error.__cause__ is not None and tells_shortage(error.__cause__)


def roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    """End a transaction that failed; a COMMIT that fails (disk full) has ended it already."""
    with suppress(duckdb.Error):
        connection.execute("ROLLBACK")


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[Any]]
) -> None:
    """Insert whole rows, in the table's order of columns, within the open transaction.

    DuckDB's appender takes 2 us a row, three times less than list parameters; for a lone row an
    INSERT is quicker.
    """
    if len(rows) == 1:
        marks = ", ".join("?" * len(rows[0]))
        connection.execute(f"INSERT INTO {table} VALUES ({marks})", rows[0])  # noqa: S608  # our names
    elif rows:
        with connection.appender(table) as appender:
            appender.append_rows(rows)


def run_columns(
    connection: duckdb.DuckDBPyConnection, statement: str, rows: Sequence[Sequence[Any]]
) -> None:
    """Run a statement with one list parameter (``unnest($1)``, ...) per column of the rows."""
    if rows:
        connection.execute(statement, [list(column) for column in zip(*rows, strict=True)])


def move_checkpoint(
    connection: duckdb.DuckDBPyConnection, sequence: int, time_us: int, before: int
) -> None:
    """Move a file's checkpoint within the transaction of the rows it speaks for.

    Raises:
        StorageError: it was not at ``before``: a second writer was here.
    """
    moved = connection.execute(MOVE_CHECKPOINT, [sequence, time_us, before]).fetchone()
    if moved is None or moved[0] != 1:
        message = "another writer moved the checkpoint"
        raise StorageError(message)


def checkpoint_if_idle(connection: duckdb.DuckDBPyConnection) -> bool:
    """Move the WAL into the file; False if a reader's transaction stands in the way just now."""
    try:
        connection.execute("CHECKPOINT")
    except duckdb.TransactionException:
        return False
    return True
