"""The past through the client: as of, history, blame, diff, revert, with a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memfold import (
    InvalidRequest,
    Memory,
    Message,
    NotFound,
    Receipt,
    RevisionConflict,
    WorkingMemory,
)
from memfold.receipts import NO_CHANGE
from support.engine import running_memory

pytestmark = pytest.mark.integration


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncGenerator[Memory]:
    async with running_memory(tmp_path) as (found, _):
        yield found


async def written(receipt: Receipt | str) -> int:
    assert isinstance(receipt, Receipt)
    assert await receipt.applied() == "applied"
    return receipt.sequence


async def test_everything_can_be_read_as_of_a_sequence(memory: Memory) -> None:
    """Snapshot, memories with their definition, thread, resource, lists; 0 is before all."""
    alice = memory.resource("alice")
    thread = alice.thread("t")
    await alice.update(metadata={"plan": "free"})
    await thread.create(title="first")
    await alice.working_memory.define(template="# Name")
    await alice.working_memory.replace("- Sam")
    then = await written(await thread.append(Message(id="m1", role="user", content="one")))
    await alice.update(metadata={"plan": "paid"})
    await thread.update(title="second")
    await alice.working_memory.define(template="# City")
    await alice.working_memory.append("- Berlin")
    await thread.working_memory.append("own")
    await thread.append(Message(id="m2", role="user", content="two"))
    await alice.thread("other").create()
    await thread.delete()

    state = await alice.working_memory.get(as_of=then)
    assert state is not None
    assert (state.content, state.sequence) == ("- Sam", then)
    definition = await alice.working_memory.definition(as_of=then)
    assert definition is not None
    assert definition.template == "# Name"
    snapshot = await thread.snapshot(as_of=then)
    assert snapshot.sequence == then
    assert [each.id for each in snapshot.messages] == ["m1"]
    assert snapshot.thread is not None
    assert snapshot.thread.title == "first"
    assert snapshot.thread_working_memory is None
    assert snapshot.working_memory == state
    assert await thread.get(as_of=then) == snapshot.thread
    resource = await alice.get(as_of=then)
    assert resource is not None
    assert resource.metadata == {"plan": "free"}
    assert [each.id for each in await alice.threads(as_of=then)] == ["t"]
    assert [each.id for each in await thread.messages(as_of=then)] == ["m1"]
    assert [each.id for each in await alice.threads()] == ["other"]
    assert await thread.get() is None

    assert await alice.working_memory.get(as_of=0) is None
    assert await alice.get(as_of=0) is None
    empty = await thread.snapshot(as_of=0)
    assert (empty.sequence, empty.thread, empty.messages) == (0, None, ())
    assert await memory.resources(as_of=0) == []


async def test_a_past_read_leaves_the_life_that_a_handle_has_read(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    first = await written(await thread.create())
    await thread.delete()
    await thread.create()
    now = await thread.get()
    assert now is not None
    assert thread.incarnation == now.incarnation == 2
    then = await thread.get(as_of=first)
    assert then is not None
    assert (then.incarnation, thread.incarnation) == (1, 2)


async def test_a_time_is_the_last_sequence_recorded_by_then(memory: Memory) -> None:
    wm = memory.resource("alice").working_memory
    first = await written(await wm.merge({"a": 1}))
    [change] = await wm.history()
    await written(await wm.merge({"a": 2}))
    state = await wm.get(as_of=change.time)
    assert state is not None
    assert (state.sequence, state.content) == (first, {"a": 1})
    assert await wm.get(as_of=change.time - timedelta(microseconds=1)) is None
    later = await wm.get(as_of=datetime(2999, 1, 1, tzinfo=UTC))
    assert later is not None
    assert later.content == {"a": 2}
    page = await memory.resource_page(as_of=change.time)
    assert page.sequence == first


async def test_what_nobody_has_published_yet_is_refused_at_once(memory: Memory) -> None:
    alice = memory.resource("alice")
    receipt = await alice.working_memory.merge({"a": 1})
    state = await alice.working_memory.get(as_of=receipt.sequence, fresh=False)
    assert state is not None
    ahead = receipt.sequence + 1
    with pytest.raises(NotFound, match=f"ends at {receipt.sequence}"):
        await alice.working_memory.get(as_of=ahead)


@pytest.mark.parametrize("as_of", [-1, True, "120", 0.5, datetime(2026, 1, 1)])  # noqa: DTZ001
async def test_a_moment_is_a_sequence_or_a_time_with_a_zone(memory: Memory, as_of: object) -> None:
    wm = memory.resource("alice").working_memory
    with pytest.raises(InvalidRequest, match="as_of="):
        await wm.get(as_of=as_of)  # type: ignore[arg-type]  # that is the point


async def test_blame_leads_to_the_messages_behind_each_part(memory: Memory) -> None:
    """As they stood when the change came, and what became of them since."""
    alice = memory.resource("alice")
    thread = alice.thread("t")
    said = await thread.append(Message(id="m1", role="user", content="I moved to Berlin"))
    await thread.append(
        Message(id="m2", role="user", content=[{"type": "text", "text": "x" * 5000}])
    )
    await alice.working_memory.merge({"city": "Berlin", "age": 5}, because=said, reason="told")
    receipt = await alice.working_memory.merge(
        {"age": 6}, because=[("t", "m1"), ("t", "m2"), ("t", "never")]
    )
    await thread.update_message("m1", content="I moved to Bonn")
    await thread.delete_messages("m2")
    found = await alice.working_memory.blame()
    assert [(each.path, each.value) for each in found.entries] == [("/age", 6), ("/city", "Berlin")]
    age, city = (each.event for each in found.entries)
    assert age is not None
    assert city is not None
    assert (age.sequence, age.actor, age.mode) == (receipt.sequence, "bot", "merge")
    assert city.reason == "told"
    assert city.cause == city.evidence[0]
    assert city.evidence[0].text == "I moved to Berlin"
    assert city.evidence[0].actor == "bot"
    assert [(each.message, each.since, each.cut) for each in age.evidence] == [
        ("m1", "changed", False),
        ("m2", "deleted", True),
        ("never", "unknown", False),
    ]
    [part] = (await alice.working_memory.blame(path="/city")).entries
    assert part.path == "/city"
    before = await alice.working_memory.blame(as_of=receipt.sequence - 1)
    assert {each.event.sequence for each in before.entries if each.event} == {city.sequence}


async def test_a_text_is_blamed_and_compared_line_by_line(memory: Memory) -> None:
    wm = memory.resource("alice").working_memory
    first = await written(await wm.replace("- a\n- b\n- c"))
    second = await written(await wm.edit("- b\n", ""))
    third = await written(await wm.append("- d"))
    found = await wm.blame()
    assert [
        (each.line, each.value, each.event and each.event.sequence) for each in found.entries
    ] == [
        (1, "- a", first),
        (2, "- c", first),
        (3, "- d", third),
    ]
    diff = await wm.diff(first)
    assert [
        (each.kind, each.line, each.before, each.after, each.event and each.event.sequence)
        for each in diff.entries
    ] == [("removed", 2, "- b", None, second), ("added", 3, None, "- d", third)]
    with pytest.raises(InvalidRequest, match="leave out path"):
        await wm.blame(path="/a")


async def test_a_diff_names_the_event_of_each_difference(memory: Memory) -> None:
    """Of what was removed, too, be it by a merge, by a whole document or by the thread's end."""
    thread = memory.resource("alice").thread("t")
    wm = thread.working_memory
    first = await written(await wm.merge({"a": 1, "b": {"x": 1, "y": 2}, "c": [1]}))
    removed = await written(await wm.merge({"a": None, "b": {"x": 9}}))
    await wm.merge({"z": 1})
    replaced = await written(await wm.replace({"b": {"x": 1, "y": 2}, "new": None}))
    diff = await wm.diff(first)
    assert [
        (each.kind, each.path, each.event and each.event.sequence) for each in diff.entries
    ] == [
        ("removed", "/a", removed),
        ("removed", "/c", replaced),
        ("added", "/new", replaced),
    ]
    ended = await written(await thread.delete())
    diff = await wm.diff(first)
    assert {(each.kind, each.event and each.event.sequence) for each in diff.entries} == {
        ("removed", removed),
        ("removed", replaced),
        ("removed", ended),
    }
    assert (diff.format_before, diff.format) == ("json", None)
    assert (await wm.diff(first, first)).entries == ()
    with pytest.raises(InvalidRequest):
        await wm.diff(ended, first)


