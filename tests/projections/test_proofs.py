"""Proofs from the log's leaves are those of the tree, whatever block they lie in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from memfold.audit.merkle import consistency_proof, inclusion_proof, root
from memfold.errors import NotYetConsistent, StorageError
from memfold.leaf import leaf_hash
from memfold.wire import Recorded
from memfold_projections import proofs
from memfold_projections.log import Log
from memfold_projections.proofs import BLOCK, Proofs
from support.log import NAMESPACE, stored

LOG = [Recorded(n, n, stored("memory"), b"%d" % n) for n in range(1, 4 * BLOCK + 38)]
LEAVES = [leaf_hash(message) for message in LOG]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path / "log.duckdb", NAMESPACE)
    opened.append(LOG)
    yield opened
    opened.close()


def test_they_are_those_of_the_tree_at_any_size(log: Log) -> None:
    made = Proofs(log)
    chance = random.Random(7)
    sizes = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7, len(LOG)]
    for size in [*sizes, *(chance.randrange(1, len(LOG)) for _ in range(8)), 5]:
        sequences = [1, size, *(chance.randrange(1, size + 1) for _ in range(9))]
        older = [1, size, *(chance.randrange(1, size + 1) for _ in range(5))]
        top, included, grown = made.prove(size, sequences, older)
        assert top == root(LEAVES[:size])
        assert included == [inclusion_proof(LEAVES, each - 1, size) for each in sequences]
        assert grown == [
            (root(LEAVES[:each]), consistency_proof(LEAVES, each, size)) for each in older
        ]


def test_a_long_log_is_gone_through_by_and_by(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "EXTEND_MAX", BLOCK)
    made = Proofs(log)
    tries = 0
    while True:
        try:
            top, _, _ = made.prove(len(LOG), [])
        except NotYetConsistent:
            tries += 1
        else:
            break
    assert (tries, top) == (3, root(LEAVES))


@pytest.mark.parametrize("missing", [17, 4 * BLOCK + 9])
def test_a_missing_leaf_is_told(log: Log, missing: int) -> None:
    with log._connection.cursor() as cursor:
        cursor.execute("DELETE FROM leaf WHERE sequence = ?", [missing])
    with pytest.raises(StorageError):
        Proofs(log).prove(len(LOG), [len(LOG)])
