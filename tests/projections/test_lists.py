"""Lists of threads, resources and messages against a slow account of the same log."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from memfold.canonical import same
from memfold.provenance import Position
from memfold.state import Message
from memfold.wire import Recorded
from memfold_projections.generation import Generation
from memfold_projections.lists import (
    RESOURCES,
    THREADS,
    Filter,
    Kind,
    Part,
    Place,
    Sorting,
    count_entries,
    list_page,
)
from memfold_projections.messages import (
    Selection,
    count_messages,
    message_page,
    message_windows,
)
from memfold_projections.metadata import Wanted
from memfold_projections.reader import Reader, reading
from support.log import NAMESPACE, envelope, stored
from support.naive import pure_fold, pure_fold_and_times
from support.scenario import make_log

UNBOUNDED = 1 << 40
METADATA: list[dict[str, Any]] = [{}, {}, {"a": 1}, {"b": None}, {"a": "x"}, {"a": "x", "b": 1}]


def folded(path: Path, seed: int, messages: int) -> tuple[Generation, list[Any]]:
    log = make_log(seed, messages)
    generation = Generation(path, NAMESPACE)
    for start in range(0, len(log), 40):
        generation.fold(log[start : start + 40])
    return generation, log


def fits(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(key in metadata and same(metadata[key], wanted[key]) for key in wanted)


def paged(
    reader: Reader, kind: Kind, meant: Filter, sorting: Sorting, limit: int
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: Place | None = None
    while True:
        page = list_page(reader, kind, meant, sorting, Part(limit, UNBOUNDED, after))
        found += [orjson.loads(entry) for entry in page.entries]
        after = page.next
        if after is None:
            return found
        assert len(page.entries) == limit


@pytest.mark.parametrize("seed", range(3))
def test_thread_lists_are_what_a_slow_account_sorts_and_filters(tmp_path: Path, seed: int) -> None:
    """B26, B30, B34, B36, B37, B40, B41, B42, B44: any filter, order, page and state."""
    generation, log = folded(tmp_path / "a.duckdb", 200 + seed, 300)
    chance = random.Random(seed)
    with reading(generation) as reader:
        for _ in range(60):
            as_of = chance.randrange(1, 301)
            state, changed = pure_fold_and_times(log[:as_of])
            by = chance.choice(["created_at", "updated_at", "last_message_at"])
            descending = chance.random() < 0.5
            resource = chance.choice([None, "u1", "u 2", "nobody"])
            archived = chance.choice([None, None, True, False])
            wanted = chance.choice(METADATA)
            newest: dict[tuple[str, str], int] = {}
            for (owner, thread, _), message in state.messages.items():
                known = newest.get((owner, thread), message.created_at_us)
                newest[owner, thread] = max(known, message.created_at_us)
            values = {
                "created_at": lambda key: state.threads[key].created_at_us,  # noqa: B023
                "updated_at": lambda key: changed[key],  # noqa: B023
                "last_message_at": lambda key: newest.get(key, -(1 << 62)),  # noqa: B023
            }
            expected = sorted(
                (
                    key
                    for key, thread in state.threads.items()
                    if thread.live
                    and resource in {None, key[0]}
                    and archived in {None, thread.archived_at_us is not None}
                    and fits(thread.metadata, wanted)
                ),
                key=lambda key: (values[by](key), state.threads[key].began),
                reverse=descending,
            )
            meant = Filter(as_of, resource, archived, Wanted(wanted))
            found = paged(reader, THREADS, meant, Sorting(by, descending), chance.randint(1, 4))
            assert [(each["resource"], each["id"]) for each in found] == expected
            assert count_entries(reader, THREADS, meant) == len(expected)
            skipped = list_page(
                reader, THREADS, meant, Sorting(by, descending), Part(2, UNBOUNDED, skip=2)
            )
            ids = [orjson.loads(entry)["id"] for entry in skipped.entries]
            assert ids == [key[1] for key in expected[2:4]]
    generation.close()


def test_resource_lists_are_what_a_slow_account_sorts_and_filters(tmp_path: Path) -> None:
    """Any filter, order, page size and state gives the same resources in one order."""
    generation, log = folded(tmp_path / "a.duckdb", 7, 200)
    with reading(generation) as reader:
        for as_of in range(10, 201, 10):
            state = pure_fold(log[:as_of])
            for by, descending in (("created_at", False), ("updated_at", True)):
                for wanted in ({}, {"a": 1}, {"b": {"deep": [1]}}):
                    expected = sorted(
                        (
                            name
                            for name, resource in state.resources.items()
                            if resource.live and fits(resource.metadata, wanted)
                        ),
                        key=lambda name: (
                            getattr(state.resources[name], f"{by}_us"),
                            state.resources[name].began,
                        ),
                        reverse=descending,
                    )
                    meant = Filter(as_of, metadata=Wanted(wanted))
                    found = paged(reader, RESOURCES, meant, Sorting(by, descending), 2)
                    assert [each["id"] for each in found] == expected
    generation.close()


@pytest.mark.parametrize("seed", range(3))
def test_message_lists_are_what_a_slow_account_filters(tmp_path: Path, seed: int) -> None:
    """B76, B78, B80, B105, B106, B108: filters, dates, several threads, pages, at any state."""
    generation, log = folded(tmp_path / "a.duckdb", 300 + seed, 300)
    chance = random.Random(seed)
    with reading(generation) as reader:
        for _ in range(60):
            as_of = chance.randrange(1, 301)
            state = pure_fold(log[:as_of])
            threads = chance.choice([None, ("t1",), ("t1", "t2"), ("none",)])
            wanted = chance.choice(METADATA)
            times = sorted(message.created_at_us for message in state.messages.values()) or [0]
            since = chance.choice([None, chance.choice(times)])
            until = chance.choice([None, chance.choice(times)])
            expected: list[tuple[str, Message]] = sorted(
                (
                    (key[1], message)
                    for key, message in state.messages.items()
                    if key[0] == "u1"
                    and (threads is None or key[1] in threads)
                    and (since is None or message.created_at_us >= since)
                    and (until is None or message.created_at_us <= until)
                    and fits(message.metadata, wanted)
                ),
                key=lambda each: each[1].position,
            )
            meant = Selection("u1", threads, as_of, since, until, Wanted(wanted))
            limit = chance.randint(1, 6)
            forwards: list[bytes] = []
            number = 0
            while len(page := message_page_numbered(reader, meant, limit, number)) > 0:
                forwards += page
                number += 1
            ids = [(raw["thread"], raw["id"]) for raw in map(orjson.loads, forwards)]
            assert ids == [(thread, message.id) for thread, message in expected]
            assert count_messages(reader, meant) == len(expected)
    generation.close()


def message_page_numbered(reader: Reader, meant: Selection, limit: int, number: int) -> list[bytes]:
    page = message_page(reader, meant, limit=limit, bytes_max=UNBOUNDED, skip=number * limit)
    return page.messages


def test_a_window_is_of_the_messages_own_thread(tmp_path: Path) -> None:
    """B89, B102, B104: neighbours before and after come from the thread that has the message."""
    generation, log = folded(tmp_path / "a.duckdb", 9, 300)
    compared = 0
    with reading(generation) as reader:
        for as_of in range(20, 301, 20):
            messages = pure_fold(log[:as_of]).messages
            ordered = sorted(messages.items(), key=lambda item: item[1].position)
            for thread in ("t1", "t2"):
                order = [message.id for key, message in ordered if key[:2] == ("u1", thread)]
                meant = Selection("u1", (thread,), as_of)
                for place, name in enumerate(order):
                    found = message_windows(reader, meant, name, 2, 1, bytes_max=UNBOUNDED)
                    assert (found.older, found.newer, found.next) == (0, 0, None)
                    ids = [orjson.loads(each)["id"] for each in found.messages]
                    assert ids == order[max(0, place - 2) : place + 2]
                    compared += len(order) > 3
        nobody = Selection("nobody", None, reader.sequence)
        unknown = message_windows(reader, nobody, "m1", 2, 2, bytes_max=UNBOUNDED)
        assert (unknown.messages, unknown.next) == ([], None)
    assert compared > 20
    generation.close()


@pytest.mark.parametrize("bytes_max", [1, 400, 800, 4000])
def test_a_window_that_does_not_fit_says_what_is_missing(tmp_path: Path, bytes_max: int) -> None:
    """The message itself is always there, its nearest neighbours first, no thread is skipped."""
    generation, log = folded(tmp_path / "a.duckdb", 9, 300)
    messages = pure_fold(log).messages
    ordered = sorted(messages.items(), key=lambda item: item[1].position)
    partial = 0
    with reading(generation) as reader:
        meant = Selection("u1", None, reader.sequence)
        for name in {key[2] for key in messages if key[0] == "u1"}:
            expected: list[tuple[str, str]] = []
            found: list[tuple[str, str]] = []
            behind: Position | None = None
            for thread in [key[1] for key, _ in ordered if key[0] == "u1" and key[2] == name]:
                order = [message.id for key, message in ordered if key[:2] == ("u1", thread)]
                place = order.index(name)
                expected += [(thread, each) for each in order[max(0, place - 3) : place + 4]]
            while True:
                part = message_windows(
                    reader, meant, name, 3, 3, bytes_max=bytes_max, behind=behind
                )
                shown = [(raw["thread"], raw["id"]) for raw in map(orjson.loads, part.messages)]
                assert name in {each for _, each in shown}
                assert len(shown) == 1 or sum(map(len, part.messages)) <= bytes_max
                if part.older or part.newer:
                    partial += 1
                    start = expected.index(shown[0])
                    end = start + len(shown)
                    assert start - len(found) == part.older
                    shown = [
                        *expected[len(found) : start],
                        *shown,
                        *expected[end : end + part.newer],
                    ]
                found += shown
                behind = part.next
                if behind is None:
                    break
            assert found == expected
    assert (partial > 0) == (bytes_max < 1000)
    generation.close()


def test_a_page_reads_no_more_than_it_holds(tmp_path: Path, monkeypatch: Any) -> None:  # noqa: ANN401
    """However many large messages or threads there are, a page reads about its own bytes."""
    generation = Generation(tmp_path / "a.duckdb", NAMESPACE)
    large = "x" * 20_000
    events = [
        envelope(
            "MessageAppended",
            {"message": {"id": f"m{n}", "role": "user", "content": large}},
            id=f"e{n}",
        )
        for n in range(300)
    ]
    subject = stored("messages", resource="u1", thread="t")
    generation.fold(
        [Recorded(n, n, subject, orjson.dumps(each)) for n, each in enumerate(events, 1)]
    )
    named = [
        (f"t{n}", envelope("ThreadCreated", {"metadata": {"k": large}}, id=f"t{n}"))
        for n in range(300)
    ]
    generation.fold(
        [
            Recorded(n, n, stored("thread", resource="u1", thread=thread), orjson.dumps(each))
            for n, (thread, each) in enumerate(named, 301)
        ]
    )
    read = 0

    def counted(self: Reader, statement: str, parameters: dict[str, Any]) -> list[Any]:
        nonlocal read
        rows = list(original(self, statement, parameters))
        read += sum(len(value) for row in rows for value in row if isinstance(value, str))
        return rows

    original = Reader.rows
    monkeypatch.setattr(Reader, "rows", counted)
    with reading(generation) as reader:
        meant = Selection("u1", ("t",), reader.sequence)
        for newest in (False, True):
            page = message_page(reader, meant, limit=1_000_000, bytes_max=200_000, newest=newest)
            assert len(page.messages) == 9
            assert page.next is not None
        assert read < 2 * 450_000
        read = 0
        assert len(reader.tail("u1", "t").messages) == 51
        assert not reader.tail("u1", "t").complete
        assert read < 2 * 1_300_000
        read = 0
        window = message_windows(reader, meant, "m150", 1000, 1000, bytes_max=200_000)
        ids = [orjson.loads(each)["id"] for each in window.messages]
        assert ids == [f"m{n}" for n in range(146, 155)]
        assert (window.older, window.newer) == (146, 145)
        assert read < 450_000
        read = 0
        part = Part(1000, 200_000)
        threads = list_page(
            reader, THREADS, Filter(reader.sequence, "u1"), Sorting("created_at", True), part
        )
        assert len(threads.entries) == 9
        assert read < 150 * 20_000
    generation.close()


def test_metadata_is_compared_by_json_value(tmp_path: Path) -> None:
    """B42, B50, B108: 1, "1", true and 1.0 are four values; a nested entry is not an entry."""
    wanted = Wanted({"n": 1})
    assert wanted.needles == ['"n":1']
    assert wanted.fits_text('{"n":1}')
    for text in ('{"n":10}', '{"n":"1"}', '{"n":true}', '{"n":1.0}', '{"a":{"n":1}}', '{"a":"n"}'):
        assert not wanted.fits_text(text)
    assert Wanted({"n": None}).fits_text('{"n":null}')
    assert not Wanted({"n": None}).fits_text("{}")
