"""A generation folded beside the live one: the same content, adopted or removed, never half."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memfold.errors import NotFound
from memfold_projections import log as log_module
from memfold_projections.content import content_digests
from memfold_projections.store import Store
from support.log import NAMESPACE
from support.scenario import make_log


def files(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "generations").glob("*.duckdb"))


def test_a_generation_is_folded_beside_and_takes_the_live_ones_place(tmp_path: Path) -> None:
    """The live one folds on meanwhile, in another thread; both come to the same content."""
    log = make_log(31, 400)
    store = Store(tmp_path, NAMESPACE)
    store.fold(log[:200])
    told: list[tuple[int, int]] = []
    with store.beside() as beside, ThreadPoolExecutor(1) as other:
        folding = other.submit(beside.fold_log, progress=lambda *at: told.append(at))
        for start in range(200, 400, 20):
            store.fold(log[start : start + 20])
        folding.result()
        assert beside.sequence >= 200
        assert told[-1][0] == beside.sequence
        store.adopt(beside)
        assert beside.messages == 400
    assert (store.number, store.kept, store.sequence, store.recent.sequence) == (2, 1, 400, 400)
    digests = content_digests(store.generation)
    store.close()
    again = Store(tmp_path, NAMESPACE)
    assert (again.number, again.kept) == (2, 1)
    assert content_digests(again.generation) == digests
    again.close()
    whole = Store(tmp_path / "whole", NAMESPACE)
    whole.fold(log)
    assert content_digests(whole.generation) == digests
    whole.close()


def test_what_was_not_adopted_is_removed(tmp_path: Path) -> None:
    """At the end of the block, and after a crash when the directory is opened again."""
    store = Store(tmp_path, NAMESPACE)
    store.fold(make_log(32, 100))
    with store.beside() as beside:
        assert files(tmp_path) == ["000001.duckdb", "000002.duckdb"]
        beside.fold_log(50)
        assert beside.sequence == 50
    assert files(tmp_path) == ["000001.duckdb"]
    digests = content_digests(store.generation)
    store.close()
    (tmp_path / "generations" / "000007.duckdb").write_bytes(b"half")
    (tmp_path / "generations" / "000007.duckdb.wal").write_bytes(b"half")
    again = Store(tmp_path, NAMESPACE)
    assert files(tmp_path) == ["000001.duckdb"]
    assert again.number == 1
    assert content_digests(again.generation) == digests
    again.close()


def test_a_fold_beside_ends_when_its_progress_says_so(tmp_path: Path) -> None:
    """What the progress raises comes out of the fold, after a whole piece."""
    store = Store(tmp_path, NAMESPACE)
    store.fold(make_log(33, 100))

    def stop(*_: int) -> None:
        raise InterruptedError

    with store.beside() as beside, pytest.raises(InterruptedError):
        beside.fold_log(progress=stop)
    store.close()


def test_only_one_generation_is_kept_to_go_back_to(tmp_path: Path) -> None:
    """Going back catches up from the log; the two then change places."""
    log = make_log(34, 150)
    store = Store(tmp_path, NAMESPACE)
    store.fold(log[:50])
    with pytest.raises(NotFound), store.beside(kept=True):
        pass
    for _ in range(2):
        with store.beside() as beside:
            store.adopt(beside)
    assert (store.number, store.kept) == (3, 2)
    assert files(tmp_path) == ["000002.duckdb", "000003.duckdb"]
    store.fold(log[50:])
    digests = content_digests(store.generation)
    with store.beside(kept=True) as beside:
        assert beside.sequence == 50
        store.adopt(beside)
    assert (store.number, store.kept, store.sequence) == (2, 3, 150)
    assert content_digests(store.generation) == digests
    store.forget_kept()
    assert (store.kept, files(tmp_path)) == (None, ["000002.duckdb"])
    store.close()


def test_a_reader_finishes_at_the_generation_it_began_with(tmp_path: Path) -> None:
    """Even if that is replaced and removed meanwhile."""
    store = Store(tmp_path, NAMESPACE)
    store.fold(make_log(35, 100))
    old = store.generation
    with store.beside() as beside:
        store.adopt(beside, keep=False)
    assert files(tmp_path) == ["000002.duckdb"]
    assert content_digests(old) == content_digests(store.generation)
    store.close()


def test_the_log_is_read_from_any_thread_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are bounded in messages and bytes, and nothing is left out or read twice."""
    monkeypatch.setattr(log_module, "READ_MESSAGES", 7)
    monkeypatch.setattr(log_module, "READ_BYTES_MAX", 2000)
    log = make_log(36, 300)
    store = Store(tmp_path, NAMESPACE)
    store.fold(log[:100])
    begun = threading.Event()

    def read() -> list[int]:
        found = []
        for chunk in store.log.read(10):
            begun.set()
            assert len(chunk) <= 7
            assert len(chunk) == 1 or sum(len(each.payload) for each in chunk) <= 2000
            found += [each.sequence for each in chunk]
        return found

    with ThreadPoolExecutor(1) as other:
        reading = other.submit(read)
        assert begun.wait(30)
        for start in range(100, 300, 50):
            store.fold(log[start : start + 50])
        found = reading.result()
    assert found == list(range(11, found[-1] + 1))
    assert found[-1] >= 100
    upto = [each for chunk in store.log.read(10, 25) for each in chunk]
    assert upto == log[10:25]
    store.close()
