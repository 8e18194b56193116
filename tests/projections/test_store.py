"""Log and generation together: what a crash between their transactions leaves, and sets right."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import duckdb
import pytest

from memfold.errors import StorageError
from memfold.leaf import leaf_hash
from memfold_projections.content import content_digests
from memfold_projections.generation import Generation
from memfold_projections.messages import Selection, message_page
from memfold_projections.parked import with_parked
from memfold_projections.reader import reading
from memfold_projections.store import Store
from memfold_projections.views import memory_json
from support.log import NAMESPACE
from support.scenario import make_log

FIRST_BLOCK_BYTES: Final = 12_288
BLOCK_BYTES: Final = 262_144
"""How DuckDB divides a file."""


def open_store(path: Path) -> Store:
    return Store(path, NAMESPACE)


def test_a_crash_between_log_and_generation_is_made_good_on_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has a batch that the generation lacks: opening folds it, once."""
    log = make_log(1, 100)
    expected = open_store(tmp_path / "expected")
    expected.fold(log)
    store = open_store(tmp_path / "crashed")
    store.fold(log[:60])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Generation, "fold", die)
        with pytest.raises(KeyboardInterrupt):
            store.fold(log[60:])
    store.close()
    again = open_store(tmp_path / "crashed")
    assert again.sequence == 100
    assert content_digests(again.generation) == content_digests(expected.generation)
    again.close()
    expected.close()


def test_a_lost_generation_is_folded_anew_from_the_log(tmp_path: Path) -> None:
    """Projections are disposable: without its file the same content comes back."""
    store = open_store(tmp_path)
    store.fold(make_log(2, 150))
    digests = content_digests(store.generation)
    store.close()
    store.generation.path.unlink()
    again = open_store(tmp_path)
    assert content_digests(again.generation) == digests
    again.close()


def test_a_damaged_generation_is_set_aside_and_folded_anew(tmp_path: Path) -> None:
    """A file that cannot be opened stays for inspection; the next number takes its place."""
    store = open_store(tmp_path)
    store.fold(make_log(3, 80))
    digests = content_digests(store.generation)
    store.close()
    damaged = store.generation.path
    damaged.write_bytes(b"no database" * 1000)
    again = open_store(tmp_path)
    assert again.number == store.number + 1
    assert damaged.exists()
    assert content_digests(again.generation) == digests
    again.close()
    third = open_store(tmp_path)
    assert third.number == again.number
    third.close()


def test_a_generation_ahead_of_the_log_is_not_believed(tmp_path: Path) -> None:
    """A log restored from an older copy wins over what was folded beyond it."""
    log = make_log(4, 60)
    store = open_store(tmp_path / "a")
    store.fold(log[:30])
    store.close()
    old = (tmp_path / "a" / "log.duckdb").read_bytes()
    store = open_store(tmp_path / "a")
    store.fold(log[30:])
    store.close()
    (tmp_path / "a" / "log.duckdb").write_bytes(old)
    again = open_store(tmp_path / "a")
    assert again.sequence == 30
    assert again.number == 2
    again.close()


def test_a_damaged_log_stops_the_start(tmp_path: Path) -> None:
    """The log may be the only whole copy: it is never set aside by itself."""
    store = open_store(tmp_path)
    store.fold(make_log(5, 10))
    store.close()
    (tmp_path / "log.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"log\.duckdb"):
        open_store(tmp_path)


def test_each_message_has_its_leaf(tmp_path: Path) -> None:
    """The stored leaves are those of the recorded messages, newest first."""
    log = make_log(6, 12)
    store = open_store(tmp_path)
    store.fold(log[:5])
    store.fold(log[5:])
    assert store.log.tail(100) == [(m.sequence, leaf_hash(m)) for m in reversed(log)]
    store.close()


def test_the_log_reads_back_what_was_recorded(tmp_path: Path) -> None:
    """Every recorded field comes back, whatever the bytes."""
    log = make_log(7, 300)
    store = open_store(tmp_path)
    store.fold(log)
    assert [message for chunk in store.log.read(0) for message in chunk] == log
    assert [message for chunk in store.log.read(290) for message in chunk] == log[290:]
    store.close()


def test_whoever_reads_leaves_waits_while_the_log_is_replaced(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as store, ThreadPoolExecutor(2) as threads:
        store.fold(make_log(1, 10))
        log = store.log
        with log._readers.away(1):
            log._connection.close()
            leaves, tail = threads.submit(log.leaves, 0, 10), threads.submit(log.tail, 10)
            # Long enough for one that does not wait to meet the closed file.
            wait({leaves}, timeout=0.1)
            wait({tail}, timeout=0.1)
            log._open()
        assert list(leaves.result()) == list(range(1, 11))
        assert dict(tail.result()) == leaves.result()


@pytest.mark.parametrize("seed", range(3))
def test_recent_state_equals_the_file_after_every_batch(tmp_path: Path, seed: int) -> None:
    """What is served from memory is what the file would have said."""
    store = open_store(tmp_path)
    log = make_log(80 + seed, 200)
    hits = 0
    for start in range(0, len(log), 7):
        store.fold(log[start : start + 7])
        for resource in ("u1", "u 2"):
            for thread in ("t1", "t2"):
                hits += compare(store, resource, thread)
    assert hits > 50
    store.close()


def compare(store: Store, resource: str, thread: str) -> int:
    """Compare one snapshot of memory and file; fill the memory if it misses. Return the hits."""
    with reading(store.generation) as reader:
        resource_memory = memory_json(reader.memory(resource, None))
        thread_memory = memory_json(reader.memory(resource, thread))
        state = reader.thread(resource, thread)
        meant = Selection(resource, (thread,), reader.sequence)
        page = message_page(reader, meant, limit=5, bytes_max=1 << 30, newest=True)
        parked = reader.parked_counts()
        hit = store.recent.snapshot(resource, thread, 5)
        if hit is None:
            store.recent.remember(
                reader.sequence,
                {(resource, None): resource_memory, (resource, thread): thread_memory},
                {(resource, thread): state},
                {(resource, thread): reader.tail(resource, thread)},
            )
            return 0
    assert hit.sequence == store.sequence
    assert hit.resource_memory == resource_memory
    assert hit.thread_memory == thread_memory
    assert hit.thread == with_parked(state.encoded, parked.of_thread(resource, thread))
    assert hit.parked == parked.seen_from(resource, thread)
    assert hit.messages == page.messages
    return 1


@pytest.mark.parametrize("kept", [0.2, 0.5])
def test_a_generation_cut_short_is_set_aside_and_folded_anew(tmp_path: Path, kept: float) -> None:
    """Damage that shows only when blocks are read does not keep an engine from starting."""
    store = open_store(tmp_path)
    store.fold(make_log(2, 600))
    digests = content_digests(store.generation)
    store.tidy()
    store.close()
    path = store.generation.path
    (path.parent / "1-kept.duckdb").touch()  # A stranger's file is no generation.
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * kept))
    again = open_store(tmp_path)
    assert again.number == 2
    assert content_digests(again.generation) == digests
    again.close()


