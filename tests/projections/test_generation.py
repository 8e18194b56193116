"""A generation holds what the pure fold says, however the log came in pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from typing import Any

import duckdb
import orjson
import pytest

from memfold.errors import StorageError
from memfold.state import State, ThreadKey
from memfold.wire import Recorded
from memfold_projections import generation as generation_module
from memfold_projections.content import content_digests
from memfold_projections.generation import Generation
from memfold_projections.messages import Page, Selection, message_page
from memfold_projections.reader import Reader, reading
from memfold_projections.views import Activity, memory_json, message_json, thread_json
from support.log import NAMESPACE, envelope, stored
from support.naive import pure_fold, pure_fold_and_times
from support.scenario import make_log


def pieces(log: list[Recorded], seed: int, largest: int) -> Iterator[list[Recorded]]:
    chance = random.Random(seed)
    start = 0
    while start < len(log):
        size = chance.randint(1, largest)
        yield log[start : start + size]
        start += size


def fold_all(path: Path, log: list[Recorded], seed: int, largest: int) -> Generation:
    generation = Generation(path, NAMESPACE)
    for piece in pieces(log, seed, largest):
        generation.fold(piece)
    return generation


def shown(state: State, changed: dict[ThreadKey, int]) -> dict[str, Any]:
    """Return what readers of a state would see."""
    newest: dict[ThreadKey, int] = {}
    for (resource, thread, _), message in state.messages.items():
        key = (resource, thread)
        newest[key] = max(newest.get(key, message.created_at_us), message.created_at_us)
    messages: dict[tuple[str, str], list[bytes]] = {}
    for (resource, thread, _), message in sorted(
        state.messages.items(), key=lambda item: item[1].position
    ):
        messages.setdefault((resource, thread), []).append(message_json(thread, message))
    return {
        "memories": {key: memory_json(memory) for key, memory in state.memories.items()},
        "threads": {
            key: thread_json(
                *key,
                replace(thread, updated_at_us=changed.get(key, 0)),
                Activity(newest.get(key), 0),
            )
            for key, thread in state.threads.items()
        },
        "messages": messages,
    }


def read_back(generation: Generation, state: State) -> dict[str, Any]:
    """Return the same as :func:`shown`, read from the file."""
    with reading(generation) as reader:
        messages = {}
        for key in state.threads:
            page = all_messages(reader, *key)
            if page.messages:
                messages[key] = page.messages
        return {
            "memories": {key: memory_json(reader.memory(*key)) for key in state.memories},
            "threads": {key: reader.thread(*key).encoded for key in state.threads},
            "messages": messages,
        }


def all_messages(
    reader: Reader, resource: str, thread: str | None, as_of: int | None = None
) -> Page:
    at = reader.sequence if as_of is None else as_of
    meant = Selection(resource, None if thread is None else (thread,), at)
    return message_page(reader, meant, limit=1000, bytes_max=1 << 30)


@pytest.mark.parametrize("seed", range(4))
def test_the_file_holds_what_the_pure_fold_says(tmp_path: Path, seed: int) -> None:
    """Whatever the pieces, reading the file gives the state that folding in memory gives."""
    log = make_log(seed, 400)
    state, changed = pure_fold_and_times(log)
    generation = fold_all(tmp_path / "a.duckdb", log, seed, 60)
    assert read_back(generation, state) == shown(state, changed)
    generation.close()


@pytest.mark.parametrize("seed", [11, 12])
def test_any_pieces_give_the_same_content_byte_for_byte(tmp_path: Path, seed: int) -> None:
    """One by one, in odd pieces and all at once: every table has the same rows."""
    log = make_log(seed, 250)
    digests = []
    for number, largest in enumerate((1, 37, 1000)):
        generation = fold_all(tmp_path / f"{number}.duckdb", log, seed, largest)
        digests.append(content_digests(generation))
        generation.close()
    assert digests[0] == digests[1] == digests[2]


def test_forgetting_everything_between_batches_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entities that had to be loaded again fold to the same content as those kept in memory."""
    log = make_log(21, 250)
    kept = fold_all(tmp_path / "kept.duckdb", log, 1, 20)
    monkeypatch.setattr(generation_module, "ENTITIES_MAX", 0)
    loaded = fold_all(tmp_path / "loaded.duckdb", log, 1, 20)
    assert content_digests(kept) == content_digests(loaded)
    kept.close()
    loaded.close()


def test_reopening_between_batches_changes_nothing(tmp_path: Path) -> None:
    """A process that ends after each batch leaves the same content as one that never does."""
    log = make_log(31, 120)
    whole = fold_all(tmp_path / "whole.duckdb", log, 1, 500)
    for piece in pieces(log, 2, 25):
        generation = Generation(tmp_path / "restarted.duckdb", NAMESPACE)
        generation.fold(piece)
        generation.close()
    restarted = Generation(tmp_path / "restarted.duckdb", NAMESPACE)
    assert content_digests(restarted) == content_digests(whole)
    whole.close()
    restarted.close()


def test_messages_as_of_an_earlier_sequence_are_those_of_then(tmp_path: Path) -> None:
    """Reading as of any sequence gives what folding only so far gives."""
    log = make_log(41, 200)
    generation = fold_all(tmp_path / "a.duckdb", log, 3, 50)
    for upto in range(0, 201, 20):
        expected = shown(*pure_fold_and_times(log[:upto]))["messages"]
        with reading(generation) as reader:
            for key in pure_fold(log).threads:
                page = all_messages(reader, *key, as_of=upto)
                assert page.messages == expected.get(key, []), (upto, key)
    generation.close()


