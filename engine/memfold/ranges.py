"""Sets of sequences as ranges, both ends included. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


class Ranges:
    """A set of whole numbers that grows by ranges, which may overlap and come in any order."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._new: list[tuple[int, int]] = list(ranges)
        self._merged: list[tuple[int, int]] = []

    def add(self, first: int, last: int) -> None:
        """Add a range; one that ends before it begins is empty."""
        self._new.append((first, last))

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return what of a range is not in the set, in order."""
        merged = self._all()
        found: list[tuple[int, int]] = []
        place = bisect_left(merged, first, key=lambda each: each[1])
        for begin, end in merged[place:]:
            if begin > last:
                break
            if begin > first:
                found.append((first, begin - 1))
            first = max(first, end + 1)
        if first <= last:
            found.append((first, last))
        return found

    def __contains__(self, number: int) -> bool:
        return not self.missing(number, number)

    def _all(self) -> list[tuple[int, int]]:
        if self._new:
            merged: list[tuple[int, int]] = []
            for first, last in sorted([*self._merged, *self._new]):
                if first > last:
                    continue
                if merged and first <= merged[-1][1] + 1:
                    merged[-1] = (merged[-1][0], max(merged[-1][1], last))
                else:
                    merged.append((first, last))
            self._merged, self._new = merged, []
        return self._merged