def settled(store: Store) -> dict[str, str]:
    """Fold on, tidy and read everything, as an engine does that tries again after an error."""
    for _ in range(3):
        try:
            with store.generation.watched():
                store.catch_up()
                store.tidy()
                return content_digests(store.generation)
        except duckdb.Error:
            assert store.generation.damage is not None
    pytest.fail("the store does not come to rest")


def test_a_block_that_start_up_does_not_read_may_be_damaged(tmp_path: Path) -> None:
    """Wherever bytes are flipped and whenever that is met, the same content comes back."""
    log = make_log(9, 900)
    store = open_store(tmp_path / "whole")
    store.fold(log[:600])
    store.tidy()
    store.close()
    shutil.copytree(tmp_path / "whole", tmp_path / "expected")
    expected = open_store(tmp_path / "expected")
    expected.fold(log[600:])
    digests = content_digests(expected.generation)
    expected.close()
    size = store.generation.path.stat().st_size
    met_later = 0
    for number, place in enumerate(range(FIRST_BLOCK_BYTES + 1000, size, BLOCK_BYTES)):
        copy = tmp_path / f"damaged-{number}"
        shutil.copytree(tmp_path / "whole", copy)
        flip(copy / "generations" / "000001.duckdb", place)
        damaged = open_store(copy)
        opened = damaged.number
        with suppress(duckdb.Error):
            damaged.fold(log[600:])
        assert settled(damaged) == digests
        assert damaged.sequence == 900
        met_later += damaged.number > opened
        again = damaged.number
        damaged.close()
        reopened = open_store(copy)
        assert (reopened.number, reopened.sequence) == (again, 900)
        reopened.close()
    assert met_later > 0


def test_what_duckdb_may_keep_in_memory_is_bounded(tmp_path: Path) -> None:
    """Else it would take most of the machine; whatever it spills stays in the directory."""
    store = Store(tmp_path, NAMESPACE, memory_mib=512)
    store.fold(make_log(3, 50))
    statement = "SELECT current_setting('memory_limit'), current_setting('temp_directory')"
    found = [*store.log.pages(statement, [], 1)]
    with closing(store.generation.cursor()) as cursor:
        found.append(cursor.execute(statement).fetchall())
    for ((limit, spilled),) in found:
        assert limit == "256.0 MiB"
        assert tmp_path in (tmp_path / spilled).parents
    store.close()


def test_a_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes is tried again with the same file."""
    log = make_log(9, 60)
    store = open_store(tmp_path)
    store.fold(log[:30])
    errors: list[duckdb.Error] = [
        duckdb.IOException('Could not write file "x": No space left on device'),
        duckdb.OutOfMemoryException("failed to allocate data"),
    ]
    for error in errors:
        with monkeypatch.context() as patch:
            patch.setattr(Generation, "_fold", raising(error))
            with pytest.raises(type(error)):
                store.generation.fold(log[30:])
    store.catch_up()
    assert (store.number, store.generation.damage) == (1, None)
    store.close()


def raising(error: Exception) -> Callable[..., None]:
    def work(*_: object) -> None:
        raise error

    return work


def flip(path: Path, place: int) -> None:
    """Flip the bits of some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        flipped = bytes(byte ^ 0xFF for byte in file.read(64))
        file.seek(place)
        file.write(flipped)
