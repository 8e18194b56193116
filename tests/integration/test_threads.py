"""Threads and resources as their users know them: create, change, list, archive, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from memfold import InvalidId, InvalidRequest, Memory, Message, Rejected, Thread
from support.engine import running_memory

pytestmark = pytest.mark.integration

DAY = datetime(2026, 1, 1, 12, 30, 45, 123456, tzinfo=UTC)
QUOTED = 'It\'s a "title" with 🐻 and\nlines'


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    async with running_memory(tmp_path) as (opened, _):
        yield opened


async def user(thread: Thread, id_: str, created_at: datetime | None = None) -> None:
    message = Message(id=id_, role="user", content="hi", created_at=created_at)
    await (await thread.append(message)).applied()


async def test_a_thread_reads_back_as_it_was_created(memory: Memory) -> None:
    """B1, B2, B4, B20, B21: ids of digits stay text; title and metadata are exact."""
    metadata = {"list": [{"n": n, "x": None} for n in range(10)], "emoji": "🐻"}
    thread = memory.resource("532374164040974346").thread("1346362547862769664")
    await (await thread.create(title=QUOTED, metadata=metadata)).applied()
    state = await thread.get()
    assert state is not None
    assert (state.id, state.resource) == ("1346362547862769664", "532374164040974346")
    assert (state.title, state.metadata) == (QUOTED, metadata)
    assert state.created_at == state.updated_at
    assert (state.last_message_at, state.archived_at, state.source) == (None, None, None)
    assert await memory.resource(state.resource).threads() == [state]


async def test_a_new_thread_gets_an_id_and_is_written_when_it_is_created(memory: Memory) -> None:
    """B24: a fresh id, an empty title, and nothing written by the handle itself."""
    resource = memory.resource("r")
    one, other = resource.thread(), resource.thread()
    assert one.id != other.id
    await one.create()
    [state] = await resource.threads()
    assert (state.id, state.title) == (one.id, "")


async def test_a_thread_is_its_resources_alone(memory: Memory) -> None:
    """B5, B6, B37: another resource finds nothing under that id, and an empty one is refused."""
    await memory.resource("r1").thread("t").create(title="mine")
    assert await memory.resource("r2").thread("t").get() is None
    with pytest.raises(InvalidId):
        memory.resource("")
    await memory.resource("r2").thread("t").create(title="theirs")
    mine, theirs = [await memory.resource(r).thread("t").get() for r in ("r1", "r2")]
    assert mine is not None
    assert theirs is not None
    assert (mine.title, theirs.title) == ("mine", "theirs")


async def test_an_update_merges_metadata_and_moves_the_time(memory: Memory) -> None:
    """B9, B10, B12, B14: the title stays if not given; null is stored; times agree everywhere."""
    resource = memory.resource("r")
    thread = resource.thread("t")
    await thread.create(title="First", metadata={"a": 1})
    first = await thread.get()
    await thread.update(metadata={"b": 2, "z": None})
    second = await thread.get()
    await thread.update(title="Updated", metadata={"a": {"deep": 1}})
    third = await thread.get()
    assert first is not None
    assert second is not None
    assert third is not None
    assert (second.title, second.metadata) == ("First", {"a": 1, "b": 2, "z": None})
    assert (third.title, third.metadata) == ("Updated", {"a": {"deep": 1}, "b": 2, "z": None})
    assert first.updated_at < second.updated_at < third.updated_at
    assert first.created_at == third.created_at
    assert await resource.threads() == [third]


async def test_an_unknown_thread_is_neither_updated_nor_archived(memory: Memory) -> None:
    """B13, B17, B230: an update says that there is none; a delete of one succeeds."""
    thread = memory.resource("r").thread("t")
    for write in (thread.update(title="x"), thread.archive(), thread.unarchive()):
        with pytest.raises(Rejected) as caught:
            await (await write).applied()
        assert caught.value.reason == "thread_unknown"
    assert await (await thread.delete()).applied() == "unchanged"
    assert await thread.get() is None


async def test_a_deleted_thread_takes_its_messages_but_not_its_resource(memory: Memory) -> None:
    """B16, B18: messages and the thread's own memory go, the resource and its memory stay."""
    resource = memory.resource("r")
    thread = resource.thread("t")
    await user(thread, "m1")
    await thread.working_memory.replace("- of the thread")
    await resource.working_memory.replace("- of the resource")
    await resource.update(metadata={"plan": "pro"})
    await thread.delete()
    assert await thread.messages() == []
    assert await thread.get() is None
    assert await thread.working_memory.get() is None
    kept = await resource.working_memory.get()
    assert kept is not None
    assert kept.content == "- of the resource"
    state = await resource.get()
    assert state is not None
    assert state.metadata == {"plan": "pro"}


