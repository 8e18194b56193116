"""The Merkle tree against the recursive definition of RFC 6962, at every size and place."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from memfold.audit import merkle

SIZES = st.integers(0, 140)


def leaves_of(size: int) -> list[bytes]:
    return [sha256(b"\x00%d" % number).digest() for number in range(size)]


def split(size: int) -> int:
    left = 1
    while left * 2 < size:
        left *= 2
    return left


def tree_hash(leaves: list[bytes]) -> bytes:
    """MTH of section 2.1, as it is written there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def audit_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*audit_path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*audit_path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def subproof(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [tree_hash(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole=whole), tree_hash(leaves[k:])]
    return [*subproof(m - k, leaves[k:], whole=False), tree_hash(leaves[:k])]


@st.composite
def placed(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(st.integers(1, 140))
    return draw(st.integers(0, size - 1)), size


@given(SIZES, SIZES)
def test_a_root_is_the_same_in_one_go_in_pieces_and_by_definition(first: int, second: int) -> None:
    leaves = leaves_of(first + second)
    tree = merkle.Tree()
    tree.extend(leaves[:first])
    half = tree.root()
    tree = merkle.Tree(tree.size, tree.peaks)
    for leaf in leaves[first:]:
        tree.append(leaf)
    assert half == tree_hash(leaves[:first])
    assert tree.root() == merkle.root(leaves) == tree_hash(leaves)
    assert merkle.roots(leaves, [first, first + second])[first] == half


@given(placed())
def test_an_inclusion_proof_is_that_of_the_definition_and_holds(place: tuple[int, int]) -> None:
    index, size = place
    leaves = leaves_of(size)
    proof = merkle.inclusion_proof(leaves, index, size)
    assert proof == audit_path(index, leaves)
    assert merkle.check_inclusion(index, size, leaves[index], proof, tree_hash(leaves))


@given(st.integers(1, 140), st.data())
def test_many_proofs_from_one_pass_are_those_from_many(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    indices = data.draw(st.sets(st.integers(0, size - 1)))
    found = merkle.inclusion_proofs(iter(leaves), indices, size)
    assert found == {index: audit_path(index, leaves) for index in indices}


@given(placed())
def test_a_consistency_proof_is_that_of_the_definition_and_holds(place: tuple[int, int]) -> None:
    old_size, size = place[0] + 1, place[1]
    leaves = leaves_of(size)
    proof = merkle.consistency_proof(leaves, old_size, size)
    assert proof == subproof(old_size, leaves, whole=True)
    old, new = tree_hash(leaves[:old_size]), tree_hash(leaves)
    assert merkle.check_consistency(old_size, size, old, new, proof)


@given(placed(), st.data())
def test_no_changed_inclusion_proof_holds(place: tuple[int, int], data: st.DataObject) -> None:
    index, size = place
    leaves = leaves_of(size)
    root, proof = tree_hash(leaves), audit_path(index, leaves)
    parts = [leaves[index], root, *proof]
    at = data.draw(st.integers(0, len(parts) - 1))
    byte, bit = data.draw(st.integers(0, 31)), data.draw(st.integers(0, 7))
    changed = bytearray(parts[at])
    changed[byte] ^= 1 << bit
    parts[at] = bytes(changed)
    assert not merkle.check_inclusion(index, size, parts[0], parts[2:], parts[1])
    other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index) | st.just(size))
    assert not merkle.check_inclusion(other, size, leaves[index], proof, root)
    assert not merkle.check_inclusion(index, size, leaves[index], [*proof, root], root)
    if proof:
        assert not merkle.check_inclusion(index, size, leaves[index], proof[:-1], root)
        assert not merkle.check_inclusion(index, size, leaves[index], proof[1:], root)


@given(placed(), st.data())
def test_no_proof_joins_a_tree_to_another_history(
    place: tuple[int, int], data: st.DataObject
) -> None:
    old_size, size = place[0] + 1, place[1]
    leaves = leaves_of(size)
    other = list(leaves)
    at = data.draw(st.integers(0, old_size - 1))
    other[at] = sha256(b"other").digest()
    old, new, proof = tree_hash(leaves[:old_size]), tree_hash(leaves), merkle.consistency_proof
    honest, forged = proof(leaves, old_size, size), proof(other, old_size, size)
    assert not merkle.check_consistency(old_size, size, old, tree_hash(other), forged)
    assert not merkle.check_consistency(old_size, size, old, tree_hash(other), honest)
    assert not merkle.check_consistency(old_size, size, tree_hash(other[:old_size]), new, honest)
    assert not merkle.check_consistency(old_size, size, old, new, [*honest, new])
    if honest:
        assert not merkle.check_consistency(old_size, size, old, new, honest[:-1])
        assert not merkle.check_consistency(old_size, size, old, new, honest[1:])
