"""Working memory as agents use it: scopes, forms, checks, and what is told of each write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import memfold
from memfold import (
    EngineUnavailable,
    InvalidId,
    InvalidRequest,
    Memory,
    Receipt,
    Rejected,
    WorkingMemory,
)
from support.broker import running_broker
from support.engine import running_memory

pytestmark = pytest.mark.integration

TEMPLATE = "# User\n- Name:\n- City:\n"
FILLED = "# User\n- Name: Sam\n- City:\n"


class Profile(BaseModel):
    """What is known of a user."""

    name: str | None = None
    city: str | None = None
    job: str | None = None
    about: dict[str, str] = {}
    work: dict[str, str] = {}


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    async with running_memory(tmp_path) as (opened, _):
        yield opened


async def content(working: WorkingMemory) -> Any:  # noqa: ANN401 - any JSON.
    state = await working.get()
    return None if state is None else state.content


async def last_sequence(memory: Memory) -> int:
    """Return the stream's last sequence: one that stays says that nothing was sent."""
    return int((await memory.status())["stream"]["last_sequence"])


async def test_there_is_none_before_the_first_write(memory: Memory) -> None:
    """B149."""
    alice = memory.resource("alice")
    assert await alice.working_memory.get() is None
    assert await alice.thread("t").working_memory.get() is None
    await alice.working_memory.define(template=TEMPLATE)
    assert await alice.working_memory.get() is None


async def test_the_resources_memory_is_seen_from_all_its_threads_and_from_no_other_resource(
    memory: Memory,
) -> None:
    """B150: also from a thread that does not exist."""
    alice, bob = memory.resource("alice"), memory.resource("bob")
    await alice.thread("t1").create()
    await alice.working_memory.replace("- vegan")
    for name in ("t1", "t2"):
        found = (await alice.thread(name).snapshot()).working_memory
        assert found is not None
        assert found.content == "- vegan"
    assert await bob.working_memory.get() is None
    assert (await bob.thread("t1").snapshot()).working_memory is None


async def test_a_threads_memory_is_its_own_and_begins_the_thread(memory: Memory) -> None:
    """B152, B156: the scopes never mix. Ours: memory of an unknown thread creates it."""
    alice = memory.resource("alice")
    await alice.working_memory.merge({"of": "resource"})
    assert await alice.thread("t1").get() is None
    await alice.thread("t1").working_memory.merge({"of": "thread"})
    assert await alice.thread("t1").get() is not None
    assert await content(alice.working_memory) == {"of": "resource"}
    assert await content(alice.thread("t1").working_memory) == {"of": "thread"}
    assert await content(alice.thread("t2").working_memory) is None
    assert await content(memory.resource("bob").thread("t1").working_memory) is None


async def test_a_memory_belongs_to_somebody(memory: Memory) -> None:
    """B153: without a resource neither read nor written, and the error says what to name."""
    for nobody in ("", None):
        with pytest.raises(InvalidId):
            memory.resource(nobody)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidRequest, match="name a resource"):
        await memory.defaults.get()
    for write in writes(memory.defaults):
        with pytest.raises(InvalidRequest, match="name a resource"):
            await write()
    assert await last_sequence(memory) == 0


async def test_nothing_has_to_be_enabled_first(memory: Memory) -> None:
    """B154. Ours: every resource and thread has a working memory, without any definition."""
    receipt = await memory.resource("new").working_memory.append("- vegan")
    assert await receipt.applied() == "applied"


async def test_the_facts_of_several_turns_add_up(memory: Memory) -> None:
    """B168: also under a model, where every part of it may be missing."""
    working = memory.resource("alice").working_memory
    await working.define(schema=Profile)
    found = await working.definition()
    assert found is not None
    assert found.json_schema == Profile.model_json_schema()
    for fact in ({"name": "Sam"}, {"city": "Berlin"}, {"job": "cook"}, {"about": {"pet": "cat"}}):
        assert await (await working.merge(fact, check=True)).applied() == "applied"
    await working.merge({"work": {"shift": "late"}})
    assert await content(working) == {
        "name": "Sam",
        "city": "Berlin",
        "job": "cook",
        "about": {"pet": "cat"},
        "work": {"shift": "late"},
    }


@pytest.mark.parametrize("text", ["", "x" * 10_000, "  \n\ttext é 🐻 \r\n", '{"a": 1}', "null"])
async def test_any_text_comes_back_as_it_was(memory: Memory, text: str) -> None:
    """B146, B142: the empty one, too; for a resource with an id of nineteen digits."""
    working = memory.resource("1234567890123456789").working_memory
    await working.replace(text)
    state = await working.get()
    assert state is not None
    assert (state.content, state.format) == (text, "markdown")


async def test_memory_and_metadata_of_a_resource_leave_each_other_alone(memory: Memory) -> None:
    """B144, B145: each creates an unknown resource, with exactly what was given."""
    alice = memory.resource("alice")
    await alice.working_memory.replace("- vegan")
    state = await alice.get()
    assert state is not None
    assert state.metadata == {}
    await alice.update(metadata={"plan": "pro", "deep": {"a": [None, {"b": None}]}})
    await alice.update(metadata={"seen": 1})
    assert await content(alice.working_memory) == "- vegan"
    await alice.working_memory.append("- has a cat")
    state = await alice.get()
    assert state is not None
    assert state.metadata == {"plan": "pro", "deep": {"a": [None, {"b": None}]}, "seen": 1}
    bob = memory.resource("bob")
    await bob.update(metadata={})
    assert await bob.get() is not None
    assert await bob.working_memory.get() is None