async def test_messages_move_their_threads_times(memory: Memory) -> None:
    """B129, B136, B229: every change moves updated_at; last_message_at is the newest there is."""
    thread = memory.resource("r").thread("t")
    await thread.create()
    times = []

    async def look(*, newest: datetime | None) -> None:
        state = await thread.get()
        assert state is not None
        assert state.last_message_at == newest
        snapshot = await thread.snapshot(last=1)
        assert snapshot.thread == state
        assert [state] == await memory.resource("r").threads()
        times.append(state.updated_at)

    await look(newest=None)
    await user(thread, "m1", created_at=DAY)
    await look(newest=DAY)
    await user(thread, "m2", created_at=DAY + timedelta(hours=1))
    await look(newest=DAY + timedelta(hours=1))
    await user(thread, "m3", created_at=DAY - timedelta(days=1))
    await look(newest=DAY + timedelta(hours=1))
    await thread.update_message("m1", content="changed")
    await look(newest=DAY + timedelta(hours=1))
    await thread.delete_messages("m2")
    await look(newest=DAY)
    await thread.delete_messages(["m1", "m3"])
    await look(newest=None)
    assert sorted(set(times)) == times


async def test_an_archived_thread_can_be_left_out(memory: Memory) -> None:
    """B230: archiving moves no other time; lists hold all, only archived, or only others."""
    resource = memory.resource("r")
    await resource.thread("kept").create()
    aside = resource.thread("aside")
    await aside.create()
    before = await aside.get()
    await (await aside.archive()).applied()
    assert await (await aside.archive()).applied() == "unchanged"
    after = await aside.get()
    assert before is not None
    assert after is not None
    assert after.archived_at is not None
    assert after.updated_at == before.updated_at
    names = {
        choice: [each.id for each in await resource.threads(archived=choice)]
        for choice in (None, True, False)
    }
    assert names == {None: ["aside", "kept"], True: ["aside"], False: ["kept"]}
    await aside.unarchive()
    again = await aside.get()
    assert again is not None
    assert again.archived_at is None


async def seventeen(memory: Memory) -> None:
    for number in range(17):
        thread = memory.resource("r").thread(f"t{number:02}")
        await thread.create(metadata={"odd": number % 2, "kind": "support"})


async def test_pages_by_number_with_totals_on_request(memory: Memory) -> None:
    """B26, B28, B29, B30, B32, B44, B45, B46, B48: newest first, pages of 7."""
    await seventeen(memory)
    resource = memory.resource("r")
    first = await resource.thread_page(limit=7, total=True)
    assert (len(first.items), first.total) == (7, 17)
    assert first.next is not None
    assert first.items[0].id == "t16"
    third = await resource.thread_page(limit=7, page=2, as_of=first.sequence, total=True)
    assert ([each.id for each in third.items], third.total) == (["t02", "t01", "t00"], 17)
    assert third.next is None
    assert (await resource.thread_page(limit=7)).total is None
    oldest = await resource.thread_page(limit=2, descending=False)
    assert [each.id for each in oldest.items] == ["t00", "t01"]
    none = await resource.thread_page(limit=0, total=True)
    assert (none.items, none.total) == ((), 17)
    assert len(await resource.threads()) == 17
    for page, limit in ((-1, 100), (0, -5), (1 << 60, 100)):
        with pytest.raises(InvalidRequest):
            await resource.thread_page(page=page, limit=limit)
    with pytest.raises(InvalidRequest):
        await resource.thread_page(order="colour")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await resource.threads(colour="red")  # type: ignore[call-arg]


