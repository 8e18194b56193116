"""Conversations that fork: an edited question or a second answer begins another branch."""

from __future__ import annotations

from collections.abc import Mapping

from memfold_consumers.formats.conversations import Misfit


def branch(parents: Mapping[str, str | None], leaf: str) -> list[str]:
    """Return the nodes from the root to ``leaf``; ``parents`` has the parent of each node.

    Raises:
        Misfit: the leaf is no node, or the way up never ends.
    """
    path: list[str] = []
    found = set[str]()
    node: str | None = leaf
    if leaf not in parents:
        message = f"{leaf!r}, where it ends, is none of its nodes"
        raise Misfit(message)
    while node is not None and node in parents:
        if node in found:
            message = f"the node {node!r} is its own ancestor"
            raise Misfit(message)
        found.add(node)
        path.append(node)
        node = parents[node]
    return path[::-1]
