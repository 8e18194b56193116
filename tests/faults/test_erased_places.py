"""What stands where something was erased: forged, missing or put back, verify names its place."""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

import memfold
from memfold import Memory, Message
from memfold.erasing import Eraser
from memfold.jetstream import erase_message
from memfold_consumers.settings import EngineSettings
from support.broker import running_broker
from support.engine import running_engine
from support.ran import run_memfold
from support.verifying import places, verify

pytestmark = pytest.mark.faults

PART = 2
"""A batch of three, of which the middle one was erased."""
WHOLE = 4
"""A message that was erased as a whole."""


@dataclass
class World:
    """A broker's and an engine's directory, both stopped."""

    root: Path

    @property
    def engine(self) -> Path:
        return self.root / "engine"

    @asynccontextmanager
    async def running(self, engine: str = "engine") -> AsyncGenerator[Memory]:
        settings = EngineSettings(data=self.root / engine, head_s=0.1)
        (self.root / "broker").mkdir(parents=True, exist_ok=True)
        async with (
            running_broker(self.root / "broker") as broker,
            running_engine(broker.url, self.root / engine, settings=settings),
            memfold.connect(broker.url, actor="officer") as memory,
        ):
            yield memory

    async def report(self) -> dict[str, Any]:
        async with self.running() as memory:
            return await verify(memory)

    def change(self, *statements: str) -> None:
        """Change the log, and have a new generation folded from that."""
        with duckdb.connect(str(self.engine / "log.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)
        shutil.rmtree(self.engine / "generations")
        (self.engine / "generation").unlink()


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    async with made.running() as memory:
        thread = memory.resource("alice").thread("t")
        await thread.create()
        await thread.append(
            [Message(id=f"m{n}", role="user", content=f"true {n}") for n in range(3)]
        )
        await memory.resource("bob").working_memory.merge({"city": "Bonn"})
        await thread.append(Message(id="alone", role="user", content="alone"))
        await (await memory.resource("bob").working_memory.merge({"age": 5})).applied()
        await thread.erase("m1")
        await thread.erase("alone")
        report = await verify(memory)
        assert report["findings"] == []
        assert [each["sequence"] for each in report["erasures"]] == [6, 10]
    return made


FORGED = base64.b64encode(
    orjson.dumps(
        {
            "specversion": "1.0",
            "id": "forged",
            "type": "MessageAppended",
            "source": "officer",
            "data": {"message": {"id": "forged", "role": "user", "content": "I owe mallory"}},
        }
    )
).decode()


FORGED_WORDS = """
UPDATE event SET payload = encode(replace(decode(payload), 'true 2', 'false 2')) WHERE sequence = 2
"""
FORGED_ACTOR = """
UPDATE event SET subject = replace(subject, 'officer', 'other') WHERE sequence = 2
"""
PUT_IN = """
INSERT INTO event SELECT 4, time_ns, time_us, subject, msg_id, payload, true
FROM event WHERE sequence = 2
"""
CHANGES = {
    "words": (FORGED_WORDS, ("event_changed", PART)),
    "actor": (FORGED_ACTOR, ("event_changed", PART)),
    "server's time": (
        "UPDATE event SET time_ns = time_ns + 1 WHERE sequence = 2",
        ("event_changed", PART),
    ),
    "time": ("UPDATE event SET time_us = time_us + 1 WHERE sequence = 2", ("event_changed", PART)),
    "time of the next": (
        "UPDATE event SET time_us = time_us + 1 WHERE sequence = 5",
        ("event_changed", WHOLE + 1),
    ),
    "no survivors": ("DELETE FROM event WHERE sequence = 2", ("event_missing", PART)),
    "put in": (PUT_IN, ("event_changed", WHOLE)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_an_erasure_left_is_what_its_records_say(world: World, change: str) -> None:
    statement, place = CHANGES[change]
    world.change(statement)
    assert place in places(await world.report())


async def test_a_record_of_deletions_explains_only_what_its_erasure_covers(world: World) -> None:
    """Nobody can announce holes without an erasure, for another resource, or for the future."""
    async with world.running() as memory:
        client = memory._client.connection.client
        for actor, resource, erasure in (
            ("mallory", "mallory", 1),
            ("officer", "mallory", 6),
            ("mallory", "alice", 6),
        ):
            record = {"erasure": erasure, "sequences": [[1, 1_000_000]]}
            body = event("Redacted", record, actor)
            await client.request(f"memfold.publish.{resource}._.erasure.{actor}", body)
        bob = memory.resource("bob")
        receipt = await bob.working_memory.merge({"later": 1})
        await receipt.applied()
        for sequence in (3, receipt.sequence):
            assert await erase_message(memory._client.connection, "memfold", sequence)
        report = await verify(memory)
        found = places(report)
        assert {("stream_missing", 3), ("stream_missing", receipt.sequence)} <= found
        assert report["counts"]["erasure_unfounded"] == 3
    assert receipt.sequence == 16
    world.change("DELETE FROM event WHERE sequence IN (3, 16)")
    found = places(await world.report())
    assert {("event_missing", 3), ("event_missing", receipt.sequence)} <= found


async def test_nobody_is_made_to_say_what_they_did_not(world: World) -> None:
    """A forged survivor changes nothing for an engine that comes later, and is reported."""
    inner = "memfold.events.3.alice.t.messages.officer"
    async with world.running() as memory:
        client = memory._client.connection.client
        for actor, resource, thread, erasure, position in (
            ("mallory", "mallory", "_", 6, [PART, 1]),
            ("mallory", "alice", "t", 6, [PART, 1]),
            ("officer", "bob", "_", 6, [3, 1]),
            ("officer", "alice", "t", 99, [PART, 1]),
        ):
            data = {
                "erasure": erasure,
                "position": position,
                "subject": inner,
                "time_ns": 1,
                "event": FORGED,
            }
            body = event("Restated", data, actor)
            await client.request(f"memfold.publish.{resource}.{thread}.erasure.{actor}", body)
        before = [each.id for each in await memory.resource("alice").thread("t").messages()]
        report = await verify(memory)
        assert report["counts"] == {"erasure_unfounded": 4}
        last = report["size"]
    async with world.running("new") as memory:
        while (await memory.status())["checkpoint"] < last:
            pass
        after = [each.id for each in await memory.resource("alice").thread("t").messages()]
    assert before == after == ["m0", "m2"]


async def test_a_rebuild_from_the_stream_brings_nothing_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erasure that was cut off left the stream's messages; the engine has dropped its own."""

    async def died(*_: object) -> None:
        raise ConnectionError

    async with world.running() as memory:
        thread = memory.resource("alice").thread("t")
        said = await thread.append(
            [Message(id=f"s{n}", role="user", content=f"secret {n}") for n in range(2)]
        )
        with monkeypatch.context() as patch:
            patch.setattr(Eraser, "_delete", died)
            with pytest.raises(ConnectionError):
                await thread.erase("s0")
        while not (await memory.erasures())[-1]["completed"]:
            await thread.get()
        url = memory._client.connection.client.connected_url
        assert url is not None
        ran = await run_memfold("rebuild", "--from", "stream", "--nats", url.geturl(), "--json")
        assert (ran.code, ran.json()["same"]) == (0, True)
        past = await thread.messages(as_of=said.sequence)
        assert [each.id for each in past][-1] == "s1"
        report = await verify(memory)
        erasure = (await memory.erasures())[-1]["sequence"]
        assert places(report) == {("erasure_unfinished", erasure)}
        await thread.erase("s0")
        assert (await verify(memory))["findings"] == []


def event(type_: str, data: dict[str, Any], actor: str) -> bytes:
    """Return an event as any program could publish it."""
    name = hashlib.sha256(f"{actor} {data}".encode()).hexdigest()
    body = {"specversion": "1.0", "id": name, "type": type_, "source": actor, "data": data}
    return orjson.dumps(body)
