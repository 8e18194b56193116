"""The content of a generation as digests, and where two differ: what two folds have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb

from memfold_projections.database import roll_back
from memfold_projections.generation import TABLES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from memfold_projections.generation import Generation
    from memfold_projections.rows import Row

FETCH_ROWS: Final = 1000
CONTENT: Final = ("checkpoint", *TABLES)

Told = Callable[[int], None]
"""Called with a number of rows that were read; what it raises ends the reading."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A table that is not the same in two generations, and how many rows only one of them has.

    The numbers are None where the first one cannot be read.
    """

    table: str
    only_first: int | None
    only_second: int | None


@dataclass(frozen=True, slots=True)
class Frozen:
    """A generation as it was at one sequence, for as long as its block lasts."""

    sequence: int
    cursor: duckdb.DuckDBPyConnection
    generation: Generation


@contextmanager
def frozen(generation: Generation) -> Generator[Frozen]:
    """Open a long read of a generation, from any thread, while it is folded on.

    Its WAL is not moved into the file meanwhile.
    """
    with closing(generation.cursor()) as cursor:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            found = cursor.execute("SELECT sequence FROM checkpoint").fetchone()
            yield Frozen(0 if found is None else found[0], cursor, generation)
        finally:
            roll_back(cursor)


def content_digests(generation: Generation) -> dict[str, str]:
    """Return the SHA-256 of each table's rows, independent of their physical order."""
    with frozen(generation) as found:
        return {table: _digest(found, table, _untold) for table in CONTENT}


def count_rows(found: Frozen) -> int:
    """Return how many rows there are in all."""
    return sum(_count(found, table) for table in CONTENT)


def differences(first: Frozen, second: Frozen, told: Told) -> list[Difference]:
    """Compare two generations at one sequence, table by table.

    A first one that is damaged is no error but a difference.

    Raises:
        duckdb.Error: the second cannot be read, or the first for a reason that passes.
    """
    found: list[Difference] = []
    for table in CONTENT:
        expected = _digest(second, table, told)
        try:
            with first.generation.watched():
                if _digest(first, table, told) != expected:
                    found.append(Difference(table, *_count_differing(first, second, table)))
        except duckdb.Error:
            if first.generation.damage is None:
                raise
            found.append(Difference(table, None, None))
    return found


def _untold(_rows: int) -> None:
    return


def _digest(found: Frozen, table: str, told: Told) -> str:
    digest = hashlib.sha256()
    for rows in _pages(found, table):
        for row in rows:
            digest.update(repr(row).encode())
        told(len(rows))
    return digest.hexdigest()


def _count(found: Frozen, table: str) -> int:
    row = found.cursor.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  # our names
    return 0 if row is None else row[0]


def _pages(found: Frozen, table: str) -> Iterator[list[Row]]:
    # How often the log was written anew is a matter of one directory.
    what = "* EXCLUDE (rewrite)" if table == "checkpoint" else "*"
    found.cursor.execute(f"SELECT {what} FROM {table} ORDER BY ALL")  # noqa: S608  # our own names
    while rows := found.cursor.fetchmany(FETCH_ROWS):
        yield rows


def _count_differing(first: Frozen, second: Frozen, table: str) -> tuple[int, int]:
    """Walk through both in their order, counting rows that only one of them has."""
    ones = (row for rows in _pages(first, table) for row in rows)
    others = (row for rows in _pages(second, table) for row in rows)
    one, other = next(ones, None), next(others, None)
    only_first = only_second = 0
    while one is not None or other is not None:
        if one == other:
            one, other = next(ones, None), next(others, None)
        elif other is None or (one is not None and _order(one) < _order(other)):
            only_first, one = only_first + 1, next(ones, None)
        else:
            only_second, other = only_second + 1, next(others, None)
    return only_first, only_second


def _order(row: Row) -> tuple[tuple[bool, Any], ...]:
    # As DuckDB orders: what is NULL comes last.
    return tuple((value is None, 0 if value is None else value) for value in row)
