"""A thread created with a memory of its own: two messages, and whatever happens between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold import EngineUnavailable, InvalidEvent, Memory, Rejected, Thread
from memfold.client import Client
from memfold.initial import put_initial
from support.broker import Broker, running_broker
from support.engine import running_engine

pytestmark = pytest.mark.integration


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    async with running_broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
async def memory(broker: Broker, tmp_path: Path) -> AsyncIterator[Memory]:
    async with (
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot") as opened,
    ):
        yield opened


async def content(thread: Thread) -> Any:  # noqa: ANN401 - any JSON.
    state = await thread.working_memory.get()
    return None if state is None else state.content


async def title(thread: Thread) -> str | None:
    state = await thread.get()
    return None if state is None else state.title


@pytest.mark.parametrize("initial", ["# Notes\n", "", {"mood": "curious"}, {}])
async def test_a_thread_begins_with_the_memory_it_is_given(
    memory: Memory,
    initial: Any,  # noqa: ANN401 - any JSON.
) -> None:
    """B25. Ours: given by name, not hidden in metadata, and the thread's own."""
    thread = memory.resource("alice").thread("t")
    said = await memory.resource("alice").thread("other").append({"role": "user", "content": "x"})
    receipt = await thread.create(
        title="Trip", metadata={"a": 1}, working_memory=initial, because=said, correlation="run"
    )
    assert await receipt.applied() == "applied"
    assert await content(thread) == initial
    state = await thread.get()
    assert state is not None
    assert (state.title, state.metadata, state.incarnation) == ("Trip", {"a": 1}, 1)
    assert await memory.resource("alice").working_memory.get() is None
    written, created = await thread.history()
    assert (written.type, created.type) == ("WorkingMemoryUpdated", "ThreadCreated")
    assert written.causation == created.causation == said.event_ids[0]
    assert written.correlation == created.correlation == "run"
    assert written.data["evidence"] == [{"thread": "other", "message": said.messages[0][1]}]


async def test_what_a_crash_left_half_done_is_completed_by_creating_again(memory: Memory) -> None:
    """Only the first message was published; meanwhile an agent has gone on with the memory."""
    thread = memory.resource("alice").thread("t")
    await put_initial(thread.working_memory, "# Notes")
    assert await title(thread) == ""
    await thread.working_memory.append("- moved")
    again = await thread.create(title="Trip", working_memory="# Notes")
    assert await again.applied() == "applied"
    assert await title(thread) == "Trip"
    assert await content(thread) == "# Notes\n- moved"


