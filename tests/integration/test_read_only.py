"""Read-only handles: they read all, and refuse every write before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from memfold import Memory, ReadOnly, Resource, Thread, WorkingMemory
from support.engine import running_memory

pytestmark = pytest.mark.integration

MESSAGE = {"id": "m1", "role": "user", "content": "hello"}
Write = Callable[[], Awaitable[object]]


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    async with running_memory(tmp_path) as (opened, _):
        yield opened


def memory_writes(working: WorkingMemory) -> list[Write]:
    return [
        lambda: working.merge({"a": 1}),
        lambda: working.merge({"a": 1}, check=True),
        lambda: working.replace("text"),
        lambda: working.append("text"),
        lambda: working.edit("a", "b"),
        lambda: working.define(template="# A"),
        working.define,
        lambda: working.revert(0),
    ]


def thread_writes(thread: Thread) -> list[Write]:
    return [
        thread.create,
        lambda: thread.create(working_memory="text"),
        lambda: thread.update(title="x"),
        thread.delete,
        lambda: thread.append(MESSAGE),
        lambda: thread.update_message("m1", content="x"),
        lambda: thread.delete_messages("m1"),
        thread.archive,
        thread.unarchive,
        thread.clone,
        thread.erase,
        lambda: thread.erase("m1"),
        *memory_writes(thread.working_memory),
    ]


def resource_writes(resource: Resource) -> list[Write]:
    return [
        lambda: resource.update(metadata={"a": 1}),
        resource.erase,
        *memory_writes(resource.working_memory),
        *thread_writes(resource.thread("t")),
    ]


def all_writes(memory: Memory) -> list[Write]:
    event = {
        "specversion": "1.0",
        "id": "e1",
        "type": "MessageAppended",
        "source": "bot",
        "data": {"message": MESSAGE},
    }
    prepared = memory.prepare(event, resource="alice", thread="t", facet="messages")
    return [
        lambda: memory.publish([prepared]),
        memory.ensure_streams,
        lambda: memory.erase_event((1, 0)),
        *memory_writes(memory.defaults),
        *resource_writes(memory.resource("alice")),
    ]


async def test_no_write_passes_a_read_only_handle_however_it_was_come_by(memory: Memory) -> None:
    """B180, B188: what everything made from it refuses, and what is read through it."""
    alice = memory.resource("alice")
    await alice.thread("t").append(MESSAGE)
    last = await alice.working_memory.replace("- vegan")
    sealed = memory.read_only()
    refusing = [
        *all_writes(sealed),
        *resource_writes(alice.read_only()),
        *thread_writes(alice.thread("t").read_only()),
        *memory_writes(alice.working_memory.read_only()),
        *memory_writes(alice.thread("t").working_memory.read_only()),
        *memory_writes(sealed.resource("alice").thread("t").read_only().working_memory),
    ]
    for write in refusing:
        with pytest.raises(ReadOnly):
            await write()
    assert (await memory.status())["stream"]["last_sequence"] == last.sequence
    seen = await sealed.resource("alice").thread("t").snapshot()
    assert seen == await alice.thread("t").snapshot()
    assert await alice.working_memory.read_only().read() == await alice.working_memory.read()


async def test_a_handle_that_writes_stays_so_and_says_so(memory: Memory) -> None:
    """The read-only one shares its connection, so it reads what the other has just written."""
    alice = memory.resource("alice")
    sealed = alice.working_memory.read_only()
    assert sealed.is_read_only
    assert not alice.working_memory.is_read_only
    for n in range(20):
        await alice.working_memory.replace({"n": n})
        state = await sealed.get()
        assert state is not None
        assert state.content == {"n": n}
    handles = (memory, alice, alice.thread("t"), alice.working_memory)
    assert [handle.read_only().is_read_only for handle in handles] == [True] * 4
    assert [handle.is_read_only for handle in handles] == [False] * 4
    assert repr(sealed) == repr(alice.working_memory)


READS = {
    "attachment",
    "blame",
    "clones",
    "definition",
    "diff",
    "erasures",
    "get",
    "history",
    "known",
    "message_page",
    "messages",
    "parked",
    "prompt",
    "read",
    "replay",
    "resolve",
    "resource_page",
    "resources",
    "snapshot",
    "status",
    "system_message",
    "thread_page",
    "threads",
}
WRITES = {
    Memory: {"publish", "ensure_streams", "erase_event"},
    Resource: {"update", "erase"},
    Thread: {
        *("create", "update", "delete", "archive", "unarchive", "clone", "erase"),
        *("append", "update_message", "delete_messages"),
    },
    WorkingMemory: {"merge", "replace", "append", "edit", "define", "revert"},
}


@pytest.mark.parametrize("handle", WRITES)
def test_every_way_of_writing_is_tried_above(handle: type) -> None:
    """A new coroutine is either a read, listed here, or a write: then it belongs into the lists."""
    coroutines = {
        name
        for name, value in vars(handle).items()
        if not name.startswith("_") and inspect.iscoroutinefunction(value)
    }
    assert coroutines - READS == WRITES[handle]
