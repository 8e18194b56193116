"""Erasing from log and generation: what is left is what a new engine would fold."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from memfold_projections.content import content_digests
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
