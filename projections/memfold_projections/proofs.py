"""Proofs of the Merkle tree over the log, for pages of messages: one pass, then a few leaves each.

The tree only grows, so the roots of its whole blocks are computed once and kept: 32 bytes for 256
messages. What is inside a block is read again when a proof needs it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from memfold.audit.merkle import consistency_ranges, inclusion_ranges, root
from memfold.errors import NotYetConsistent, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from memfold.audit.merkle import Range
    from memfold_projections.log import Log

BLOCK: Final = 256
EXTEND_MAX: Final = 1 << 19
"""Leaves that are hashed for one request: under a second; whoever asked asks again."""
FETCH_LEAVES: Final = 1 << 14

_LEAVES: Final = """
SELECT sequence, hash FROM leaf WHERE sequence > $after AND sequence <= $upto ORDER BY sequence
"""
_OF_BLOCKS: Final = f"""
SELECT sequence, hash FROM leaf
WHERE sequence > $after AND sequence <= $upto
  AND (sequence - 1) // {BLOCK} IN (SELECT unnest($blocks::BIGINT[]))
ORDER BY sequence
"""  # noqa: S608  # constants only


class Proofs:
    """Makes proofs from the leaves of ``log.duckdb``. Safe from any thread."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._roots: list[bytes] = []

    def prove(
        self, size: int, sequences: Sequence[int], older: Sequence[int] = ()
    ) -> tuple[bytes, list[list[bytes]], list[tuple[bytes, list[bytes]]]]:
        """Return the root of the tree of ``size`` leaves, and proofs in it.

        Of each sequence an inclusion proof; of each older size its root and a consistency proof.

        Raises:
            ValueError: the tree has no such leaf, or no such older tree.
            NotYetConsistent: the tree is not computed so far yet; asking again goes on with it.
            StorageError: leaves are missing.
        """
        whole = size // BLOCK
        with self._lock:
            self._extend(whole)
            # Only ever appended to, so what is there can be read without the lock.
            roots = self._roots
        paths = [inclusion_ranges(sequence - 1, size) for sequence in sequences]
        grown = [consistency_ranges(each, size) for each in older]
        top: list[Range] = [(0, size), *((0, each) for each in older)]
        wanted = {one for path in (*paths, *grown, top) for one in path}
        nodes = self._nodes(roots, wanted)
        return (
            nodes[0, size],
            [[nodes[one] for one in path] for path in paths],
            [
                (nodes[0, each], [nodes[one] for one in path])
                for each, path in zip(older, grown, strict=True)
            ],
        )

    def _extend(self, blocks: int) -> None:
        missing = blocks - len(self._roots)
        if missing <= 0:
            return
        now = min(missing, EXTEND_MAX // BLOCK)
        leaves: list[bytes] = []
        after = len(self._roots) * BLOCK
        upto = after + now * BLOCK
        for rows in self._log.pages(_LEAVES, {"after": after, "upto": upto}, FETCH_LEAVES):
            _check_whole([row[0] for row in rows], after + 1)
            after += len(rows)
            leaves += [row[1] for row in rows]
            for start in range(0, len(leaves) - BLOCK + 1, BLOCK):
                self._roots.append(root(leaves[start : start + BLOCK]))
            leaves = leaves[len(leaves) - len(leaves) % BLOCK :]
        if after != upto:
            message = f"log.duckdb has no leaf of message {after + 1}"
            raise StorageError(message)
        if now < missing:
            message = f"the tree is computed up to {upto}, ask again"
            raise NotYetConsistent(message)

    def _nodes(self, roots: list[bytes], wanted: set[Range]) -> dict[Range, bytes]:
        small = {one[0] // BLOCK for one in wanted if one[1] - one[0] < BLOCK}
        # A range that ends inside a block ends with the tree.
        small |= {one[1] // BLOCK for one in wanted if one[1] % BLOCK}
        leaves = self._leaves(sorted(small), max(one[1] for one in wanted))
        found: dict[Range, bytes] = {}
        for start, end in wanted:
            if start // BLOCK == (end - 1) // BLOCK and end - start < BLOCK:
                found[start, end] = root(leaves[place] for place in range(start, end))
                continue
            inside = range(end // BLOCK * BLOCK, end)
            rest = [root(leaves[place] for place in inside)] if inside else []
            found[start, end] = root([*roots[start // BLOCK : end // BLOCK], *rest])
        return found

    def _leaves(self, blocks: list[int], size: int) -> dict[int, bytes]:
        """Return the leaves of some blocks by their index."""
        if not blocks:
            return {}
        upto = min(size, (blocks[-1] + 1) * BLOCK)
        asked = {"after": blocks[0] * BLOCK, "upto": upto, "blocks": blocks}
        found: dict[int, bytes] = {}
        for rows in self._log.pages(_OF_BLOCKS, asked, FETCH_LEAVES):
            found.update((row[0] - 1, row[1]) for row in rows)
        expected = sum(min(upto, (block + 1) * BLOCK) - block * BLOCK for block in blocks)
        if len(found) != expected:
            message = "log.duckdb lacks leaves of messages"
            raise StorageError(message)
        return found


def _check_whole(sequences: list[int], first: int) -> None:
    if sequences != list(range(first, first + len(sequences))):
        message = f"log.duckdb lacks leaves behind message {first - 1}"
        raise StorageError(message)
