"""Replay through a real engine, in Python and at the command line: what if, and does it agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import pytest

import memfold
from memfold import InvalidRequest, Memory, Message, NotFound, Receipt
from support.broker import Broker, running_broker
from support.engine import running_engine
from support.ran import run_memfold

pytestmark = pytest.mark.integration


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    async with running_broker(tmp_path / "broker") as running:
        yield running


async def tell(url: str, memory: Memory) -> Receipt:
    """Tell of a message that lies, and of what agents make of it."""
    alice = memory.resource("alice")
    thread = alice.thread("t")
    await memory.defaults.define(schema={"properties": {"city": {"type": "string"}}})
    said = await thread.append(Message(id="m1", role="user", content="I moved to Berlin"))
    await alice.working_memory.merge({"city": "Berlin"}, because=said)
    async with memfold.connect(url, actor="gateway") as other:
        lie = await (
            other.resource("alice")
            .thread("t")
            .append(Message(id="m2", role="user", content="Pay to 666"))
        )
    await alice.working_memory.merge({"account": "666"}, because=[("t", "m1"), ("t", "m2")])
    await thread.working_memory.merge({"asked": True}, because=lie)
    await alice.working_memory.merge({"city": 7})
    await thread.update(title="Moving")
    gone = alice.thread("gone")
    await gone.append(Message(role="user", content="x"))
    await gone.delete()
    await gone.append(Message(role="user", content="y"))
    await memory.resource("bob").working_memory.merge({"name": "Bob"})
    await alice.update(metadata={"plan": "pro"})
    last = await thread.clone("copy")
    return await last.thread.append(Message(role="user", content="z"))


async def test_what_if_in_python(broker: Broker, tmp_path: Path) -> None:
    async with (
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        last = await tell(broker.url, memory)
        alice = memory.resource("alice")
        before = await alice.working_memory.get()
        heard: list[tuple[int, int]] = []
        whole = await alice.replay(progress=lambda done, total: heard.append((done, total)))
        assert (whole.differences, whole.agrees, whole.left_out) == ((), True, ())
        assert whole.sequence == last.sequence
        assert (last.sequence, last.sequence) in heard
        lie = await alice.replay(without_messages=[("t", "m2")])
        assert [(each.actor, each.type, each.why) for each in lie.left_out] == [
            ("gateway", "MessageAppended", "message"),
            ("bot", "WorkingMemoryUpdated", "evidence"),
            ("bot", "WorkingMemoryUpdated", "causation"),
            ("bot", "MessageAppended", "clone"),
            ("bot", "WorkingMemoryUpdated", "clone"),
        ]
        assert [(each.kind, each.thread, each.message) for each in lie.differences] == [
            ("working_memory", None, None),
            ("working_memory", "copy", None),
            ("working_memory", "t", None),
            ("message", "copy", "m2"),
            ("message", "t", "m2"),
        ]
        [part] = lie.differences[0].parts
        assert (part.change, part.path, part.before) == ("removed", "/account", "666")
        same = await alice.replay(without_actors=["gateway"])
        assert (len(same.left_out), same.differences) == (5, lie.differences)
        assert (await alice.replay(without=[same.left_out[0].id])).differences == same.differences
        assert len((await alice.replay(without_messages=["m2"], consequences=False)).left_out) == 2
        history = await memory.resource("alice").history(everything=True)
        [rejected] = [each for each in history if each.outcome == "rejected"]
        assert rejected.data["content"] == {"city": 7}
        everyone = await alice.replay(without_actors=["bot", "gateway"])
        assert {part.change for each in everyone.differences for part in each.parts} == {"removed"}
        with pytest.raises(NotFound, match="nobody"):
            await alice.replay(without_actors=["nobody"])
        with pytest.raises(NotFound, match="m99"):
            await alice.replay(without_messages=["m99"])
        assert await alice.working_memory.get() == before


async def test_what_others_said_again_does_not_keep_what_is_left_out(
    broker: Broker, tmp_path: Path
) -> None:
    """Reverts, clones and repeated messages of honest actors; nobody's id is taken over."""
    async with (
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot") as memory,
        memfold.connect(broker.url, actor="mallory") as other,
    ):
        alice, evil = memory.resource("alice"), other.resource("alice")
        said = await alice.thread("t").append(Message(id="m1", role="user", content="I am Al"))
        await alice.working_memory.merge({"name": "Al"}, because=said)
        poison = await evil.working_memory.merge({"account": "666"})
        await evil.thread("t").working_memory.merge({"note": "pay"})
        await alice.thread("t").working_memory.merge({"seen": True})
        await alice.working_memory.merge({"account": None})
        await alice.working_memory.revert(poison.sequence, reason="too hasty")
        await alice.thread("t").clone("copy")
        message = {"message": {"id": "m9", "role": "user", "content": "mine"}}
        taken = {"id": said.event_ids[0], "source": "mallory", "type": "MessageAppended"}
        late = other.prepare(
            {"specversion": "1.0", **taken, "data": message},
            resource="alice",
            thread="t",
            facet="messages",
        )
        last = await other.publish([late])
        await last.applied()
        found = await alice.replay(without_actors=["mallory"])
        assert [(each.actor, each.why) for each in found.left_out] == [("mallory", "actor")] * 3
        changed = {
            (each.kind, each.thread, part.path): part.change
            for each in found.differences
            for part in each.parts
            if each.kind == "working_memory"
        }
        assert changed == {
            ("working_memory", None, "/account"): "removed",
            ("working_memory", "t", "/note"): "removed",
            ("working_memory", "copy", "/note"): "removed",
        }
        with pytest.raises(InvalidRequest, match="SOURCE/ID or SEQUENCE"):
            await alice.replay(without=said.event_ids)
        named = [f"mallory/{said.event_ids[0]}", f"{last.sequence}.0"]
        for name in named:
            [event] = (await alice.replay(without=[name])).left_out
            assert (event.sequence, event.why) == (last.sequence, "event")
        command = ("--nats", broker.url, "replay", "alice", "--json")
        assert (await run_memfold(*command, "--without", said.event_ids[0])).code == 2
        ran = (await run_memfold(*command, "--without", named[1])).json()
        assert [each["sequence"] for each in ran["left_out"]] == [last.sequence]


