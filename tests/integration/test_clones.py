"""Clones: what is copied, what is told, and what a clone that was cut short becomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold import Clone, Cut, InvalidRequest, Memory, Message, NotFound, Rejected, Thread
from memfold import clones as clones_module
from memfold import requests as requests_module
from memfold.building import Prepared
from memfold.client import Client
from memfold.receipts import Receipt
from support.engine import running_memory

pytestmark = pytest.mark.integration

DAY = datetime(2026, 1, 1, tzinfo=UTC)
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "é"},
    {"type": "tool_call", "id": "c1", "arguments": {"n": [None, 1.0]}},
]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Memory, str]]:
    async with running_memory(tmp_path) as found:
        yield found


@pytest.fixture
def memory(opened: tuple[Memory, str]) -> Memory:
    return opened[0]


async def conversation(thread: Thread, count: int = 5) -> None:
    await thread.create(title="Support", metadata={"channel": "web"})
    for n in range(count):
        message = Message(
            id=f"m{n}",
            role="assistant" if n % 2 else "user",
            content=PARTS if n == 1 else f"text {n}",
            created_at=DAY + timedelta(days=n),
            metadata={"n": n},
        )
        await thread.append(message)
    receipt = await thread.working_memory.replace("- likes tea")
    await receipt.applied()


def copied(messages: Sequence[memfold.MessageView]) -> list[tuple[Any, ...]]:
    """Return all of messages that a copy has in common with its source."""
    return [(m.id, m.role, m.content, m.metadata, m.created_at) for m in messages]


async def test_a_clone_has_all_of_its_source_and_both_know(memory: Memory) -> None:
    """B208, B210, B213: messages to the byte, title, metadata, own memory; provenance both ways."""
    alice = memory.resource("alice")
    source = alice.thread("t")
    await conversation(source)
    made = await source.clone("copy", metadata={"clone": True})
    assert made.source.cut == {}
    assert copied(await made.thread.messages()) == copied(await source.messages())
    assert dict(made.messages) == {f"m{n}": f"m{n}" for n in range(5)}
    state = await alice.thread("copy").get()
    assert state is not None
    assert (state.title, state.metadata) == ("Support", {"channel": "web", "clone": True})
    assert state.source == made.source
    assert (made.source.resource, made.source.thread, made.source.messages) == ("alice", "t", 5)
    own = await made.thread.working_memory.get()
    assert own is not None
    assert own.content == "- likes tea"
    [link] = await source.clones()
    assert (link.resource, link.thread, link.messages) == ("alice", "copy", 5)
    assert link.sequence == made.source.sequence
    told = [each for each in await made.thread.history() if each.type == "ThreadCloned"]
    assert [each.data["messages"] for each in told] == [{}, dict(made.messages)]


async def test_clones_come_in_pages(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, they are joined, in order of creation."""
    source = memory.resource("alice").thread("t")
    await conversation(source, 1)
    for n in range(5):
        await source.clone(f"copy{n}")
    monkeypatch.setattr(requests_module, "PAGE_MAX", 2)
    assert [link.thread for link in await source.clones()] == [f"copy{n}" for n in range(5)]
    assert [link.thread for link in await source.clones(limit=3)] == ["copy0", "copy1", "copy2"]


async def test_source_and_clone_go_their_own_ways(memory: Memory) -> None:
    """B212: neither sees what is written to the other, and the clone outlives its source."""
    source = memory.resource("alice").thread("t")
    await conversation(source)
    clone = (await source.clone()).thread
    await source.update_message("m0", content="changed")
    await clone.delete_messages("m4")
    await source.delete()
    kept = await clone.messages()
    assert [message.id for message in kept] == ["m0", "m1", "m2", "m3"]
    assert kept[0].content == "text 0"
    state = await clone.get()
    assert state is not None
    assert state.source is not None
    assert await memory.resource("alice").thread(state.source.thread).get() is None


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (Cut(last=2), ["m3", "m4"]),
        (Cut(last=0), []),
        (Cut(upto="m2"), ["m0", "m1", "m2"]),
        (Cut(upto="m2", last=1), ["m2"]),
        (Cut(since=DAY + timedelta(days=1), until=DAY + timedelta(days=3)), ["m1", "m2", "m3"]),
        (Cut(ids=["m4", "m0"]), ["m0", "m4"]),
    ],
)
async def test_a_cut_says_which_messages(memory: Memory, cut: Cut, expected: list[str]) -> None:
    """B209: the newest ones, up to one, a range of dates with both ends, or these alone."""
    source = memory.resource("alice").thread("t")
    await conversation(source)
    made = await source.clone(cut=cut)
    assert [message.id for message in await made.thread.messages()] == expected
    assert list(made.messages) == expected
    told = [each for each in await made.thread.history() if each.type == "ThreadCloned"]
    for each in told:
        assert each.data["cut"].get("upto") == cut.upto
        assert each.data["cut"].get("chosen") == (cut.ids is not None or None)
    state = await made.thread.get()
    assert state is not None
    assert state.source == made.source
    assert made.source.cut == cut.to_json()


