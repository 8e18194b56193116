"""The Merkle tree over the log (RFC 6962): roots, proofs, and how they are checked. Pure.

Leaves come as the 32 bytes that ``memfold.leaf`` makes of a message, already hashed with the prefix
0x00. Whatever reads many leaves reads them once and keeps a few nodes, never the tree.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

HASH_BYTES: Final = 32

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

_NODE: Final = b"\x01"
_sha256 = hashlib.sha256

Range = tuple[int, int]
"""The node over the leaves [start, end), named so."""


class Tree:
    """A tree that leaves are appended to: its size, and the roots of its perfect subtrees."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Begin an empty tree, or go on with one of so many leaves.

        Raises:
            ValueError: there are not as many peaks as a tree of that size has, or one is no hash.
        """
        if size < 0 or len(peaks) != size.bit_count():
            message = f"a tree of {size} leaves does not have {len(peaks)} peaks"
            raise ValueError(message)
        if any(len(peak) != HASH_BYTES for peak in peaks):
            message = f"a peak has {HASH_BYTES} bytes"
            raise ValueError(message)
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, the largest first: what ``Tree`` goes on from."""
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> None:
        """Add a leaf."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves: about one hash each."""
        peaks, size = self._peaks, self.size
        for leaf in leaves:
            node, ending = leaf, size
            while ending & 1:
                node = _sha256(_NODE + peaks.pop() + node).digest()
                ending >>= 1
            peaks.append(node)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """Return the root."""
        return _joined(self._peaks)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256 of 0x01 || left || right."""
    return _sha256(_NODE + left + right).digest()


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root of a tree of these leaves."""
    tree = Tree()
    tree.extend(leaves)
    return tree.root()


def roots(leaves: Iterable[bytes], sizes: Collection[int]) -> dict[int, bytes]:
    """Return the root at each of several sizes, in one pass over the leaves.

    Sizes beyond the leaves are left out.
    """
    found: dict[int, bytes] = {}
    tree, rest = Tree(), iter(leaves)
    for size in sorted(set(sizes)):
        tree.extend(islice(rest, size - tree.size))
        if tree.size != size:
            break
        found[size] = tree.root()
    return found


def inclusion_proof(leaves: Iterable[bytes], index: int, size: int) -> list[bytes]:
    """Return what proves that the leaf at ``index`` (from 0) is in the tree of ``size`` leaves.

    Raises:
        ValueError: the tree has no such leaf, or there are fewer leaves than ``size``.
    """
    return inclusion_proofs(leaves, (index,), size)[index]


def inclusion_proofs(
    leaves: Iterable[bytes], indices: Iterable[int], size: int
) -> dict[int, list[bytes]]:
    """Return the inclusion proofs of several leaves of one tree, in one pass over its leaves.

    Memory grows with the number of proofs, not with the tree.

    Raises:
        ValueError: the tree has no such leaf, or there are fewer leaves than ``size``.
    """
    ranges = {index: inclusion_ranges(index, size) for index in indices}
    nodes = _nodes(leaves, {one for path in ranges.values() for one in path}, size)
    return {index: [nodes[one] for one in path] for index, path in ranges.items()}


def consistency_proof(leaves: Iterable[bytes], old_size: int, size: int) -> list[bytes]:
    """Return what proves that the tree of ``size`` leaves begins with the one of ``old_size``.

    Raises:
        ValueError: ``old_size`` is larger than ``size``, or there are fewer leaves than ``size``.
    """
    ranges = consistency_ranges(old_size, size)
    nodes = _nodes(leaves, set(ranges), size)
    return [nodes[one] for one in ranges]


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Name the nodes of an inclusion proof, from the leaf up (RFC 6962, 2.1.1).

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        message = f"a tree of {size} leaves has none at {index}"
        raise ValueError(message)
    found: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _left(end - start)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return found[::-1]


def consistency_ranges(old_size: int, size: int) -> list[Range]:
    """Name the nodes of a consistency proof, in its order (RFC 6962, 2.1.2).

    Raises:
        ValueError: ``old_size`` is negative or larger than ``size``.
    """
    if not 0 <= old_size <= size:
        message = f"a tree of {size} leaves has no earlier one of {old_size}"
        raise ValueError(message)
    if old_size in (0, size):
        return []
    found: list[Range] = []
    start, end = 0, size
    while old_size != end:
        middle = start + _left(end - start)
        if old_size <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    if start:
        # The checker has the old root, so this one is needed only where it is not that.
        found.append((start, end))
    return found[::-1]


def check_inclusion(
    index: int, size: int, leaf: bytes, proof: Sequence[bytes], root_: bytes
) -> bool:
    """Say whether a proof shows the leaf at ``index`` in the tree of that size and root."""
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    # Both walk up: where the leaf is, and where the last leaf is.
    place, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0 or len(sibling) != HASH_BYTES:
            return False
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            while not place & 1 and place:
                # The right edge has no sibling on these levels.
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root_


def check_consistency(
    old_size: int, size: int, old_root: bytes, root_: bytes, proof: Sequence[bytes]
) -> bool:
    """Say whether a proof shows that the tree of ``size`` begins with the one of ``old_size``.

    An empty tree is the beginning of any, and a tree of itself: by an empty proof.
    """
    if not 0 <= old_size <= size or any(len(node) != HASH_BYTES for node in proof):
        return False
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    if old_size == size:
        return not proof and old_root == root_
    path = list(proof)
    if old_size.bit_count() == 1:
        # A perfect tree is a node of the new one itself.
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    older = newer = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            older, newer = node_hash(node, older), node_hash(node, newer)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            newer = node_hash(newer, node)
        place, last = place >> 1, last >> 1
    return last == 0 and older == old_root and newer == root_


def _left(size: int) -> int:
    """Return the size of a tree's left subtree: the largest power of two below its own size."""
    return 1 << ((size - 1).bit_length() - 1)


def _joined(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for peak in reversed(peaks[:-1]):
        node = _sha256(_NODE + peak + node).digest()
    return node


def _nodes(leaves: Iterable[bytes], wanted: set[Range], size: int) -> dict[Range, bytes]:
    """Return the wanted nodes of the tree of the first ``size`` leaves, in one pass."""
    found: dict[Range, bytes] = {}
    peaks: list[bytes] = []
    starts: list[int] = []
    end = 0
    for leaf in islice(leaves, size):
        start, end, node = end, end + 1, leaf
        if (start, end) in wanted:
            found[start, end] = node
        ending = start
        while ending & 1:
            start, node = starts.pop(), _sha256(_NODE + peaks.pop() + node).digest()
            if (start, end) in wanted:
                found[start, end] = node
            ending >>= 1
        starts.append(start)
        peaks.append(node)
    if end != size:
        message = f"there are {end} leaves, not {size}"
        raise ValueError(message)
    for start, stop in wanted.difference(found):
        # Not perfect, so it ends where the tree ends: the peaks from its start on.
        found[start, stop] = _joined(peaks[starts.index(start) :])
    return found
