"""Opening DuckDB files: hardened, with units and pragmas in one place. Knows no tables.

One process owns a file, one thread writes to it; readers use short-lived cursors.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import duckdb

from memfold.canonical import encode_text
from memfold.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OPEN: Final = 9_223_372_036_854_775_807
"""``valid_to`` of a row that is still valid."""

WAL_BYTES_MAX: Final = "256MB"
"""A commit that finds the WAL larger checkpoints by itself; idle checkpoints come long before."""

MOVE_CHECKPOINT: Final = "UPDATE checkpoint SET sequence = ?, time_us = ? WHERE sequence = ?"

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "checkpoint_threshold": WAL_BYTES_MAX,
    "threads": "2",
}


def open_database(path: Path, schema: str) -> duckdb.DuckDBPyConnection:
    """Open a file, creating it with the named ``.sql`` schema of this package if it is new.

    Raises:
        StorageError: the file is locked by another process, damaged, or not ours.
    """
    try:
        connection = duckdb.connect(str(path), config=_CONFIG)
        connection.execute("SET lock_configuration = true")
        found = connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone()
        if found is None or found[0] == 0:
            _create(connection, schema)
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


@dataclass(frozen=True, slots=True)
class Table:
    """How the rows of one table are inserted: a lone row by value, many rows in one parameter.

    Many rows travel as one JSON text, all values of a column together: that is twice as fast as a
    list parameter per column, is taken apart without holding the interpreter, and is exact for all
    text (NUL too) and all 64-bit integers. BLOB columns are given as hexadecimal text. A lone row
    would pay 1 ms for planning that.
    """

    one: str
    many: str
    columns: tuple[str, ...]

    @classmethod
    def make(cls, name: str, columns: str) -> Table:
        """Describe a table by ``"column:TYPE ..."`` in the order of its rows."""
        pairs = [column.split(":") for column in columns.split()]
        shape = ",".join(
            f'"{column}":["{"VARCHAR" if kind in ("TEXT", "BLOB") else kind}"]'
            for column, kind in pairs
        )
        values = ", ".join(
            f"unhex(unnest(j.{column}))" if kind == "BLOB" else f"unnest(j.{column})"
            for column, kind in pairs
        )
        marks = ", ".join("unhex(?)" if kind == "BLOB" else "?" for _, kind in pairs)
        into = f"INSERT INTO {name} ({', '.join(column for column, _ in pairs)})"
        source = f"(SELECT from_json($1::JSON, '{{{shape}}}') AS j)"  # noqa: S608  # constants
        return cls(
            one=f"{into} VALUES ({marks})",
            many=f"{into} SELECT {values} FROM {source}",
            columns=tuple(column for column, _ in pairs),
        )

    def write(self, connection: duckdb.DuckDBPyConnection, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows; nothing happens for none."""
        if len(rows) == 1:
            connection.execute(self.one, rows[0])
        elif rows:
            columns = zip(self.columns, map(list, zip(*rows, strict=True)), strict=True)
            connection.execute(self.many, [encode_text(dict(columns))])


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
