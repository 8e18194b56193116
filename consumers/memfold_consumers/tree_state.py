"""What an engine knows of the tree between two runs: ``tree.json``, and the last head of a file.

Disposable: without it the tree is computed from the leaves again, two seconds for a million.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from memfold.audit.heads import Head, read_head
from memfold.audit.merkle import Tree
from memfold.canonical import encode, is_array, is_object
from memfold.errors import InvalidEvent
from memfold.gate import parse
from memfold_consumers.line_files import append_line, last_line, read_lines, repair
from memfold_consumers.ownership import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

TREE_FILE: Final = "tree.json"
HEADS_FILE: Final = "heads.ndjson"


@dataclass(slots=True)
class Published:
    """Up to where the audit stream is known to agree with our log.

    ``leaves_place`` and ``heads_place`` are the places of the last block and head in that stream;
    ``leaves`` is the last sequence of that block, ``tree`` the tree of that head.
    """

    leaves_place: int = 0
    leaves: int = 0
    heads_place: int = 0
    tree: Tree = field(default_factory=Tree)


@dataclass(slots=True)
class TreeState:
    """The tree at this directory's last head, and what else must not go backwards."""

    tree: Tree = field(default_factory=Tree)
    published: Published = field(default_factory=Published)
    generation: int = 0
    checkpoint: int = 0
    """Of that generation."""
    head: int = 0
    """The size of the last head in the file."""


def copy(tree: Tree) -> Tree:
    """Return a tree that can be appended to while the first stays as it is."""
    return Tree(tree.size, tree.peaks)


def read_state(directory: Path) -> TreeState | None:
    """Return what the last run has left; None if there is nothing that can be used."""
    try:
        found = parse((directory / TREE_FILE).read_bytes())
        published = found["published"]
        return TreeState(
            _tree(found["tree"]),
            Published(
                _number(published["leaves_place"]),
                _number(published["leaves"]),
                _number(published["heads_place"]),
                _tree(published["tree"]),
            ),
            _number(found["generation"]),
            _number(found["checkpoint"]),
            _number(found["head"]),
        )
    except (OSError, InvalidEvent, ValueError, TypeError, KeyError):
        return None


def write_state(directory: Path, state: TreeState) -> None:
    """Keep the state for the next run."""
    published = state.published
    content = encode(
        {
            "tree": _json(state.tree),
            "published": {
                "leaves_place": published.leaves_place,
                "leaves": published.leaves,
                "heads_place": published.heads_place,
                "tree": _json(published.tree),
            },
            "generation": state.generation,
            "checkpoint": state.checkpoint,
            "head": state.head,
        }
    )
    write_atomically(directory / TREE_FILE, content + b"\n")


def append_head(directory: Path, head: Head) -> None:
    """Add a head to ``heads.ndjson``."""
    append_line(directory / HEADS_FILE, head.encode())


def last_head(directory: Path) -> Head | None:
    """Return the last head of ``heads.ndjson``, after cutting off a torn line.

    Raises:
        ValueError: the last whole line is no head.
    """
    path = directory / HEADS_FILE
    repair(path)
    line = last_line(path)
    return read_head(line) if line else None


def find_head(directory: Path, size: int) -> Head | None:
    """Return the newest head of ``heads.ndjson`` that has a size, None if there is none."""
    for line in reversed(read_lines(directory / HEADS_FILE)):
        try:
            head = read_head(line)
        except ValueError:
            continue
        if head.size == size:
            return head
    return None


def _json(tree: Tree) -> dict[str, Any]:
    return {"size": tree.size, "peaks": [peak.hex() for peak in tree.peaks]}


def _tree(value: object) -> Tree:
    if not is_object(value) or not is_array(value["peaks"]):
        message = "no tree"
        raise ValueError(message)
    return Tree(_number(value["size"]), [bytes.fromhex(peak) for peak in value["peaks"]])


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        message = "no number"
        raise ValueError(message)
    return value
