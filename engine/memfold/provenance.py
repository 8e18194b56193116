"""Provenance: which event set each part of a document.

For JSON: JSON Pointer (RFC 6901) of each leaf -> position, a leaf being a scalar, an array or an
empty object. For text: the position of each line. A part whose value did not change keeps the
event that set it, as in ``git blame``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from memfold.canonical import is_object, same

Position = tuple[int, int]
"""(sequence, index in the batch)."""

Pointers = dict[str, Position]
Lines = list[Position]
Provenance = Pointers | Lines


def pointer(parent: str, key: str) -> str:
    """Return the JSON Pointer of ``key`` under ``parent``."""
    return f"{parent}/{key.replace('~', '~0').replace('/', '~1')}"


def leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401  # any JSON value
    """Yield (pointer, value) of each leaf below and including ``at``."""
    if is_object(value) and value:
        for key, item in value.items():
            yield from leaves(item, pointer(at, key))
    else:
        yield at, value


def paths_size(value: Any, above: int = 0) -> int:  # noqa: ANN401  # any JSON value
    """Return how long the pointers of all leaves are together, without making them."""
    if is_object(value) and value:
        return sum(paths_size(item, above + 1 + len(key)) for key, item in value.items())
    return above


def replaced_json(
    old: dict[str, Any] | None, new: dict[str, Any], known: Pointers, position: Position
) -> Pointers:
    """Return the provenance of ``new`` laid whole over ``old``."""
    before = dict(leaves(old)) if old is not None else {}
    return {
        at: known[at] if at in before and same(before[at], value) else position
        for at, value in leaves(new)
    }


def replaced_text(
    old: Sequence[str], new: Sequence[str], known: Lines, position: Position
) -> Lines:
    """Return the provenance of text lines: equal lines at both ends keep theirs.

    Only a common head and tail are kept, not a longest common subsequence: that is exact for every
    single contiguous change, linear, and the same on every machine.
    """
    limit = min(len(old), len(new))
    head = 0
    while head < limit and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < limit - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    changed = len(new) - head - tail
    return [*known[:head], *([position] * changed), *(known[len(known) - tail :] if tail else [])]
