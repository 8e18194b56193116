"""What a verification has found wrong: bounded, each with its place. Pure.

Texts name places and never quote what stands there: contents stay out of reports.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SHOWN_MAX: Final = 50
"""Findings of one kind that are kept; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; ``sequence`` is the first bad one, None without."""

    kind: str
    sequence: int | None
    where: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "kind": self.kind,
            "sequence": self.sequence,
            "where": self.where,
            "text": self.text,
        }


class Findings:
    """All that was found, in the order of its finding."""

    def __init__(self) -> None:
        self._shown: list[Finding] = []
        self.counts: dict[str, int] = {}
        """How many there are of each kind, those included that are not kept."""

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def add(self, kind: str, sequence: int | None, where: str, text: str) -> None:
        """Add one."""
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        if number < SHOWN_MAX:
            self._shown.append(Finding(kind, sequence, where, text))

    def to_json(self) -> list[dict[str, Any]]:
        """Return those that are kept as plain JSON."""
        return [finding.to_json() for finding in self._shown]


class Explained:
    """The sequences whose messages may be gone: each is covered by an erasure record."""

    def __init__(self, load: Callable[[], Iterable[tuple[int, int]]] = tuple) -> None:
        """Take what returns ranges, both ends included, in any order.

        It is asked again where a hole is not explained: what is erased just now has its record
        first.
        """
        self._load = load
        self._ranges: list[tuple[int, int]] = []

    def unexplained(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return what of a hole, both ends included, no record explains."""
        found = self._unexplained(first, last)
        if found:
            self._ranges = _merged(self._load())
            found = self._unexplained(first, last)
        return found

    def _unexplained(self, first: int, last: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        place = bisect_left(self._ranges, first, key=lambda each: each[1])
        for begin, end in self._ranges[place:]:
            if begin > last:
                break
            if begin > first:
                found.append((first, begin - 1))
            first = max(first, end + 1)
        if first <= last:
            found.append((first, last))
        return found


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
