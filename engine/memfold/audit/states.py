"""What differs between two states of a whole resource, document by document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from memfold.canonical import same
from memfold.provenance import leaves
from memfold.reads import Read

Kind = Literal["resource", "definition", "working_memory", "thread", "message"]
"""What a document is of."""
Key = tuple[Kind, str, str]
"""(kind, thread, message), with "" for none."""
_ORDER: Final[tuple[Kind, ...]] = (
    "working_memory",
    "definition",
    "message",
    "thread",
    "resource",
)
ABSENT: Final = object()
"""Stands for a document that there is not: ``None`` is JSON's null."""


@dataclass(frozen=True, slots=True)
class DifferencePart(Read):
    """One place that differs: ``path`` is a JSON Pointer, or ``line`` counts lines from 1.

    A line's number is the one before, of an added one the one after. ``change`` is "added",
    "removed" or "changed"; what is not there is None.
    """

    change: Literal["added", "removed", "changed"]
    path: str | None
    line: int | None
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Difference(Read):
    """A document that differs, and where.

    ``kind`` is "working_memory", "definition", "thread", "message" or "resource"; ``thread`` and
    ``message`` are None for what is not of one.
    """

    kind: Kind
    thread: str | None
    message: str | None
    parts: tuple[DifferencePart, ...]


def differences(before: Mapping[Key, Any], after: Mapping[Key, Any]) -> tuple[Difference, ...]:
    """Return the documents that differ: the memories first, each kind by its names."""
    found: list[Difference] = []
    keys = before.keys() | after.keys()
    for key in sorted(keys, key=lambda key: (_ORDER.index(key[0]), *key[1:])):
        parts = tuple(difference(before.get(key, ABSENT), after.get(key, ABSENT)))
        if parts:
            kind, thread, message = key
            found.append(Difference(kind, thread or None, message or None, parts))
    return tuple(found)


def difference(before: Any, after: Any) -> Iterator[DifferencePart]:  # noqa: ANN401  # any JSON
    """Yield the places where two documents differ; ``ABSENT`` is the lack of one."""
    if isinstance(before, str) and isinstance(after, str):
        yield from _of_lines(before.split("\n"), after.split("\n"))
        return
    old, new = _places(before), _places(after)
    for path in [*old, *(path for path in new if path not in old)]:
        if path not in new:
            yield DifferencePart("removed", path, None, old[path], None)
        elif path not in old:
            yield DifferencePart("added", path, None, None, new[path])
        elif not same(old[path], new[path]):
            yield DifferencePart("changed", path, None, old[path], new[path])


def _places(document: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON value
    return {} if document is ABSENT else dict(leaves(document))


def _of_lines(old: list[str], new: list[str]) -> Iterator[DifferencePart]:
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        paired = min(end - start, new_end - new_start)
        for number in range(paired):
            before, after = old[start + number], new[new_start + number]
            yield DifferencePart("changed", None, start + number + 1, before, after)
        for number in range(start + paired, end):
            yield DifferencePart("removed", None, number + 1, old[number], None)
        for number in range(new_start + paired, new_end):
            yield DifferencePart("added", None, number + 1, None, new[number])
