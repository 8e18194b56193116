"""As of every sequence, readers find what an own fold of all messages up to there gives."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from memfold.audit.fields import fields
from memfold.audit.redo import Trace
from memfold.canonical import encode, encode_text
from memfold.fold import apply, evolve
from memfold.limits import KEYFRAME_STEPS_MIN
from memfold.provenance import leaves
from memfold.state import State, definition_in_force
from memfold.wire import Recorded, read_message
from memfold_projections import lists
from memfold_projections.documents import MEMORY
from memfold_projections.generation import Generation
from memfold_projections.lists import RESOURCES, THREADS, Filter, Part, Sorting
from memfold_projections.past import (
    LAST,
    definition_as_of,
    memory_as_of,
    memory_key,
    resource_as_of,
    sequence_at,
    thread_as_of,
    trace_as_of,
)
from memfold_projections.reader import Reader, reading
from memfold_projections.store import Store
from memfold_projections.tracing import find_subject, trace_at
from memfold_projections.views import definition_json, memory_json, resource_view
from support.log import NAMESPACE, envelope, stored
from support.naive import pure_fold, pure_fold_and_times, threads_shown
from support.scenario import make_log

PART = Part(limit=1000, bytes_max=1 << 30)
OLDEST = Sorting("created_at", descending=False)


def fold_in_pieces(path: Path, log: list[Recorded], seed: int) -> Generation:
    generation, chance, start = Generation(path, NAMESPACE), random.Random(seed), 0
    while start < len(log):
        size = chance.randint(1, 40)
        generation.fold(log[start : start + size])
        start += size
    return generation


def check(reader: Reader, state: State, threads: dict[Any, bytes], at: int, whole: State) -> None:
    """Hold all that can be read as of a sequence against the state there."""
    for key in whole.memories:
        expected = state.memories.get(key)
        found = memory_as_of(reader, *key, at)
        assert memory_json(found) == memory_json(expected), (key, at)
        assert found.revision == (0 if expected is None else expected.revision), (key, at)
        in_force = definition_in_force(state.memories, key)
        assert definition_as_of(reader, *key, at) == in_force, (key, at)
        assert definition_json(in_force, found) == definition_json(in_force, expected)
        number = memory_key(reader, *key)
        assert number is not None
        trace = trace_as_of(reader, number, (at, LAST))
        document = None if expected is None else expected.document
        assert trace.content == (None if document is None else document.content)
        assert document is None or trace.provenance == document.provenance, (key, at)
    for place in whole.threads:
        assert thread_as_of(reader, *place, at).encoded == threads.get(place, b"null"), (place, at)
    for name in whole.resources:
        resource = resource_as_of(reader, name, at)
        assert resource == state.resources.get(name), (name, at)
    live = {name: each for name, each in state.resources.items() if each.live}
    page = lists.list_page(reader, RESOURCES, Filter(at), OLDEST, PART)
    assert sorted(page.entries) == sorted(
        encode(resource_view(name, each)) for name, each in live.items()
    )
    page = lists.list_page(reader, THREADS, Filter(at), OLDEST, PART)
    assert sorted(page.entries) == sorted(shown for shown in threads.values() if shown != b"null")


@pytest.mark.parametrize("seed", range(3))
def test_every_past_state_is_the_fold_of_what_came_before(tmp_path: Path, seed: int) -> None:
    """Memories with provenance and revision, definitions, threads, resources and their lists."""
    log = make_log(100 + seed, 64)
    generation = fold_in_pieces(tmp_path / "a.duckdb", log, seed)
    whole, _ = pure_fold_and_times(log)
    with reading(generation) as reader:
        for at in range(len(log) + 1):
            state, changed = pure_fold_and_times(log[:at])
            check(reader, state, threads_shown(state, changed), at, whole)
    generation.close()


def update(mode: str, content: object, number: int) -> dict[str, Any]:
    data = {"scope": "resource", "mode": mode, "content": content}
    return envelope("WorkingMemoryUpdated", data, id=f"e{number}")


def random_update(chance: random.Random, number: int, *, text: bool) -> dict[str, Any]:
    if not text:
        values: list[object] = [1, None, {"x": number}, [], {}]
        key, value = chance.choice("abcdefgh"), chance.choice(values)
        return update("merge", {key: {chance.choice("pq"): value}, "n": number}, number)
    line = chance.choice(["- a", "- b", "", f"- {number}"])
    changes: list[tuple[str, object]] = [
        ("append", line),
        ("edit", {"search": chance.choice(["- a\n", "- b", "- "]), "replacement": line}),
        ("replace", "\n".join(chance.choice(["- a", "- b", ""]) for _ in range(6))),
    ]
    return update(*chance.choices(changes, [6, 4, 1])[0], number)


@pytest.mark.parametrize("text", [False, True], ids=["json", "text"])
def test_a_memory_is_exact_on_both_sides_of_every_keyframe(tmp_path: Path, *, text: bool) -> None:
    """Also where a batch holds several changes of it, and a keyframe falls in its middle."""
    chance = random.Random(5)
    log: list[Recorded] = []
    number = 0
    while number < 5 * KEYFRAME_STEPS_MIN:
        size = chance.choice([1, 2, 9])
        events = [random_update(chance, number + n, text=text) for n in range(size)]
        number += len(events)
        log.append(Recorded(len(log) + 1, len(log), stored("memory"), orjson.dumps(events)))
    generation = fold_in_pieces(tmp_path / "a.duckdb", log, 1)
    with reading(generation) as reader:
        assert len(list(reader.rows("SELECT 1 FROM keyframe", {}))) > 3
        for at in range(len(log) + 1):
            state, _ = pure_fold_and_times(log[:at])
            expected = state.memories.get(("u1", None))
            document = None if expected is None else expected.document
            assert memory_json(memory_as_of(reader, "u1", None, at)) == memory_json(expected)
            if document is not None:
                trace = trace_as_of(reader, 1, (at, LAST))
                assert (trace.content, trace.provenance) == (document.content, document.provenance)
    generation.close()


def test_the_table_of_changes_names_each_event_of_a_document_once(tmp_path: Path) -> None:
    """Of memories also what had no effect, without its data: it moved the revision."""
    generation = Generation(tmp_path / "a.duckdb", NAMESPACE)
    payloads: list[Any] = [
        update("merge", {"a": 1}, 1),
        [update("merge", {"a": 1}, 2), update("append", "x", 3), update("merge", {"a": 2}, 4)],
        b"{",
    ]
    for sequence, payload in enumerate(payloads, start=1):
        raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        generation.fold([Recorded(sequence, 0, stored("memory"), raw)])
    with reading(generation) as reader:
        rows = list(
            reader.rows(
                "SELECT sequence, index, applied, id, data IS NULL FROM change WHERE kind = $kind",
                {"kind": MEMORY},
            )
        )
    assert rows == [
        (1, 0, True, "e1", False),
        (2, 0, False, "e2", True),
        (2, 1, False, "e3", True),
        (2, 2, True, "e4", False),
        (3, 0, False, "", True),
    ]
    generation.close()


def test_a_time_is_the_last_message_recorded_by_then(tmp_path: Path) -> None:
    """The log's time never goes back, though the server's clock does."""
    store = Store(tmp_path, NAMESPACE)
    times_us = [10, 30, 20, 30, 40]
    for sequence, time_us in enumerate(times_us, start=1):
        event = orjson.dumps(update("merge", {"a": sequence}, sequence))
        store.fold([Recorded(sequence, time_us * 1000, stored("memory"), event)])
    found = {time_us: sequence_at(store.log, time_us) for time_us in (9, 10, 29, 30, 39, 40, 99)}
    assert found == {9: 0, 10: 1, 29: 1, 30: 4, 39: 4, 40: 5, 99: 5}
    store.close()


def slow_details(log: list[Recorded]) -> Iterator[dict[str, dict[str, tuple[str, int]]]]:
    """Yield behind each message, by document and path: the value, and which sequence set it."""
    state, known, time_us = State(), dict[str, dict[str, tuple[str, int]]](), 0
    for message in log:
        time_us = max(time_us, message.time_ns // 1000)
        for each in read_message(NAMESPACE, message, time_us=time_us):
            apply(state, evolve(state, each))
            found = {
                f"{resource} {name}": fields(
                    thread.title, thread.metadata, archived=thread.archived_at_us is not None
                )
                for (resource, name), thread in state.threads.items()
                if thread.live
            }
            found |= {name: fields("", value.metadata) for name, value in state.resources.items()}
            known = {
                name: {
                    at: known.get(name, {}).get(at, ("", 0))
                    if known.get(name, {}).get(at, ("", 0))[0] == encode_text(value)
                    else (encode_text(value), message.sequence)
                    for at, value in leaves(document)
                    if document
                }
                for name, document in found.items()
            }
        yield known


@pytest.mark.parametrize("seed", range(2))
def test_titles_and_metadata_are_blamed_as_a_slow_account_says(tmp_path: Path, seed: int) -> None:
    """Through all lives of a thread; a part that stays equal keeps the event that set it."""
    log = make_log(200 + seed, 120)
    generation = fold_in_pieces(tmp_path / "a.duckdb", log, seed)
    seen, whole = 0, pure_fold(log)
    with reading(generation) as reader:
        for at, expected in enumerate(slow_details(log), start=1):
            if at % 20:
                continue
            for name in whole.threads:
                subject = find_subject(reader, *name, memory=False)
                trace = trace_at(reader, subject, (at, LAST))
                own = expected.get(" ".join(name), {})
                assert blamed(trace) == own, (name, at)
                seen += len(own)
            for resource in whole.resources:
                subject = find_subject(reader, resource, None, memory=False)
                trace = trace_at(reader, subject, (at, LAST))
                assert blamed(trace) == expected.get(resource, {}), (resource, at)
    assert seen > 10
    generation.close()


def blamed(trace: Trace) -> dict[str, tuple[str, int]]:
    """Return by path the value and the sequence that set it."""
    known = trace.provenance
    assert isinstance(known, dict)
    return {
        at: (encode_text(value), known[at][0])
        for at, value in leaves(trace.content)
        if trace.content
    }


def record(type_: str, data: object, number: int) -> dict[str, Any]:
    return envelope(type_, data, id=f"r{number}")


@pytest.mark.parametrize("target", ["resource", "thread"])
def test_an_erasure_ends_the_documents_that_it_covers(tmp_path: Path, target: str) -> None:
    """Also those of memories and metadata; what comes later counts from nothing."""
    thread = "t1" if target == "thread" else None
    scope = "thread" if thread else "resource"
    facet = "thread" if thread else "resource"
    kind = "ThreadUpdated" if thread else "ResourceUpdated"
    published: list[tuple[Any, dict[str, Any]]] = [
        ("thread", record("ThreadCreated", {"title": "", "metadata": {}}, 0)),
        (
            "memory",
            record(
                "WorkingMemoryUpdated", {"scope": scope, "mode": "replace", "content": {"a": 1}}, 1
            ),
        ),
        (facet, record(kind, {"metadata": {"k": 1}}, 2)),
        ("erasure", record("Erased", {"target": target}, 3)),
        (
            "memory",
            record(
                "WorkingMemoryUpdated", {"scope": scope, "mode": "merge", "content": {"b": 1}}, 4
            ),
        ),
        (
            facet,
            record("ResourceUpdated" if not thread else "ThreadUpdated", {"metadata": {"l": 1}}, 5),
        ),
    ]
    log = [
        Recorded(
            n,
            n,
            stored(each[0], thread="t1" if each[0] == "thread" else thread),
            orjson.dumps(each[1]),
        )
        for n, each in enumerate(published, start=1)
    ]
    generation = fold_in_pieces(tmp_path / "a.duckdb", log, 1)
    whole = pure_fold(log)
    with reading(generation) as reader:
        for at in range(len(log) + 1):
            state, changed = pure_fold_and_times(log[:at])
            check(reader, state, threads_shown(state, changed), at, whole)
        for memory, contents in (
            (True, [{"a": 1}, None, {"b": 1}]),
            (False, [{"k": 1}, None, {"l": 1}]),
        ):
            subject = find_subject(reader, "u1", thread, memory=memory)
            found = []
            for at in (3, 4, 6):
                content = trace_at(reader, subject, (at, LAST)).content
                found.append(content.get("metadata") if content and not memory else content)  # type: ignore[union-attr]
            assert found == contents
    generation.close()
