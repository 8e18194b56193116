"""Erasing from log and generation: what is left is what a new engine would fold."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import duckdb
import pytest

from memfold.errors import StorageError
from memfold_projections.content import content_digests
from memfold_projections.log import Log, rewritten_path
from memfold_projections.rewriting import rewriting
from memfold_projections.store import Store
from support.erasing import Stream
from support.log import NAMESPACE
from support.scenario import IDS, RESOURCES, THREADS, make_log


def erase_pending(store: Store) -> dict[int, int]:
    """Do what an engine does; return how many events each erasure took."""
    with rewriting(store, store.erasures_pending()) as work:
        work.run(lambda _done, _of: None)
        work.finish()
        return work.events


def targets(chance: random.Random, stream: Stream, count: int) -> None:
    """Erase this and that."""
    for _ in range(count):
        resource, thread = chance.choice(RESOURCES), chance.choice(THREADS)
        match chance.choice(["resource", "thread", "message", "message", "event", "event"]):
            case "resource":
                stream.erase("resource", resource)
            case "thread":
                stream.erase("thread", resource, thread)
            case "message":
                stream.erase("message", resource, thread, message=chance.choice(IDS))
            case _:
                position = [chance.randrange(1, stream.last), chance.randrange(3)]
                stream.erase("event", resource, thread, position=position)


@pytest.mark.parametrize("seed", range(12))
def test_an_engine_that_erased_and_a_new_one_have_the_same_log_leaves_and_content(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    log = make_log(seed, 160)
    stream = Stream(log[:80])
    old = Store(tmp_path / "old", NAMESPACE)
    old.fold(log[:80])
    for half in range(2):
        before = stream.last
        targets(chance, stream, 4)
        # The old engine folds each record, while the messages are still in its log.
        old.fold([stream.recorded[n] for n in range(before + 1, stream.last + 1)])
        erase_pending(old)
        assert old.erasures_pending() == []
        if half == 0:
            rest = [
                message.__class__(
                    stream.last + number, message.time_ns, message.subject, message.payload, "x"
                )
                for number, message in enumerate(log[80:], 1)
            ]
            more = Stream(rest)
            stream.messages |= more.messages
            stream.leaves |= more.leaves
            stream.last = more.last
            old.fold(rest)
    fresh = Store(tmp_path / "fresh", NAMESPACE)
    for message in stream.as_read_by_a_new_engine():
        fresh.fold([message])
    while fresh.erasures_pending():
        erase_pending(fresh)
    assert [m for page in old.log.read(0) for m in page] == [
        m for page in fresh.log.read(0) for m in page
    ]
    assert old.log.tail(1000) == fresh.log.tail(1000)
    digests = content_digests(old.generation)
    assert digests == content_digests(fresh.generation)
    old.close()
    fresh.close()
    again = Store(tmp_path / "old", NAMESPACE)
    assert content_digests(again.generation) == digests
    again.close()


class DiedError(Exception):
    """The process ends here."""


def erased_by_nobody_yet(directory: Path) -> tuple[Store, dict[str, str]]:
    """Return a store with an erasure pending, and what its content is to be after it."""
    log = make_log(3, 90)
    stream = Stream(log)
    stream.erase("resource", "u1")
    records = [stream.recorded[n] for n in range(91, stream.last + 1)]
    expected = Store(directory / "expected", NAMESPACE)
    expected.fold([*log, *records])
    erase_pending(expected)
    digests = content_digests(expected.generation)
    expected.close()
    store = Store(directory / "store", NAMESPACE)
    store.fold([*log, *records])
    return store, digests


def files_of(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if path.is_file()}


def test_a_crash_between_log_and_generation_leaves_no_generation_with_what_was_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log counts: a generation that was folded before is removed when the store is opened."""
    store, expected = erased_by_nobody_yet(tmp_path)

    def die(*_: object, **__: object) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_install", die)
        with pytest.raises(DiedError):
            erase_pending(store)
    before = store.generation.path
    store.close()
    again = Store(tmp_path / "store", NAMESPACE)
    assert not before.exists()
    assert again.erasures_pending() == []
    assert content_digests(again.generation) == expected
    again.close()


