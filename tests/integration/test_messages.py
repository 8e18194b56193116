"""Messages as their users know them: what is stored, changed, removed and found again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold import Include, InvalidRequest, Memory, Message, MessageView, Rejected, Resource
from support.engine import running_memory

pytestmark = pytest.mark.integration

DAY = datetime(2026, 1, 1, tzinfo=UTC)
JSON_TEXT = '{"userInput": "is a \\"string\\"", "n": 1.0}'
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "first"},
    {"type": "tool_call", "id": "c1", "name": "search", "arguments": {"q": "é", "n": None}},
    {
        "type": "tool_result",
        "id": "c1",
        "result": {"raw": [1, 1.0, "1", True]},
        "x-model": {"a": {}},
    },
    {"type": "text", "text": "last"},
    {"type": "image", "url": "https://example.org/a.png"},
    {"type": "file", "name": "a.txt", "data": "aGVsbG8="},
]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Memory, str]]:
    async with running_memory(tmp_path) as found:
        yield found


@pytest.fixture
def alice(opened: tuple[Memory, str]) -> Resource:
    return opened[0].resource("alice")


def user(id_: str, text: str = "hi", **more: Any) -> Message:  # noqa: ANN401  # passed on
    return Message(id=id_, role="user", content=text, **more)


def ids(messages: list[MessageView] | tuple[MessageView, ...]) -> list[str]:
    return [message.id for message in messages]


async def fill(alice: Resource, thread: str = "t", count: int = 5, prefix: str = "m") -> None:
    """Append messages an hour apart."""
    await alice.thread(thread).append(
        [
            user(
                f"{prefix}{n}",
                created_at=DAY + timedelta(hours=n),
                metadata={"n": n, "even": n % 2 == 0},
            )
            for n in range(count)
        ]
    )


async def test_messages_come_back_as_they_were_given(alice: Resource) -> None:
    """B53, B54, B61, B62, B121, B122: text, parts in their order, roles, all exact."""
    thread = alice.thread("t")
    given = [
        user("m0", JSON_TEXT),
        Message(id="m1", role="assistant", content=PARTS, metadata={"provider": {"x": [None]}}),
        Message(id="m2", role="tool", content=PARTS[2:3]),
        Message(id="m3", role="system", content=""),
        user("m4", "Hello <working_memory>kept as given</working_memory>"),
    ]
    await thread.append(given)
    found = await thread.messages()
    assert [(m.id, m.role, m.content, m.metadata) for m in found] == [
        (m.id, m.role, m.content, m.metadata) for m in given
    ]
    assert found == list((await thread.snapshot()).messages)


async def test_an_id_saved_again_replaces_in_place(alice: Resource) -> None:
    """B56, B60: one message of that id, with the last content, where the first one was."""
    thread = alice.thread("t")
    await fill(alice, count=3)
    await thread.append([user("m1", "second"), user("m1", "third"), user("m3")])
    found = await thread.messages()
    assert ids(found) == ["m0", "m1", "m2", "m3"]
    assert found[1].content == "third"
    assert found[1].created_at == DAY + timedelta(hours=1)


async def test_an_id_is_its_threads_alone(opened: tuple[Memory, str]) -> None:
    """B57, B58, B130: the same id elsewhere is another message; nothing is moved or taken over."""
    memory, _ = opened
    places = [("alice", "t"), ("alice", "u"), ("bob", "t")]
    for resource, thread in places:
        await memory.resource(resource).thread(thread).append(user("m1", f"{resource} {thread}"))
    for resource, thread in places:
        [message] = await memory.resource(resource).thread(thread).messages()
        assert message.content == f"{resource} {thread}"
    with pytest.raises(TypeError):
        await memory.resource("alice").thread("t").update_message("m1", thread="u")  # type: ignore[call-arg]


async def test_missing_ids_are_made_and_keep_the_order(alice: Resource) -> None:
    """B70, B74: ids are made, the thread begins, and order does not rest on times."""
    await alice.thread("t").append([{"role": "user", "content": str(n)} for n in range(50)])
    found = await alice.thread("t").messages()
    assert [message.content for message in found] == [str(n) for n in range(50)]
    assert len({message.id for message in found}) == 50


async def test_a_batch_is_recorded_whole_or_not_at_all(alice: Resource) -> None:
    """B73: a list of any size that fits a batch is atomic; one bad message stops all of it."""
    thread = alice.thread("t")
    receipt = await thread.append([user(f"m{n}") for n in range(1000)])
    assert await receipt.applied() == "applied"
    assert len(await thread.messages()) == 1000
    with pytest.raises(memfold.InvalidEvent):
        await thread.append([user("new"), {"id": "bad", "role": "robot", "content": "x"}])
    assert len(await thread.messages()) == 1000


async def test_pages_of_messages(alice: Resource) -> None:
    """B76, B81, B84, B85, B88: by number with a total, either order, nothing of an empty thread."""
    thread = alice.thread("t")
    await fill(alice)
    sizes = []
    for number in range(3):
        page = await thread.message_page(limit=2, page=number, total=True)
        sizes.append((ids(page.items), page.total, page.next is not None))
    assert sizes == [(["m0", "m1"], 5, True), (["m2", "m3"], 5, True), (["m4"], 5, False)]
    newest = await thread.message_page(limit=2, descending=True)
    assert ids(newest.items) == ["m4", "m3"]
    older = await thread.message_page(limit=9, descending=True, after=newest.next)
    assert ids(older.items) == ["m2", "m1", "m0"]
    assert (await thread.message_page(limit=0, total=True)).total == 5
    empty = await alice.thread("none").message_page(total=True)
    assert (empty.items, empty.total, empty.next) == ((), 0, None)
    for page_number, limit in ((-1, 2), (0, -5)):
        with pytest.raises(InvalidRequest):
            await thread.message_page(page=page_number, limit=limit)


async def test_the_last_messages_in_their_order(alice: Resource) -> None:
    """B110, B112, B113, B116: the newest ones, oldest of them first, and those before them."""
    thread = alice.thread("t")
    await fill(alice, count=25)
    last = await thread.messages(last=5)
    assert ids(last) == ["m20", "m21", "m22", "m23", "m24"]
    assert ids(await thread.messages(last=5, before=last[0].position)) == [
        f"m{n}" for n in range(15, 20)
    ]
    assert await thread.messages(last=0) == []
    assert len(await thread.messages()) == 25
    assert len((await thread.snapshot(last=10)).messages) == 10


async def test_dates_bound_the_time_of_creation(alice: Resource) -> None:
    """B78, B80: both ends are included, with totals and pages."""
    thread = alice.thread("t")
    await fill(alice, count=10)
    start = DAY + timedelta(hours=5)
    page = await thread.message_page(since=start, limit=3, total=True)
    assert (ids(page.items), page.total) == (["m5", "m6", "m7"], 5)
    assert ids(await thread.messages(since=start, until=start)) == ["m5"]
    assert ids(await thread.messages(until=DAY)) == ["m0"]
    assert ids(await thread.messages(since=start, last=1)) == ["m9"]
    with pytest.raises(InvalidRequest, match="time zone"):
        await thread.messages(since=datetime(2026, 1, 1))  # noqa: DTZ001  # that is the mistake


async def test_equal_times_keep_the_order_of_the_log(alice: Resource) -> None:
    """B36, B120: the last three of z, a, k, b are a, k, b."""
    thread = alice.thread("t")
    await thread.append([user(name, created_at=DAY) for name in ("z", "a", "k", "b")])
    assert ids(await thread.messages(last=3)) == ["a", "k", "b"]
    page = await thread.message_page(limit=3, descending=True)
    assert ids(page.items) == ["b", "k", "a"]


async def test_windows_around_messages_that_are_wanted_in_any_case(alice: Resource) -> None:
    """B89, B90, B92, B93, B94, B96, B97, B98, B100: each message once, in one order."""
    thread = alice.thread("t")
    await fill(alice)
    await fill(alice, "other", prefix="o")
    page = await thread.message_page(limit=2, include=[Include("m3", before=1)])
    assert ids(page.items) == ["m0", "m1", "m2", "m3"]
    both = await thread.messages(last=1, include=[Include("m1", before=1, after=1), Include("no")])
    assert ids(both) == ["m0", "m1", "m2", "m4"]
    other = await thread.messages(include=[Include("o2", thread="other", after=9)])
    assert ids(other) == ["m0", "m1", "m2", "m3", "m4", "o2", "o3", "o4"]
    none_but = [Include("m2", after=1), Include("m3", before=1)]
    assert ids(await thread.messages(last=0, include=none_but)) == ["m2", "m3"]
    newest = await thread.message_page(limit=0, descending=True, include=none_but)
    assert ids(newest.items) == ["m3", "m2"]
    assert await thread.messages(last=0, include=[]) == []
    with pytest.raises(InvalidRequest):
        await thread.messages(include=[Include("m1", before=-1)])


async def test_a_window_never_shows_another_resources_messages(
    opened: tuple[Memory, str],
) -> None:
    """B77, B101, B102, B114: an id of somebody else's message finds one's own, or nothing."""
    memory, _ = opened
    alice, bob = memory.resource("alice"), memory.resource("bob")
    await fill(alice)
    await bob.thread("t").append(user("m2", "bob's"))
    found = await bob.messages(last=0, include=[Include("m2", before=5, after=5)])
    assert [message.content for message in found] == ["bob's"]
    assert await bob.messages(last=0, include=[Include("m3", before=5)]) == []
    anywhere = await alice.messages(last=0, include=[Include("m1", after=1)])
    assert ids(anywhere) == ["m1", "m2"]


async def test_a_window_of_large_messages_is_complete(alice: Resource) -> None:
    """B89, B92, B104: large neighbours displace nothing, and each thread with that id counts."""
    large = "x" * 300_000
    for name in ("a", "b"):
        for n in range(7):
            await alice.thread(name).append(user(f"m{n}", large))
    included = [Include("m3", before=3, after=3)]
    expected = [f"m{n}" for n in range(7)]
    assert ids(await alice.thread("a").messages(last=0, include=included)) == expected
    everywhere = await alice.messages(last=0, include=included)
    assert [(message.thread, message.id) for message in everywhere] == [
        (thread, name) for thread in ("a", "b") for name in expected
    ]
    assert ids(await alice.thread("a").messages(last=9)) == expected
    assert ids((await alice.thread("a").snapshot(last=6)).messages) == expected[1:]
    assert ids((await alice.thread("a").snapshot(last=6)).messages) == expected[1:]


async def test_a_page_of_none_says_where_it_stands(alice: Resource) -> None:
    """A list can be begun with its total alone and gone on with later."""
    thread = alice.thread("t")
    await fill(alice)
    for descending, expected in ((False, ["m0", "m1"]), (True, ["m4", "m3"])):
        none = await thread.message_page(limit=0, total=True, descending=descending)
        assert (none.items, none.total, none.next is None) == ((), 5, False)
        page = await thread.message_page(limit=2, after=none.next, descending=descending)
        assert ids(page.items) == expected
        again = await thread.message_page(limit=0, after=page.next, descending=descending)
        assert again.next == page.next
    assert (await alice.thread("none").message_page(limit=0)).next is None
    threads = await alice.thread_page(limit=0)
    assert threads.next is not None
    assert len((await alice.thread_page(after=threads.next)).items) == 1


async def test_a_page_goes_on_as_of_its_own_sequence_alone(alice: Resource) -> None:
    """Another ``as_of`` beside ``after`` would be another list: it is refused, not left out."""
    thread = alice.thread("t")
    await fill(alice)
    page = await thread.message_page(limit=2)
    rest = await thread.message_page(after=page.next, as_of=page.sequence)
    assert ids(rest.items) == ["m2", "m3", "m4"]
    with pytest.raises(InvalidRequest, match="leave out as_of="):
        await thread.message_page(after=page.next, as_of=page.sequence - 1)


async def test_a_question_that_does_not_fit_a_message_is_refused(alice: Resource) -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        await alice.threads(metadata={"k": "x" * 2_000_000})
    assert await alice.threads() == []


async def test_several_threads_and_whole_resources(alice: Resource) -> None:
    """B105, B106, B109: of these threads, or of all of them, in one order, with pages."""
    await fill(alice, "a", 2, "a")
    await fill(alice, "b", 2, "b")
    await fill(alice, "a", 3, "c")
    assert ids(await alice.messages()) == ["a0", "a1", "b0", "b1", "c0", "c1", "c2"]
    assert ids(await alice.messages(threads=["b"])) == ["b0", "b1"]
    assert await alice.messages(threads=[]) == []
    page = await alice.message_page(threads=["a", "none"], limit=2, total=True)
    assert (ids(page.items), page.total) == (["a0", "a1"], 5)
    rest = await alice.message_page(threads=["a", "none"], limit=9, after=page.next)
    assert ids(rest.items) == ["c0", "c1", "c2"]
    with pytest.raises(TypeError):
        await alice.thread("a").messages(threads=["b"])  # type: ignore[call-arg]


async def test_metadata_filters_by_value(alice: Resource) -> None:
    """B108: exact values; several entries must all be there."""
    await fill(alice)
    thread = alice.thread("t")
    assert ids(await thread.messages(metadata={"even": True})) == ["m0", "m2", "m4"]
    assert ids(await thread.messages(metadata={"even": True, "n": 2})) == ["m2"]
    assert await thread.messages(metadata={"n": "2"}) == []
    assert await thread.messages(metadata={"even": 1}) == []
    page = await thread.message_page(metadata={"even": True}, limit=1, page=1, total=True)
    assert (ids(page.items), page.total) == (["m2"], 3)
    assert ids(await thread.messages(metadata={"even": True}, last=2)) == ["m2", "m4"]


async def test_updates_change_what_is_given(alice: Resource) -> None:
    """B124, B125, B126, B128: content or metadata alone; metadata merges one level."""
    thread = alice.thread("t")
    await thread.append(user("m1", "old", metadata={"initial": True, "deep": {"a": 1}}))
    await thread.update_message("m1", metadata={"updated": True, "deep": {"b": 2}})
    await thread.update_message("m1", content=PARTS, role="assistant")
    [message] = await thread.messages()
    assert (message.role, message.content) == ("assistant", PARTS)
    assert message.metadata == {"initial": True, "updated": True, "deep": {"b": 2}}
    with pytest.raises(Rejected):
        await (await thread.update_message("m9", content="x")).applied()


async def test_deletes_leave_the_others(alice: Resource) -> None:
    """B134, B138: three of five, and the newest fifty of a hundred."""
    thread = alice.thread("t")
    await fill(alice)
    await thread.delete_messages(["m0", "m2", "m4"])
    assert ids(await thread.messages()) == ["m1", "m3"]
    await fill(alice, "long", 100)
    await alice.thread("long").delete_messages([f"m{n}" for n in range(50, 100)])
    assert ids(await alice.thread("long").messages()) == [f"m{n}" for n in range(50)]


async def test_pages_of_messages_hold_while_others_write(alice: Resource) -> None:
    """Nothing is skipped or repeated while messages come, change and go between the pages."""
    thread = alice.thread("t")
    await fill(alice, count=30)
    for descending in (False, True):
        expected = ids(await thread.messages())
        found: list[str] = []
        after: str | None = None
        while True:
            page = await thread.message_page(limit=7, after=after, descending=descending)
            found += ids(page.items)
            await asyncio.gather(
                thread.append(user(f"new {descending} {len(found)}")),
                thread.delete_messages(expected[len(found) // 2]),
                thread.update_message(expected[-1], content=f"changed {len(found)}"),
            )
            after = page.next
            if after is None:
                break
        assert found == (expected[::-1] if descending else expected)
