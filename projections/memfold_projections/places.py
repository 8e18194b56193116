"""Where two generations differ: the first sequence that a differing row names."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memfold_projections.content import Frozen

_NAMES: Final = ("valid_from", "changed", "sequence", "revision")


def first_differing(first: Frozen, second: Frozen, table: str) -> int | None:
    """Return the lowest sequence of the rows that only one of two generations has; None without.

    Reads the whole table of both: ask only if they differ.
    """
    left: Counter[bytes] = Counter(key for key, _ in _rows(first, table))
    lowest: int | None = None
    for key, place in _rows(second, table):
        if left[key]:
            left[key] -= 1
        else:
            lowest = _lower(lowest, place)
    for key, place in _rows(first, table):
        if left[key]:
            lowest = _lower(lowest, place)
    return lowest


def _rows(found: Frozen, table: str) -> Iterator[tuple[bytes, int | None]]:
    """Yield a key of each row, and the sequence that it is of."""
    cursor = found.cursor.execute(f"SELECT * FROM {table}")  # noqa: S608  # our own names
    names = [column[0] for column in cursor.description or ()]
    place = next((names.index(name) for name in _NAMES if name in names), None)
    while rows := cursor.fetchmany(1000):
        for row in rows:
            yield hashlib.sha256(repr(row).encode()).digest(), _sequence(row, place)


def _sequence(row: tuple[Any, ...], place: int | None) -> int | None:
    return None if place is None or not isinstance(row[place], int) else row[place]


def _lower(lowest: int | None, place: int | None) -> int | None:
    if lowest is None or place is None:
        return place if lowest is None else lowest
    return min(lowest, place)