async def test_a_process_that_dies_between_the_two_messages_leaves_the_first(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same through ``create`` itself, ended as it goes on to the second message."""
    write = Client.write

    async def dying(self: Client, address: Any, writes: Any, *more: Any) -> Any:  # noqa: ANN401
        if writes[0][0] == "ThreadCreated":
            raise KeyboardInterrupt
        return await write(self, address, writes, *more)

    thread = memory.resource("alice").thread("t")
    with monkeypatch.context() as patch:
        patch.setattr(Client, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            await thread.create(title="Trip", working_memory="# Notes")
    assert (await title(thread), await content(thread)) == ("", "# Notes")
    again = await thread.create(title="Trip", working_memory="# Notes")
    assert await again.applied() == "applied"
    assert (await title(thread), await content(thread)) == ("Trip", "# Notes")


async def test_creating_twice_overwrites_nothing(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    await thread.create(title="first", working_memory={"of": "first"})
    second = await thread.create(title="second", working_memory={"of": "second"})
    with pytest.raises(Rejected) as caught:
        await second.applied()
    assert caught.value.reason == "thread_exists"
    assert (await title(thread), await content(thread)) == ("first", {"of": "first"})


async def test_a_rejected_creation_puts_no_memory(memory: Memory) -> None:
    """Not even into a thread that was created without one; another try changes nothing either."""
    thread = memory.resource("alice").thread("t")
    await thread.create(title="first")
    for _ in range(2):
        second = await thread.create(title="second", working_memory="# Notes")
        with pytest.raises(Rejected) as caught:
            await second.applied()
        assert caught.value.reason == "thread_exists"
    assert (await title(thread), await content(thread)) == ("first", None)


async def test_nothing_is_sent_to_a_thread_that_is_there_if_its_memory_cannot_be(
    memory: Memory,
) -> None:
    thread = memory.resource("alice").thread("t")
    receipt = await thread.append({"role": "user", "content": "hello"})
    for bad in ({"bad": float("nan")}, "x" * 600_000):
        with pytest.raises(InvalidEvent):
            await thread.create(title="fine", working_memory=bad)
    assert (await memory.status())["stream"]["last_sequence"] == receipt.sequence


async def test_a_thread_that_its_messages_have_begun_takes_an_initial_memory(
    memory: Memory,
) -> None:
    thread = memory.resource("alice").thread("t")
    await thread.append({"role": "user", "content": "hello"})
    receipt = await thread.create(title="Trip", working_memory="# Notes")
    assert await receipt.applied() == "applied"
    assert (await title(thread), await content(thread)) == ("Trip", "# Notes")
    assert len(await thread.messages()) == 1


async def test_a_definition_or_a_rejected_write_is_no_memory_yet(memory: Memory) -> None:
    """The subject has events, so the engine is asked, and says that there is no document."""
    thread = memory.resource("alice").thread("t")
    await thread.working_memory.define(schema={"type": "object"})
    await thread.working_memory.append("no text here")
    receipt = await thread.create(title="Trip", working_memory={"mood": "curious"})
    assert await receipt.applied() == "applied"
    assert await content(thread) == {"mood": "curious"}


async def test_the_next_life_of_a_thread_begins_with_its_own_memory(memory: Memory) -> None:
    """Also through a handle that has read the life before, which somebody else has ended."""
    thread = memory.resource("alice").thread("t")
    await thread.create(working_memory="of the first life")
    assert await thread.get() is not None
    assert thread.incarnation == 1
    await memory.resource("alice").thread("t").delete()
    receipt = await thread.create(title="again", working_memory="of the second life")
    assert await receipt.applied() == "applied"
    state = await thread.get()
    assert state is not None
    assert (state.title, state.incarnation) == ("again", 2)
    assert await content(thread) == "of the second life"


async def test_of_clients_that_create_at_once_each_part_is_set_by_exactly_one(
    broker: Broker, memory: Memory
) -> None:
    """Memory and title are each first come; nothing is overwritten, every other one is told."""
    async with (
        memfold.connect(broker.url, actor="a") as a,
        memfold.connect(broker.url, actor="b") as b,
    ):
        for n in range(10):
            made = [
                (name, client.resource("alice").thread(f"t{n}"))
                for name in ("one", "two")
                for client in (a, b)
            ]
            receipts = await asyncio.gather(
                *(
                    thread.create(title=name, working_memory={"of": name, "by": number})
                    for number, (name, thread) in enumerate(made)
                )
            )
            kinds = await asyncio.gather(
                *(receipt.applied() for receipt in receipts), return_exceptions=True
            )
            assert kinds.count("applied") == 1
            reasons = [kind.reason for kind in kinds if isinstance(kind, Rejected)]
            assert reasons == ["thread_exists"] * 3
            thread = memory.resource("alice").thread(f"t{n}")
            await memory.resource("alice").update(metadata={"n": n})
            history = await thread.history(everything=True)
            written = [each for each in history if each.type == "WorkingMemoryUpdated"]
            assert [each.outcome for each in written] == ["applied"]
            assert await content(thread) == written[0].data["content"]


async def test_an_initial_memory_that_breaks_the_schema_is_told(memory: Memory) -> None:
    """The thread is created without it, and the receipt says so of the memory."""
    alice = memory.resource("alice")
    await alice.working_memory.define(schema={"required": ["name"]})
    receipt = await alice.thread("t").create(title="Trip", working_memory={"age": 7})
    with pytest.raises(Rejected) as caught:
        await receipt.applied()
    assert caught.value.reason == "schema_violation"
    assert (await title(alice.thread("t")), await content(alice.thread("t"))) == ("Trip", None)


async def test_nothing_is_sent_if_either_half_cannot_be(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    with pytest.raises(InvalidEvent):
        await thread.create(metadata={"bad": float("nan")}, working_memory="fine")
    with pytest.raises(InvalidEvent):
        await thread.create(title="fine", working_memory={"bad": float("nan")})
    assert (await memory.status())["stream"]["last_sequence"] == 0


async def test_where_nobody_can_tell_whether_there_is_a_memory_none_is_sent(
    broker: Broker,
) -> None:
    """Without an engine a fresh thread is created; one with events is left alone."""
    async with memfold.connect(broker.url, actor="bot", query_timeout_s=2.0) as memory:
        await memory.ensure_streams()
        thread = memory.resource("alice").thread("t")
        receipt = await thread.create(title="Trip", working_memory="# Notes")
        assert receipt.sequence == 2
        with pytest.raises(EngineUnavailable):
            await thread.create(title="Trip", working_memory="# Other")
        last = await memory.resource("alice").thread("next").create()
        assert last.sequence == 3
