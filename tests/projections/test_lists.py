"""Lists of threads, resources and messages against a slow account of the same log."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from memfold.canonical import same
from memfold.state import Message
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
    message_window,
)
from memfold_projections.metadata import Wanted
from memfold_projections.reader import Reader, reading
from support.log import NAMESPACE
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
                    found = message_window(reader, meant, name, 2, 1, bytes_max=UNBOUNDED)
                    ids = [orjson.loads(each)["id"] for each in found]
                    assert ids == order[max(0, place - 2) : place + 2]
                    compared += len(order) > 3
        nobody = Selection("nobody", None, reader.sequence)
        assert message_window(reader, nobody, "m1", 2, 2, bytes_max=UNBOUNDED) == []
    assert compared > 20
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