async def test_memory_and_metadata_written_at_once_are_all_there(memory: Memory) -> None:
    """B148: nothing of either is lost."""
    alice = memory.resource("alice")
    await asyncio.gather(
        *(alice.working_memory.merge({f"k{n}": n}) for n in range(16)),
        *(alice.update(metadata={f"m{n}": n}) for n in range(16)),
    )
    assert await content(alice.working_memory) == {f"k{n}": n for n in range(16)}
    state = await alice.get()
    assert state is not None
    assert state.metadata == {f"m{n}": n for n in range(16)}


async def test_a_write_that_changes_nothing_is_told_and_recorded(memory: Memory) -> None:
    working = memory.resource("alice").working_memory
    first = await working.merge({"city": "Berlin"})
    assert await first.applied() != memfold.NO_CHANGE
    again = await working.merge({"city": "Berlin"}, check=True)
    assert await again.applied() == memfold.NO_CHANGE
    assert again.sequence == first.sequence + 1
    assert await (await working.define()).applied() == memfold.NO_CHANGE
    state = await working.get()
    assert state is not None
    assert state.revision == again.sequence + 1


def writes(
    working: WorkingMemory, *, check: bool = False
) -> list[Callable[[], Awaitable[Receipt]]]:
    """Return an update in each of the four modes."""
    return [
        lambda: working.merge({"name": "Sam"}, check=check),
        lambda: working.replace({"name": "Sam"}, check=check),
        lambda: working.append("- Sam", check=check),
        lambda: working.edit("Name:", "Name: Sam", check=check),
    ]


async def rejection(write: Callable[[], Awaitable[Receipt]]) -> tuple[str, str] | None:
    """Return why a write is rejected, before it was sent or after; None if it is not."""
    try:
        await (await write()).applied()
    except Rejected as error:
        return error.reason, error.message
    return None


@pytest.mark.parametrize("scope", ["resource", "thread"])
@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_checked_write_is_refused_in_the_words_of_the_fold(
    memory: Memory, scope: str, form: str
) -> None:
    """Each mode against each form of document: what the fold rejects is never sent."""
    alice = memory.resource("alice")
    working = alice.working_memory if scope == "resource" else alice.thread("t").working_memory
    if form == "text":
        await working.define(template=TEMPLATE)
        await working.replace(FILLED)
    else:
        await working.define(schema={"properties": {"name": {"type": "integer"}}})
        await working.merge({"age": 7})
    checked: list[tuple[str, str] | None] = []
    unchecked: list[tuple[str, str] | None] = []
    for careful, careless in zip(writes(working, check=True), writes(working), strict=True):
        before = await last_sequence(memory)
        said = await rejection(careful)
        assert (await last_sequence(memory) == before) is (said is not None)
        checked.append(said)
        unchecked.append(await rejection(careless))
    assert checked == unchecked
    assert [said is not None for said in checked] == (
        [True, True, False, False] if form == "text" else [True] * 4
    )


async def test_the_empty_template_does_not_replace_data_when_checked(memory: Memory) -> None:
    """B160: whatever its white space; unchecked it is a document like any other."""
    working = memory.resource("alice").working_memory
    await memory.defaults.define(template=TEMPLATE)
    assert await (await working.replace(TEMPLATE, check=True)).applied() == "applied"
    await working.replace(FILLED, check=True)
    before = await last_sequence(memory)
    for text in (TEMPLATE, " ".join(TEMPLATE.split())):
        with pytest.raises(Rejected, match="empty template") as caught:
            await working.replace(text, check=True)
        assert caught.value.reason == "empty_template"
    assert await last_sequence(memory) == before
    assert await content(working) == FILLED
    await working.replace(TEMPLATE)
    assert await content(working) == TEMPLATE


async def test_a_check_reads_what_this_client_has_just_written(memory: Memory) -> None:
    working = memory.resource("alice").working_memory
    for n in range(20):
        await working.replace({"n": n})
        with pytest.raises(Rejected) as caught:
            await working.append("no text", check=True)
        assert caught.value.reason == "not_text"
        await working.replace(f"text {n}")
        await working.append("text", check=True)


async def test_only_a_check_needs_an_engine(tmp_path: Path) -> None:
    """Without one a checked write says so and sends nothing; any other write is taken."""
    (tmp_path / "broker").mkdir()
    async with (
        running_broker(tmp_path / "broker") as broker,
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        await memory.ensure_streams()
        working = memory.resource("alice").working_memory
        assert (await working.define(template=TEMPLATE)).sequence == 1
        with pytest.raises(EngineUnavailable):
            await working.append("- Sam", check=True)
        assert (await working.append("- Sam")).sequence == 2
        created = await memory.resource("alice").thread("t").create(working_memory="- new")
        assert created.sequence == 4


async def test_definitions_that_cannot_be_are_refused_before_they_are_sent(memory: Memory) -> None:
    """Of a resource, a thread and the namespace alike; they are kept in the history otherwise."""
    alice = memory.resource("alice")
    for working in (memory.defaults, alice.working_memory, alice.thread("t").working_memory):
        with pytest.raises(InvalidRequest):
            await working.define(template=TEMPLATE, schema=Profile)
        with pytest.raises(Rejected) as caught:
            await working.define(schema={"$ref": "http://127.0.0.1:9/x"})
        assert caught.value.reason == "schema_invalid"
    assert await last_sequence(memory) == 0
    await alice.working_memory.define(schema=Profile)
    await alice.thread("t").working_memory.define(template=TEMPLATE, reason="a form")
    history = await alice.history()
    assert [(change.type, change.thread) for change in history] == [
        ("WorkingMemoryDefined", None),
        ("WorkingMemoryDefined", "t"),
    ]
    assert history[0].data["json_schema"] == Profile.model_json_schema()
    assert (history[1].data["template"], history[1].data["reason"]) == (TEMPLATE, "a form")