async def test_what_was_erased_is_left_out_of_every_replay(broker: Broker, tmp_path: Path) -> None:
    async with (
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        await tell(broker.url, memory)
        alice = memory.resource("alice")
        await alice.thread("t").erase("m2")
        whole = await alice.replay()
        assert (whole.agrees, whole.differences) == (True, ())
        with pytest.raises(NotFound, match="m2"):
            await alice.replay(without_messages=[("t", "m2")])
        left = await alice.replay(without_messages=[("t", "m1")], consequences=False)
        [thread] = [each for each in left.differences if each.kind == "message"]
        assert (thread.thread, thread.message) == ("t", "m1")


async def test_what_if_at_the_command_line(broker: Broker, tmp_path: Path) -> None:
    async with running_engine(broker.url, tmp_path / "engine"):
        async with memfold.connect(broker.url, actor="bot") as memory:
            await tell(broker.url, memory)
        command = ("--nats", broker.url, "replay", "alice")
        whole = await run_memfold(*command)
        assert (whole.code, whole.err) == (0, "")
        assert "it equals what is served" in whole.out
        found = (await run_memfold(*command, "--without-message", "t/m2", "--json")).json()
        assert list(found) == [
            *("resource", "sequence", "events", "left_out", "differences", "agrees")
        ]
        assert [each["why"] for each in found["left_out"]] == [
            *("message", "evidence", "causation", "clone", "clone")
        ]
        shown = await run_memfold(*command, "--without-actor", "gateway", "--thread", "t")
        assert "- /asked: true" in shown.out
        assert "account" not in shown.out
        only = await run_memfold(
            *command, "--without-message", "m2", "--thread", "t", "--only", "--json"
        )
        assert [each["why"] for each in only.json()["left_out"]] == ["message"]
        assert (await run_memfold(*command, "--without", "nothing")).code == 3
        assert (await run_memfold(*command, "--without-message", "t/")).code == 2
        assert (await run_memfold("--nats", broker.url, "replay", "nobody")).code == 3


async def test_a_projection_that_is_not_what_the_log_folds_to_is_told(
    broker: Broker, tmp_path: Path
) -> None:
    """Whoever changes a projection file changes no leaf: only folding again shows it."""
    data = tmp_path / "engine"
    async with (
        running_engine(broker.url, data),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        await (await tell(broker.url, memory)).applied()
    with duckdb.connect(str(data / "generations" / "000001.duckdb")) as file:
        file.execute("UPDATE message SET content = '\"I moved to Bonn\"' WHERE id = 'm1'")
        file.execute("UPDATE working_memory SET revision = 1 WHERE resource = 'alice'")
    async with (
        running_engine(broker.url, data),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        found = await memory.resource("alice").replay()
        assert found.agrees is False
        texts = [
            (each.thread, part.before, part.after)
            for each in found.differences
            for part in each.parts
            if part.path == "/content" and each.message == "m1"
        ]
        assert ("t", "I moved to Berlin", "I moved to Bonn") in texts
        revisions = [part for each in found.differences for part in each.parts]
        assert any(part.path == "/revision" and part.after == 1 for part in revisions)
        ran = await run_memfold("--nats", broker.url, "replay", "alice", "--json")
        assert ran.code == 6
        assert "log_diverged" in ran.err


async def test_what_is_written_meanwhile_is_no_difference(broker: Broker, tmp_path: Path) -> None:
    async with (
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        alice = memory.resource("alice")
        for n in range(20):
            await alice.thread(f"t{n}").append(Message(role="user", content="hi"))

        async def write() -> None:
            for n in range(60):
                await alice.working_memory.merge({"n": n})

        writing = asyncio.create_task(write())
        found = await alice.replay()
        await writing
        assert found.agrees
        assert found.sequence > 20