async def test_another_resources_clone_takes_the_memory_along(memory: Memory) -> None:
    """B208, B210: the resource's memory is copied too, unless the other has one of its own."""
    alice, bob = memory.resource("alice"), memory.resource("bob")
    await alice.working_memory.merge({"city": "Berlin"})
    await conversation(alice.thread("t"))
    made = await alice.thread("t").clone("copy", resource="bob", title="Taken over")
    state = await bob.thread("copy").get()
    assert state is not None
    assert state.title == "Taken over"
    assert copied(await made.thread.messages()) == copied(await alice.thread("t").messages())
    memory_of_bob = await bob.working_memory.get()
    assert memory_of_bob is not None
    assert memory_of_bob.content == {"city": "Berlin"}
    await bob.working_memory.merge({"city": "Rome"})
    await alice.thread("t").clone("second", resource="bob")
    kept = await bob.working_memory.get()
    assert kept is not None
    assert kept.content == {"city": "Rome"}
    bare = await alice.thread("t").clone("third", working_memory=False)
    assert await bare.thread.working_memory.get() is None


async def test_a_threads_own_definition_is_copied_with_its_memory(memory: Memory) -> None:
    """What holds for the source's memory holds for the copy's."""
    source = memory.resource("alice").thread("t")
    await source.working_memory.define(schema={"type": "object", "required": ["name"]})
    await source.working_memory.merge({"name": "Sam"})
    made = await source.clone("copy")
    definition = await made.thread.working_memory.definition()
    assert definition is not None
    assert definition.scope == "thread"
    with pytest.raises(Rejected):
        await (await made.thread.working_memory.merge({"name": None})).applied()


async def test_what_is_not_there_or_there_already_is_refused(memory: Memory) -> None:
    """B208: an unknown source or message, and an id that is taken, change nothing."""
    alice = memory.resource("alice")
    source = alice.thread("t")
    with pytest.raises(NotFound, match="no thread 't'"):
        await source.clone("copy")
    await conversation(source)
    with pytest.raises(NotFound, match="no message 'm9'"):
        await source.clone("copy", cut=Cut(upto="m9"))
    assert await alice.thread("copy").get() is None
    await alice.thread("created").create()
    await alice.thread("begun").append(Message(role="user", content="mine"))
    # What looks like the beginning of a clone is somebody's all the same.
    await alice.thread("same").create(title="mine")
    await alice.thread("same").append(Message(id="m0", role="user", content="text 0"))
    await source.clone("cloned")
    for name in ("created", "begun", "same", "cloned"):
        before = await alice.thread(name).snapshot()
        with pytest.raises(Rejected) as caught:
            await source.clone(name)
        assert caught.value.reason == "thread_exists"
        after = await alice.thread(name).snapshot()
        assert (after.messages, after.thread) == (before.messages, before.thread)
    with pytest.raises(InvalidRequest, match="itself"):
        await source.clone("t")
    for wrong in ({"last": -1}, {"ids": "m1"}, {"since": DAY.replace(tzinfo=None)}):
        with pytest.raises(InvalidRequest):
            Cut(**wrong)


