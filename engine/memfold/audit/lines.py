"""Which lines of two texts are the same ones. Pure, and never quadratic in long texts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

Pairs = list[tuple[int, int]]
"""(line of the old text, line of the new one), from 0: equal lines, in order on both sides."""

WHOLE_CELLS_MAX: Final = 1 << 18
"""Up to so many pairs of lines, all are compared: texts of some 500 lines."""
GAP_CELLS_MAX: Final = 1 << 14
"""The same for each gap between lines that are known to be the same, in longer texts."""


def same_lines(old: Sequence[str], new: Sequence[str], kept: Pairs) -> Pairs:
    """Return pairs of equal lines of two texts: as many as there are, all of two equal texts.

    ``kept`` are lines that nothing has touched. Each of them is in a pair, though its partner can
    be another line of the same text: so the lines without one are lines that something touched. Of
    texts beyond ``WHOLE_CELLS_MAX`` there can be fewer pairs than could be found.
    """
    if old == new:
        return [(number, number) for number in range(len(old))]
    if len(old) * len(new) <= WHOLE_CELLS_MAX:
        return _most(old, new, kept)
    found: Pairs = []
    before = (-1, -1)
    for pair in [*kept, (len(old), len(new))]:
        found += _in_gap(old, new, before, pair)
        found.append(pair)
        before = pair
    return found[:-1]


def _in_gap(
    old: Sequence[str], new: Sequence[str], before: tuple[int, int], behind: tuple[int, int]
) -> Pairs:
    """Return the pairs strictly between two pairs."""
    (first, first_new), (last, last_new), head, tail = _trimmed(old, new, before, behind)
    lines, lines_new = old[first:last], new[first_new:last_new]
    inner: Pairs = []
    if len(lines) * len(lines_new) <= GAP_CELLS_MAX:
        inner = _most(lines, lines_new, [])
    else:
        at = (-1, -1)
        # Lines that are there just once on either side say where the others belong.
        for pair in [*_unique(lines, lines_new), (len(lines), len(lines_new))]:
            inner += _in_small_gap(lines, lines_new, at, pair)
            inner.append(pair)
            at = pair
        inner.pop()
    return [*head, *((first + a, first_new + b) for a, b in inner), *tail]


def _in_small_gap(
    old: Sequence[str], new: Sequence[str], before: tuple[int, int], behind: tuple[int, int]
) -> Pairs:
    (first, first_new), (last, last_new), head, tail = _trimmed(old, new, before, behind)
    inner: Pairs = []
    if (last - first) * (last_new - first_new) <= GAP_CELLS_MAX:
        inner = _most(old[first:last], new[first_new:last_new], [])
    return [*head, *((first + a, first_new + b) for a, b in inner), *tail]


def _trimmed(
    old: Sequence[str], new: Sequence[str], before: tuple[int, int], behind: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int], Pairs, Pairs]:
    """Return what is left between two pairs, and the pairs of equal lines at both its ends."""
    first, first_new = before[0] + 1, before[1] + 1
    last, last_new = behind
    head: Pairs = []
    while first < last and first_new < last_new and old[first] == new[first_new]:
        head.append((first, first_new))
        first, first_new = first + 1, first_new + 1
    tail: Pairs = []
    while first < last and first_new < last_new and old[last - 1] == new[last_new - 1]:
        last, last_new = last - 1, last_new - 1
        tail.append((last, last_new))
    return (first, first_new), (last, last_new), head, tail[::-1]


def _most(old: Sequence[str], new: Sequence[str], kept: Pairs) -> Pairs:
    """Return the most pairs there are, among those that leave out no kept line of either side."""
    # A kept line weighs more than all others together.
    much = min(len(old), len(new)) + 1
    weights, weights_new = [0] * len(old), [1] * len(new)
    for number, number_new in kept:
        weights[number] += much
        weights_new[number_new] += much
    # For each pair of places the weight of what can be paired from there on.
    below = [0] * (len(new) + 1)
    table = [below]
    for number in range(len(old) - 1, -1, -1):
        line, weight = old[number], weights[number]
        row = [0] * (len(new) + 1)
        best = 0
        for other in range(len(new) - 1, -1, -1):
            best = max(best, below[other])
            if line == new[other]:
                best = max(best, weight + weights_new[other] + below[other + 1])
            row[other] = best
        table.append(row)
        below = row
    table.reverse()
    found: Pairs = []
    number = other = 0
    while number < len(old) and other < len(new):
        best = table[number][other]
        weight = weights[number] + weights_new[other] + table[number + 1][other + 1]
        if old[number] == new[other] and best == weight:
            found.append((number, other))
            number, other = number + 1, other + 1
        elif best == table[number + 1][other]:
            number += 1
        else:
            other += 1
    return found


def _unique(old: Sequence[str], new: Sequence[str]) -> Pairs:
    """Return the lines that are there once on either side: the most that are in order."""
    counts, counts_new = Counter(old), Counter(new)
    places = {line: number for number, line in enumerate(new) if counts_new[line] == 1}
    once = [
        (number, places[line])
        for number, line in enumerate(old)
        if counts[line] == 1 and line in places
    ]
    # The longest increasing run, by patience: the last place of a run of each length.
    lasts: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for number, (_, place) in enumerate(once):
        length = bisect_left(lasts, place)
        previous.append(ends[length - 1] if length else -1)
        if length == len(lasts):
            lasts.append(place)
            ends.append(number)
        else:
            lasts[length], ends[length] = place, number
    found: Pairs = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(once[at])
        at = previous[at]
    return found[::-1]