def test_a_rewriting_that_was_cut_short_changes_nothing_and_is_done_by_the_next(
    tmp_path: Path,
) -> None:
    store, expected = erased_by_nobody_yet(tmp_path)
    digests = content_digests(store.generation)

    def die(_done: int, _of: int) -> None:
        raise DiedError

    with (
        pytest.raises(DiedError),
        rewriting(store, store.erasures_pending()) as work,
    ):
        work.run(die)
    assert content_digests(store.generation) == digests
    pending = store.erasures_pending()
    assert len(pending) == 1
    store.close()
    # What a killed process leaves behind is no log.
    rewritten_path(store.log.path).write_bytes(b"unfinished")
    again = Store(tmp_path / "store", NAMESPACE)
    assert again.erasures_pending() == pending
    assert not rewritten_path(again.log.path).exists()
    erase_pending(again)
    assert content_digests(again.generation) == expected
    assert files_of(tmp_path / "store") == {
        "generation",
        "log.duckdb",
        again.generation.path.name,
    } | {name for name in files_of(tmp_path / "store") if name.endswith(".wal")}
    again.close()


def test_what_is_folded_while_the_log_is_written_anew_is_in_both(tmp_path: Path) -> None:
    log = make_log(3, 90)
    stream = Stream(log)
    stream.erase("resource", "u1")
    store = Store(tmp_path, NAMESPACE)
    store.fold([*log, *(stream.recorded[n] for n in range(91, stream.last + 1))])
    later = [
        message.__class__(stream.last + n, message.time_ns, message.subject, message.payload, "")
        for n, message in enumerate(make_log(4, 30), 1)
    ]
    with rewriting(store, store.erasures_pending()) as work:
        work.run(lambda _done, _of: None)
        store.fold(later)
        work.finish()
    assert store.sequence == store.log.sequence == later[-1].sequence
    assert [m for page in store.log.read(stream.last) for m in page] == later
    digests = content_digests(store.generation)
    with store.beside() as beside:
        beside.fold_log()
        assert content_digests(beside.generation) == digests
    store.close()


def test_a_log_that_is_being_read_is_replaced_when_its_readers_are_done(tmp_path: Path) -> None:
    store, expected = erased_by_nobody_yet(tmp_path)
    reading = store.log.read(0)
    next(reading)
    done = threading.Event()

    def erase() -> None:
        erase_pending(store)
        done.set()

    worker = threading.Thread(target=erase)
    worker.start()
    assert not done.wait(0.2)
    reading.close()  # type: ignore[attr-defined]
    worker.join()
    assert content_digests(store.generation) == expected
    store.close()


def test_a_log_of_the_first_format_is_taken_over_as_it_is(tmp_path: Path) -> None:
    """The log is kept for ever: its file gets what later formats added."""
    store = Store(tmp_path, NAMESPACE)
    store.fold(make_log(5, 40))
    leaves = store.log.tail(100)
    store.close()
    with duckdb.connect(str(tmp_path / "log.duckdb")) as file:
        file.execute("ALTER TABLE event DROP COLUMN redacted")
        file.execute("ALTER TABLE checkpoint DROP COLUMN rewrite")
        file.execute("DROP TABLE erased")
        file.execute("UPDATE checkpoint SET format = 1")
    for _ in range(2):
        again = Log(tmp_path / "log.duckdb", NAMESPACE)
        assert again.tail(100) == leaves
        assert [m for page in again.read(0) for m in page] == make_log(5, 40)
        assert again.erased() == []
        again.close()
    with duckdb.connect(str(tmp_path / "log.duckdb")) as file:
        file.execute("UPDATE checkpoint SET format = 99")
    with pytest.raises(StorageError, match="format 99"):
        Log(tmp_path / "log.duckdb", NAMESPACE)