async def test_a_history_tells_what_each_event_changed(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    wm = thread.working_memory
    await wm.define(template="# Form")
    await wm.replace("- a", reason="why")
    await wm.append("- b")
    await wm.append("")
    await thread.delete()
    found = await wm.history(whole=True)
    assert [each.type for each in found] == [
        "WorkingMemoryDefined",
        *["WorkingMemoryUpdated"] * 3,
        "ThreadDeleted",
    ]
    assert found[0].definition == {"template": "# Form", "json_schema": None}
    assert found[1].reason == "why"
    assert [(each.before, each.after) for each in found[1:]] == [
        (None, "- a"),
        ("- a", "- a\n- b"),
        ("- a\n- b", "- a\n- b\n"),
        ("- a\n- b\n", None),
    ]
    [touched] = found[2].changes
    assert (touched.kind, touched.line, touched.after) == ("added", 2, "- b")
    rest = await wm.history(after=found[1].position, limit=1)
    assert [each.position for each in rest] == [found[2].position]
    until = await wm.history(as_of=found[2].sequence)
    assert [each.position for each in until] == [each.position for each in found[:3]]


async def test_the_history_of_one_part_has_just_what_changed_that(memory: Memory) -> None:
    wm = memory.resource("alice").working_memory
    await wm.replace("- city: Bonn")
    set_ = await written(await wm.replace({"home": {"city": "Bonn"}, "n": 0}))
    for number in range(1, 4):
        await wm.merge({"n": number})
    moved = await written(await wm.merge({"home": {"city": "Berlin"}, "n": 4}))
    await wm.merge({"home": {"street": "Allee"}})
    gone = await written(await wm.merge({"home": None}))
    found = await wm.history(path="/home/city")
    assert [
        (each.sequence, [(c.kind, c.path, c.before, c.after) for c in each.changes])
        for each in found
    ] == [
        (set_, [("added", "/home/city", None, "Bonn")]),
        (moved, [("changed", "/home/city", "Bonn", "Berlin")]),
        (gone, [("removed", "/home/city", "Berlin", None)]),
    ]
    first = await wm.history(path="/home/city", limit=1)
    rest = await wm.history(path="/home/city", after=first[0].position, as_of=moved)
    assert [*first, *rest] == found[:2]
    with pytest.raises(InvalidRequest):
        await wm.history(path="home")


async def test_title_and_metadata_have_a_past_of_their_own(memory: Memory) -> None:
    alice = memory.resource("alice")
    thread = alice.thread("t")
    await thread.append(Message(role="user", content="hello"))
    first = await written(await thread.create(title="one", metadata={"a": 1, "b": 1}))
    second = await written(await thread.update(title="two", metadata={"b": None}))
    third = await written(await thread.archive())
    found = await thread.details.blame()
    assert {each.path: each.event and each.event.sequence for each in found.entries} == {
        "/archived": third,
        "/metadata/a": first,
        "/metadata/b": second,
        "/title": second,
    }
    diff = await thread.details.diff(first, second)
    assert [(each.kind, each.path) for each in diff.entries] == [
        ("changed", "/metadata/b"),
        ("changed", "/title"),
    ]
    await thread.delete()
    kinds = [each.type for each in await thread.details.history()]
    assert kinds == ["ThreadCreated", "ThreadUpdated", "ThreadArchived", "ThreadDeleted"]
    assert (await thread.details.blame()).entries == ()
    await alice.update(metadata={"plan": "free"})
    [entry] = (await alice.details.blame()).entries
    assert (entry.path, entry.value) == ("/metadata/plan", "free")


async def content(wm: WorkingMemory) -> object:
    state = await wm.get()
    return None if state is None else state.content


async def test_a_revert_restores_the_whole_memory_and_says_what_it_reverts(memory: Memory) -> None:
    wm = memory.resource("alice").working_memory
    first = await written(await wm.merge({"city": "Berlin"}))
    await wm.merge({"city": "Mars", "food": "poison"})
    await written(await wm.revert(first, reason="an attack"))
    assert await content(wm) == {"city": "Berlin"}
    last = (await wm.history())[-1]
    assert (last.reverts, last.reason, last.mode) == (
        {"sequence": first, "path": None},
        "an attack",
        "replace",
    )
    assert await wm.revert(first) == NO_CHANGE
    await written(await wm.revert(0))
    assert await content(wm) == {}
    assert await memory.resource("nobody").working_memory.revert(0) == NO_CHANGE


async def test_a_revert_of_one_path_leaves_the_others(memory: Memory) -> None:
    """By a merge of what differs; by the whole document where a stored null forbids that."""
    wm = memory.resource("alice").working_memory
    first = await written(await wm.merge({"a": {"x": 1, "y": 2}, "b": 1}))
    await wm.merge({"a": {"x": 9, "z": 3}, "b": 2})
    await written(await wm.revert(first, path="/a"))
    assert await content(wm) == {"a": {"x": 1, "y": 2}, "b": 2}
    last = (await wm.history())[-1]
    assert last.mode == "merge"
    assert [each.path for each in last.changes] == ["/a/x", "/a/z"]
    nulls = await written(await wm.replace({"a": {"x": None}}))
    await wm.merge({"a": {"x": 1}, "c": 1})
    await written(await wm.revert(nulls, path="/a"))
    assert await content(wm) == {"a": {"x": None}, "c": 1}
    await written(await wm.revert(nulls, path="/c"))
    assert await content(wm) == {"a": {"x": None}}
    await wm.replace("text")
    with pytest.raises(InvalidRequest, match="as a whole"):
        await wm.revert(first, path="/a")


async def test_a_revert_decides_anew_when_somebody_else_writes_meanwhile(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wm = memory.resource("alice").working_memory
    first = await written(await wm.merge({"a": 1, "b": 1}))
    await wm.merge({"a": 2})
    read = WorkingMemory.read
    writes = iter([{"a": 3}, {"b": 7}])

    async def disturbed(self: WorkingMemory, **asked: object) -> object:
        found = await read(self, **asked)  # type: ignore[arg-type]  # passed on
        if asked and (change := next(writes, None)) is not None:
            await wm.merge(change)
        return found

    monkeypatch.setattr(WorkingMemory, "read", disturbed)
    await written(await wm.revert(first, path="/a"))
    assert await content(wm) == {"a": 1, "b": 7}
    writes = iter([{"a": number} for number in range(100, 200)])
    with pytest.raises(RevisionConflict):
        await wm.revert(first)


async def test_an_account_that_does_not_fit_an_answer_comes_in_parts(memory: Memory) -> None:
    """Each part with the texts behind it, all of them of one moment."""
    alice = memory.resource("alice")
    thread = alice.thread("t")
    text = "x" * 4000
    await thread.append(
        [Message(id=f"m{n}", role="user", content=f"{n} {text}") for n in range(200)]
    )
    ends = [0]
    for start in range(0, 300, 20):
        ends.append((await alice.working_memory.merge({"start": start})).sequence)
        numbers = range(start, start + 20)
        await asyncio.gather(
            *(
                alice.working_memory.merge({f"k{n:03d}": n}, because=("t", f"m{n % 200}"))
                for n in numbers
            )
        )
    blame = await alice.working_memory.blame()
    assert [entry.path for entry in blame.entries] == [f"/k{n:03d}" for n in range(300)] + [
        "/start"
    ]
    for entry in blame.entries[:-1]:
        assert entry.event is not None
        [source] = entry.event.evidence
        assert source.text == f"{entry.value % 200} {text}"
    diff = await alice.working_memory.diff(0, ends[-1])
    assert diff.sequence == ends[-1]
    assert [entry.path for entry in diff.entries[:-1]] == [f"/k{n:03d}" for n in range(280)]
    history = await alice.working_memory.history()
    assert len(history) == 315