async def test_filters_on_metadata_with_and_without_a_resource(memory: Memory) -> None:
    """B8, B37, B38, B40, B41, B42, B49: any key; all entries must be there, exactly."""
    await seventeen(memory)
    await memory.resource("s").thread("other").create(metadata={"odd": 1, "a key, with": "spaces"})
    odd = await memory.threads(metadata={"odd": 1})
    assert len(odd) == 9
    assert {each.resource for each in odd} == {"r", "s"}
    mine = await memory.resource("r").thread_page(metadata={"odd": 1}, total=True, limit=3)
    assert (len(mine.items), mine.total) == (3, 8)
    assert len(await memory.threads()) == 18
    [named] = await memory.threads(metadata={"a key, with": "spaces"})
    assert named.id == "other"
    for nothing in ({"odd": "1"}, {"odd": True}, {"odd": 1, "kind": "sales"}, {"kind": None}):
        assert await memory.resource("r").threads(metadata=nothing) == []
    assert await memory.resource("unknown").threads() == []


async def test_pages_go_on_where_they_were_whatever_is_written_meanwhile(memory: Memory) -> None:
    """B34, B36: ordered by a time that moves under the reader, nothing is skipped or repeated."""
    await seventeen(memory)
    resource = memory.resource("r")
    expected = [each.id for each in await resource.threads(order="updated_at")]
    found: list[str] = []
    after: str | None = None
    while True:
        page = await resource.thread_page(limit=4, after=after, order="updated_at")
        found += [each.id for each in page.items]
        # What was shown moves to the front, what was not moves before it, one comes, one goes.
        await asyncio.gather(
            resource.thread("t00").update(title=f"page {len(found)}"),
            resource.thread(found[0]).update(title=f"page {len(found)}"),
            resource.thread(f"new {len(found)}").create(),
            resource.thread("t08").delete(),
        )
        after = page.next
        if after is None:
            break
    assert found == expected


async def test_a_next_is_of_its_own_list(memory: Memory) -> None:
    await seventeen(memory)
    resource = memory.resource("r")
    page = await resource.thread_page(limit=4)
    assert page.next is not None
    for after in (page.next[:-3], "", "é", page.next + "A"):
        with pytest.raises(InvalidRequest, match="after="):
            await resource.thread_page(limit=4, after=after)
    with pytest.raises(InvalidRequest, match="after="):
        await resource.thread_page(limit=4, after=page.next, order="updated_at")
    with pytest.raises(InvalidRequest, match="exclude"):
        await resource.thread_page(after=page.next, page=1)


async def test_order_by_the_last_message_puts_empty_threads_behind(memory: Memory) -> None:
    """B229: those without messages come last when the newest come first, and first otherwise."""
    resource = memory.resource("r")
    for name, day in (("a", 3), ("b", 1), ("c", 2)):
        await user(resource.thread(name), "m", created_at=DAY + timedelta(days=day))
    await resource.thread("empty").create()
    newest = [each.id for each in await resource.threads(order="last_message_at")]
    assert newest == ["a", "c", "b", "empty"]
    oldest = await resource.threads(order="last_message_at", descending=False)
    assert [each.id for each in oldest] == ["empty", "b", "c", "a"]


async def test_resources_are_listed_with_filters_and_pages(memory: Memory) -> None:
    """B142, B144, B145, B146: metadata merges, an unknown resource begins, deep nulls stay."""
    deep = {"a": {"b": [None, {"c": None}]}, "plan": "pro"}
    await memory.resource("r1").update(metadata=deep)
    await memory.resource("r1").update(metadata={"more": 1})
    await memory.resource("r2").working_memory.merge({"x": 1})
    await memory.resource("r3").update(metadata={"plan": "pro"})
    [first, second, third] = await memory.resources()
    assert first.metadata == {**deep, "more": 1}
    assert (second.id, second.metadata) == ("r2", {})
    assert [each.id for each in await memory.resources(metadata={"plan": "pro"})] == ["r1", "r3"]
    page = await memory.resource_page(limit=2, total=True)
    assert (page.items, page.total) == ((first, second), 3)
    rest = await memory.resource_page(limit=2, after=page.next)
    assert rest.items == (third,)


async def test_a_list_as_of_an_earlier_sequence(memory: Memory) -> None:
    """Lists are read as they stood, to the title and the time of the last message."""
    resource = memory.resource("r")
    thread = resource.thread("t")
    await thread.create(title="old")
    await user(thread, "m1", created_at=DAY)
    page = await resource.thread_page()
    await user(thread, "m2", created_at=DAY + timedelta(days=1))
    await thread.update(title="new")
    await resource.thread("later").create()
    assert await resource.threads(as_of=page.sequence) == list(page.items)
    assert [each.id for each in await thread.messages(as_of=page.sequence)] == ["m1"]
