"""What an engine remembers of its tree when it starts, held against the files it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memfold_consumers.tree_state import HEADS_FILE, TreeState, find_head, last_head, read_state

if TYPE_CHECKING:
    from pathlib import Path

    from memfold.audit.heads import Head
    from memfold.audit.merkle import Tree
    from memfold_consumers.incidents import Incidents
    from memfold_projections.store import Found

LOG_ROLLED_BACK = "log_rolled_back"
GENERATION_ROLLED_BACK = "generation_rolled_back"
HEADS_ROLLED_BACK = "heads_rolled_back"
HEAD_UNREADABLE = "head_unreadable"


def recall(directory: Path, found: Found, incidents: Incidents) -> tuple[TreeState, Head | None]:
    """Return what the last run has left that can still be used, and the last head of its file.

    What went backwards since is recorded as an incident.
    """
    log_sequence, number, checkpoint = found.log, found.number, found.generation
    state = read_state(directory) or TreeState()
    head: Head | None = None
    try:
        head = last_head(directory)
    except ValueError:
        incidents.record(HEAD_UNREADABLE, HEADS_FILE, "its last line is no head")
    size = 0 if head is None else head.size
    if max(size, state.tree.size) > log_sequence:
        text = rolled_back(log_sequence, max(size, state.tree.size))
        incidents.record(LOG_ROLLED_BACK, "log.duckdb", text)
    if size < state.head:
        text = f"it ends with the head of {size}, but it had one of {state.head}"
        incidents.record(HEADS_ROLLED_BACK, HEADS_FILE, text)
    if state.generation == number and 0 < checkpoint < state.checkpoint:
        text = f"it ended at {checkpoint}, but was folded up to {state.checkpoint} before"
        incidents.record(GENERATION_ROLLED_BACK, f"generations/{number:06d}.duckdb", text)
    if state.tree.size > log_sequence or not _is_head_of(state.tree, directory, head):
        # It is no longer sure of which leaves it was made: they are read again.
        return TreeState(published=state.published), head
    return state, head


def _is_head_of(tree: Tree, directory: Path, last: Head | None) -> bool:
    """Tell whether the file has a head of this very tree: it was made with one."""
    head = last
    if head is None or head.size != tree.size:
        head = find_head(directory, tree.size)
    return head is not None and head.root == tree.root()


def rolled_back(log_sequence: int, size: int) -> str:
    """Say that the log is shorter than it was."""
    return (
        f"it ended at {log_sequence} when the engine started, but had {size} messages before: "
        "it was rolled back or replaced"
    )