def test_pages_of_messages_fit_together_in_both_directions(tmp_path: Path) -> None:
    """Paging forwards and backwards neither skips nor repeats, whatever the page's size."""
    log = make_log(51, 300)
    generation = fold_all(tmp_path / "a.duckdb", log, 3, 100)
    with reading(generation) as reader:
        whole = all_messages(reader, "u1", None)
        meant = Selection("u1", None, reader.sequence)
        assert whole.next is None
        assert len(whole.messages) > 5
        for limit, bytes_max in ((1, 1 << 30), (3, 1 << 30), (1000, 700)):
            forwards: list[bytes] = []
            after = None
            while True:
                page = message_page(reader, meant, limit=limit, bytes_max=bytes_max, beyond=after)
                forwards += page.messages
                after = page.next
                if after is None:
                    break
            backwards: list[bytes] = []
            before = None
            while True:
                page = message_page(
                    reader, meant, limit=limit, bytes_max=bytes_max, newest=True, beyond=before
                )
                backwards = page.messages + backwards
                before = page.next
                if before is None:
                    break
            assert forwards == backwards == whole.messages
    generation.close()


def test_a_failed_fold_leaves_file_and_memory_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error in the middle of writing, the same batch folds as if nothing had been."""
    log = make_log(61, 100)
    whole = fold_all(tmp_path / "whole.duckdb", log, 1, 1000)
    generation = Generation(tmp_path / "failed.duckdb", NAMESPACE)
    generation.fold(log[:50])
    before = content_digests(generation)

    def fail(*_: object) -> None:
        message = "the disk is full"
        raise OSError(message)

    with monkeypatch.context() as patch:
        patch.setattr(generation_module, "move_checkpoint", fail)
        with pytest.raises(OSError, match="disk is full"):
            generation.fold(log[50:])
    assert content_digests(generation) == before
    generation.fold(log[50:])
    assert content_digests(generation) == content_digests(whole)
    generation.close()
    whole.close()


def test_a_second_writer_is_fenced_off(tmp_path: Path) -> None:
    """A fold from a checkpoint that has moved meanwhile is refused and changes nothing."""
    log = make_log(71, 20)
    generation = Generation(tmp_path / "a.duckdb", NAMESPACE)
    generation.fold(log[:10])
    before = content_digests(generation)
    generation.sequence = 5
    with pytest.raises(StorageError, match="another writer"):
        generation.fold(log[10:])
    assert content_digests(generation) == before
    generation.close()


def test_a_message_of_nothing_but_garbage_still_moves_the_checkpoint(tmp_path: Path) -> None:
    """What cannot be read is parked with its place, and the fold goes on."""
    generation = Generation(tmp_path / "a.duckdb", NAMESPACE)
    generation.fold([Recorded(1, 0, stored("messages", thread="t1"), b"\xff")])
    with reading(generation) as reader:
        assert reader.sequence == 1
        (row,) = reader.parked(None, after=(-1, 0), limit=10)
        assert row[:5] == (1, 0, "u1", "t1", "not_utf8")
        assert reader.outcomes([1]) == {(1, 0): ("parked", "not_utf8", row[5], None)}
    generation.close()


def test_another_namespace_is_refused(tmp_path: Path) -> None:
    """A file folded for one namespace is never continued for another."""
    Generation(tmp_path / "a.duckdb", NAMESPACE).close()
    with pytest.raises(StorageError, match="other rules"):
        Generation(tmp_path / "a.duckdb", "other")


def test_long_histories_get_keyframes(tmp_path: Path) -> None:
    """A document changed often has a stored state at most 256 changes behind any of its states."""
    log = [
        Recorded(
            n,
            n,
            stored("memory"),
            orjson.dumps(
                envelope(
                    "WorkingMemoryUpdated",
                    {"scope": "resource", "mode": "merge", "content": {f"k{n % 7}": n}},
                    id=f"e{n}",
                )
            ),
        )
        for n in range(1, 301)
    ]
    generation = fold_all(tmp_path / "a.duckdb", log, 5, 100)
    found = generation.cursor().execute("SELECT sequence FROM keyframe ORDER BY 1").fetchall()
    places = [row[0] for row in found]
    assert places[0] == 1
    assert all(later - earlier <= 64 for earlier, later in zip(places, [*places[1:], 301]))  # noqa: B905
    generation.close()


def test_a_commit_that_fails_for_want_of_space_loses_no_event(tmp_path: Path) -> None:
    """What was evolved but not committed is not known to the next try: it folds all of it."""
    log = make_log(6, 400)
    expected = fold_all(tmp_path / "expected.duckdb", log, 1, 100)
    generation = Generation(tmp_path / "full.duckdb", NAMESPACE)
    generation.fold(log[:200])
    written = (tmp_path / "full.duckdb.wal").stat().st_size
    _, hard = getrlimit(RLIMIT_FSIZE)
    # Python ignores the signal, so a write beyond the limit is an error like that of a full disk.
    setrlimit(RLIMIT_FSIZE, (written, hard))
    try:
        for _ in range(2):
            with pytest.raises(duckdb.Error):
                generation.fold(log[200:])
    finally:
        setrlimit(RLIMIT_FSIZE, (hard, hard))
    generation.fold(log[200:])
    assert content_digests(generation) == content_digests(expected)
    generation.close()
    expected.close()