async def test_a_memory_that_does_not_fit_is_said_and_can_be_left_out(memory: Memory) -> None:
    """Nothing is lost in silence; without the memory the same clone is completed."""
    await conversation(memory.resource("alice").thread("t"))
    bob = memory.resource("bob")
    await bob.working_memory.define(schema={"type": "object"})
    with pytest.raises(Rejected) as caught:
        await memory.resource("alice").thread("t").clone("copy", resource="bob")
    assert caught.value.reason == "format_mismatch"
    made = (
        await memory.resource("alice")
        .thread("t")
        .clone("copy", resource="bob", working_memory=False)
    )
    assert len(await made.thread.messages()) == 5
    state = await made.thread.get()
    assert state is not None
    assert state.title == "Support"


async def test_a_message_that_grew_by_updates_is_copied(memory: Memory) -> None:
    """Content and metadata that do not fit one event come as an append and an update."""
    thread = memory.resource("alice").thread("t")
    await thread.append(Message(id="m", role="user", content="x", metadata={"k": "z" * 60_000}))
    await (await thread.update_message("m", content="c" * 480 * 1024)).applied()
    made = await thread.clone()
    assert copied(await made.thread.messages()) == copied(await thread.messages())


async def test_two_sources_never_mix_in_one_clone(memory: Memory) -> None:
    """Whoever claims the id first has it alone; the other has written nothing."""
    alice = memory.resource("alice")
    for name in ("one", "two"):
        await alice.thread(name).append(
            [Message(id=f"{name}{n}", role="user", content="x") for n in range(5)]
        )
    for number in range(5):
        results = await asyncio.gather(
            alice.thread("one").clone(f"copy{number}"),
            alice.thread("two").clone(f"copy{number}"),
            return_exceptions=True,
        )
        [made] = [each for each in results if isinstance(each, Clone)]
        found = await alice.thread(f"copy{number}").messages()
        assert [message.id for message in found] == list(made.messages)


async def test_a_clone_that_was_cut_short_is_completed(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many publishes got through before the end, making it again completes it."""
    source = memory.resource("alice").thread("t")
    await conversation(source, count=9)
    expected = copied(await source.messages())
    monkeypatch.setattr(clones_module, "BATCH_EVENTS_MAX", 2)
    monkeypatch.setattr(clones_module, "MAP_BYTES_MAX", 8)
    publish = Client.publish
    tries = 0
    for allowed in range(20):
        tries += 1
        left = allowed

        async def failing(self: Client, events: list[Prepared], **more: Any) -> Receipt:  # noqa: ANN401
            nonlocal left
            if left == 0:
                raise ConnectionError
            left -= 1
            return await publish(self, events, **more)

        monkeypatch.setattr(Client, "publish", failing)
        name = f"copy {allowed}"
        ended = False
        try:
            await source.clone(name)
            ended = True
        except ConnectionError:
            pass
        monkeypatch.setattr(Client, "publish", publish)
        if ended:
            break
        # What is done to the source meanwhile does not change what is being copied, once begun.
        await source.append(Message(id=f"later {allowed}", role="user", content="after the cut"))
        await source.update_message("m3", metadata={"changed": allowed})
        made = await source.clone(name)
        found = copied(await made.thread.messages())
        then = await source.messages(as_of=made.source.sequence)
        assert found == copied(then)
        assert [each[0] for each in found[: len(expected)]] == [each[0] for each in expected]
        state = await made.thread.get()
        assert state is not None
        assert (state.title, state.source) == ("Support", made.source)
        assert made.source.messages == len(found) == len(made.messages)
        told = [each for each in await made.thread.history() if each.type == "ThreadCloned"]
        merged = {key: value for each in told for key, value in each.data["messages"].items()}
        assert merged == dict(made.messages)
    assert tries > 7


async def test_two_at_once_make_one_clone(opened: tuple[Memory, str]) -> None:
    """Two clients that clone into the same id: one is told that it is taken, nothing is doubled."""
    memory, url = opened
    source = memory.resource("alice").thread("t")
    await conversation(source, count=50)
    async with memfold.connect(url, actor="other") as other:
        results = await asyncio.gather(
            source.clone("copy"),
            other.resource("alice").thread("t").clone("copy"),
            return_exceptions=True,
        )
    refused = [each for each in results if isinstance(each, Rejected)]
    assert len(refused) == 1
    assert refused[0].reason == "thread_exists"
    copy = memory.resource("alice").thread("copy")
    assert copied(await copy.messages()) == copied(await source.messages())
    state = await copy.get()
    assert state is not None
    assert state.source is not None
    assert state.source.messages == 50
