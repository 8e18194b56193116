"""Whose words blame shows: of messages that two actors have had their hands on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold import ChangeEvent, Memory, Message, SourceMessage, WorkingMemory
from support.engine import running_memory

pytestmark = pytest.mark.integration

BERLIN = "I live in Berlin"
MARS = "I live on Mars"
Actors = tuple[Memory, Memory]


@pytest.fixture
async def actors(tmp_path: Path) -> AsyncGenerator[Actors]:
    """Two actors on one engine: an honest one, and one who is not."""
    async with (
        running_memory(tmp_path) as (good, url),
        memfold.connect(url, actor="evil") as evil,
    ):
        yield good, evil


async def event(wm: WorkingMemory, path: str, as_of: int | None = None) -> ChangeEvent:
    [entry] = (await wm.blame(path=path, as_of=as_of)).entries
    assert entry.event is not None
    return entry.event


async def source(wm: WorkingMemory, path: str, as_of: int | None = None) -> SourceMessage:
    [found] = (await event(wm, path, as_of)).evidence
    return found


def told(found: SourceMessage) -> tuple[str | None, str | None, int | None, int | None, str]:
    return found.text, found.actor, found.sequence, found.index, found.since


@pytest.mark.parametrize("how", ["append", "update"])
async def test_a_message_is_shown_with_the_actor_whose_words_it_had(
    actors: Actors, how: str
) -> None:
    """Not with that of who first appended it: the position is that of the same event."""
    good, evil = (each.resource("alice") for each in actors)
    first = await good.thread("t").append(Message(id="m1", role="user", content=BERLIN))
    honest = await good.working_memory.merge({"a": 1}, because=("t", "m1"))
    if how == "append":
        bad = await evil.thread("t").append(Message(id="m1", role="user", content=MARS))
    else:
        bad = await evil.thread("t").update_message("m1", content=MARS)
    await good.working_memory.merge({"b": 1}, because=("t", "m1"))
    wm = good.working_memory
    assert told(await source(wm, "/b")) == (MARS, "evil", bad.sequence, 0, "unchanged")
    assert told(await source(wm, "/a")) == (BERLIN, "bot", first.sequence, 0, "changed")
    # Also as of then: what became of it since is told up to now.
    assert await source(wm, "/a", as_of=honest.sequence) == await source(wm, "/a")


async def test_who_only_changes_metadata_did_not_say_it(actors: Actors) -> None:
    good, evil = (each.resource("alice") for each in actors)
    first = await good.thread("t").append(Message(id="m1", role="user", content=BERLIN))
    await good.working_memory.merge({"a": 1}, because=("t", "m1"))
    await evil.thread("t").update_message("m1", metadata={"mark": 1})
    await good.working_memory.merge({"b": 1}, because=("t", "m1"))
    for path in ("/a", "/b"):
        shown = await source(good.working_memory, path)
        assert told(shown) == (BERLIN, "bot", first.sequence, 0, "unchanged")
    # Another role makes other words of them.
    bad = await evil.thread("t").update_message("m1", role="system")
    await good.working_memory.merge({"c": 1}, because=("t", "m1"))
    assert (await source(good.working_memory, "/a")).since == "changed"
    shown = await source(good.working_memory, "/c")
    assert told(shown) == (BERLIN, "evil", bad.sequence, 0, "unchanged")
    assert shown.role == "system"


async def test_the_place_is_that_of_the_event_in_its_batch(actors: Actors) -> None:
    """Of several about one message in a batch the last one that counted."""
    good, evil = actors
    thread = good.resource("alice").thread("t")
    await thread.append(Message(id="m1", role="user", content=BERLIN))

    def said(number: int, type_: str, data: dict[str, Any]) -> memfold.Prepared:
        raw = {"specversion": "1.0", "id": f"e{number}", "type": type_, "source": "evil"}
        return evil.prepare({**raw, "data": data}, resource="alice", thread="t", facet="messages")

    def message(id_: str, text: str) -> dict[str, Any]:
        return {"message": {"id": id_, "role": "user", "content": text}}

    receipt = await evil.publish(
        [
            said(0, "MessageAppended", message("other", "x")),
            said(1, "MessageAppended", message("m1", "first")),
            said(2, "MessageUpdated", {"id": "m1", "patch": {"content": MARS}}),
            said(3, "MessageUpdated", {"id": "m1", "patch": {"metadata": {"m1": "m1"}}}),
            said(4, "MessageAppended", message("m9", "first")),
            said(5, "MessageUpdated", {"id": "m9", "patch": {"content": MARS}}),
        ]
    )
    wm = good.resource("alice").working_memory
    await wm.merge({"a": 1}, because=[("t", "m1"), ("t", "m9"), ("t", "other")])
    found = [told(each)[:4] for each in (await event(wm, "/a")).evidence]
    assert found == [
        (MARS, "evil", receipt.sequence, 2),
        (MARS, "evil", receipt.sequence, 5),
        ("x", "evil", receipt.sequence, 0),
    ]


async def test_a_later_event_of_the_same_id_is_not_the_cause(actors: Actors) -> None:
    """Ids are unique for one actor only; and nothing is caused by what comes after it."""
    good, evil = actors
    alice = good.resource("alice")
    said = await alice.thread("t").append(Message(id="m1", role="user", content=BERLIN))
    reused = {
        "specversion": "1.0",
        "id": said.event_ids[0],
        "type": "MessageAppended",
        "source": "evil",
        "data": {"message": {"id": "m2", "role": "user", "content": MARS}},
    }

    async def reuse(resource: str) -> None:
        prepared = evil.prepare(reused, resource=resource, thread="t", facet="messages")
        assert await (await evil.publish([prepared])).applied() == "applied"

    await alice.working_memory.merge({"a": 1}, because=said)
    await reuse("alice")
    await alice.working_memory.merge({"b": 1}, because=said)
    for path in ("/a", "/b"):
        cause = (await event(alice.working_memory, path)).cause
        assert cause is not None
        assert told(cause) == (BERLIN, "bot", said.sequence, 0, "unchanged")


async def test_a_cause_is_of_the_same_resource_and_can_be_what_saved_a_message_again(
    actors: Actors,
) -> None:
    good, evil = actors
    alice = good.resource("alice")
    raw = {"specversion": "1.0", "id": "same", "type": "MessageAppended"}

    def prepared(memory: Memory, resource: str, text: str) -> memfold.Prepared:
        message = {"message": {"id": "m1", "role": "user", "content": text}}
        event = {**raw, "source": "evil" if memory is evil else "bot", "data": message}
        return memory.prepare(event, resource=resource, thread="t", facet="messages")

    await evil.publish([prepared(evil, "mallory", MARS)])
    await alice.thread("t").append(Message(id="m1", role="user", content="before"))
    again = await good.publish([prepared(good, "alice", BERLIN)])
    await alice.working_memory.merge({"a": 1}, because=again)
    found = await event(alice.working_memory, "/a")
    assert found.causation == "same"
    assert found.cause is not None
    assert told(found.cause) == (BERLIN, "bot", again.sequence, 0, "unchanged")
    await alice.working_memory.merge({"b": 1}, because=await alice.thread("t").delete())
    assert (await event(alice.working_memory, "/b")).cause is None


async def test_what_became_of_a_message_is_told_exactly(actors: Actors) -> None:
    """Deleted before or after, or with its thread; appended anew; erased; never there."""
    alice = actors[0].resource("alice")
    thread, wm = alice.thread("t"), alice.working_memory

    async def says(*ids: str) -> None:
        await thread.append([Message(id=each, role="user", content=each) for each in ids])

    await says("stays", "gone before", "gone after", "again after", "erased before", "erased after")
    await says("other words", "and back")
    await thread.delete_messages("gone before")
    await thread.erase("erased before")
    ids = ["stays", "gone before", "gone after", "again after", "erased before", "erased after"]
    ids += ["other words", "and back", "later", "never"]
    await wm.merge({"a": 1}, because=[("t", each) for each in ids])
    await thread.delete_messages(["gone after", "again after"])
    await says("again after", "later")
    await thread.update_message("other words", content="x")
    await thread.update_message("and back", content="x")
    await thread.update_message("and back", content="and back")
    await thread.erase("erased after")

    async def since() -> dict[str, tuple[str, str | None]]:
        found = (await event(wm, "/a")).evidence
        return {each.message: (each.since, each.text) for each in found}

    assert await since() == {
        "stays": ("unchanged", "stays"),
        "gone before": ("deleted", "gone before"),
        "gone after": ("deleted", "gone after"),
        "again after": ("deleted", "again after"),
        "erased before": ("erased", None),
        "erased after": ("erased", None),
        "other words": ("changed", "other words"),
        "and back": ("unchanged", "and back"),
        "later": ("appended", "later"),
        "never": ("unknown", None),
    }
    await thread.delete()
    await says("stays")
    assert (await since())["stays"] == ("deleted", "stays")
    assert (await since())["never"] == ("unknown", None)
    await thread.erase()
    assert {each for each, _ in (await since()).values()} == {"erased"}


async def test_the_text_of_very_long_messages_is_shown_whatever_its_parts(actors: Actors) -> None:
    """Also where a part that is no text is longer than all that is read of a text."""
    alice = actors[0].resource("alice")
    thread, wm = alice.thread("t"), alice.working_memory
    long: list[dict[str, Any]] = [
        {"type": "text", "text": 'first "\n\x00é😀'},
        {"type": "data", "data": "x" * 70_000, "text": None},
        {"type": "odd", "text": 5},
        {"type": "text", "text": "second"},
    ]
    await thread.append(Message(id="parts", role="user", content=long))
    await thread.append(
        Message(id="texts", role="user", content=[{"type": "text", "text": "é" * 70_000}])
    )
    await thread.append(Message(id="text", role="user", content="é" * 70_000))
    await wm.merge({"a": 1}, because=[("t", each) for each in ("parts", "texts", "text")])
    found = (await event(wm, "/a")).evidence
    assert [(each.text, each.cut) for each in found] == [
        ('first "\n\x00é😀\nsecond', False),
        ("é" * 4096, True),
        ("é" * 4096, True),
    ]
