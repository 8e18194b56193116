"""The Merkle tree against nodes hashed by hand: what another implementation must arrive at."""

from __future__ import annotations

from hashlib import sha256

import pytest

from memfold.audit import merkle

# The leaves that Certificate Transparency's implementations are tested with.
INPUTS = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
LEAVES = [sha256(b"\x00" + bytes.fromhex(text)).digest() for text in INPUTS]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A, B, C, D, E, F, G, H = LEAVES


def over(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


AB, CD, EF = over(A, B), over(C, D), over(E, F)
ABCD, EFG, EFGH = over(AB, CD), over(EF, G), over(EF, over(G, H))


@pytest.mark.parametrize("size", range(9))
def test_a_root_is_the_known_one_of_its_size(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size]


def test_a_root_is_what_its_nodes_hashed_by_hand_give() -> None:
    assert merkle.root(LEAVES[:7]) == over(ABCD, EFG)
    assert merkle.root(LEAVES) == over(ABCD, EFGH)


def test_roots_at_several_sizes_come_from_one_pass() -> None:
    found = merkle.roots(iter(LEAVES), {0, 3, 8, 9, 12})
    assert {size: root.hex() for size, root in found.items()} == {
        0: ROOTS[0],
        3: ROOTS[3],
        8: ROOTS[8],
    }


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (0, 7, [B, CD, EFG]),
        (3, 7, [C, AB, EFG]),
        (4, 7, [F, G, ABCD]),
        (6, 7, [EF, ABCD]),
        (5, 8, [E, over(G, H), ABCD]),
    ],
)
def test_an_inclusion_proof_names_the_siblings_from_the_leaf_up(
    index: int, size: int, proof: list[bytes]
) -> None:
    assert merkle.inclusion_proof(LEAVES, index, size) == proof
    root = merkle.root(LEAVES[:size])
    assert merkle.check_inclusion(index, size, LEAVES[index], proof, root)


@pytest.mark.parametrize(
    ("old_size", "size", "proof"),
    [
        (0, 7, []),
        (7, 7, []),
        (3, 7, [C, D, AB, EFG]),
        (4, 7, [EFG]),
        (6, 7, [EF, G, ABCD]),
        (6, 8, [EF, over(G, H), ABCD]),
    ],
)
def test_a_consistency_proof_is_that_of_the_standard(
    old_size: int, size: int, proof: list[bytes]
) -> None:
    assert merkle.consistency_proof(LEAVES, old_size, size) == proof
    old, new = merkle.root(LEAVES[:old_size]), merkle.root(LEAVES[:size])
    assert merkle.check_consistency(old_size, size, old, new, proof)


def test_a_tree_goes_on_from_its_peaks() -> None:
    tree = merkle.Tree()
    tree.extend(LEAVES[:5])
    assert tree.peaks == (ABCD, E)
    on = merkle.Tree(tree.size, tree.peaks)
    on.extend(LEAVES[5:7])
    assert (on.size, on.root().hex(), tree.root().hex()) == (7, ROOTS[7], ROOTS[5])


@pytest.mark.parametrize(("size", "peaks"), [(3, [A]), (-1, []), (0, [A]), (1, [b"short"])])
def test_peaks_that_no_tree_has_are_refused(size: int, peaks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="peak"):
        merkle.Tree(size, peaks)


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    for index, size in ((7, 7), (-1, 7), (0, 0)):
        with pytest.raises(ValueError, match="none at"):
            merkle.inclusion_proof(LEAVES, index, size)
        assert not merkle.check_inclusion(index, size, A, [], merkle.EMPTY_ROOT)
    with pytest.raises(ValueError, match="no earlier one"):
        merkle.consistency_proof(LEAVES, 8, 7)
    assert not merkle.check_consistency(8, 7, A, A, [])
    with pytest.raises(ValueError, match="there are 8 leaves, not 9"):
        merkle.inclusion_proof(LEAVES, 0, 9)
