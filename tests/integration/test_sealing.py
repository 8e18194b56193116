"""Sealing end to end: no copy of the log has a word of it, and agents read on as before."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

import memfold
from memfold import KeyDirectory, Memory, Message
from memfold.errors import EngineInUse, InvalidRequest, KeyMissing, Parked
from memfold.sealed import keyids
from memfold_consumers import local
from memfold_consumers.settings import EngineSettings
from support.broker import Broker, bare_client, running_broker, stored
from support.bytes_left import columns_with, files_with
from support.engine import running_engine
from support.ran import run_memfold

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SECRET = "xylophone-4711-confidential"
NEAR = "neighbour-0815-stays"


@asynccontextmanager
async def engine(broker: Broker, data: Path, keys: Path | None) -> AsyncGenerator[None]:
    settings = EngineSettings(data=data, head_s=0.1, keys=keys)
    async with running_engine(broker.url, data, settings=settings):
        yield


@asynccontextmanager
async def opened(broker: Broker, directory: Path) -> AsyncGenerator[Memory]:
    """Run an engine and open a client, both with the same keys."""
    async with (
        engine(broker, directory / "engine", directory / "keys"),
        memfold.connect(broker.url, actor="bot", keys=directory / "keys") as memory,
    ):
        yield memory


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as running:
        yield running


async def write_all(memory: Memory) -> None:
    alice, bob = memory.resource("alice"), memory.resource("bob")
    thread = alice.thread("t1")
    await thread.create(title=f"title {SECRET}")
    await thread.append(
        [
            Message(id="m0", role="user", content=f"{SECRET} before"),
            Message(id="m1", role="user", content=f"said {SECRET}"),
            Message(id="m2", role="user", content=f"{SECRET} after", metadata={"n": SECRET}),
        ]
    )
    await thread.update_message("m1", metadata={"note": SECRET})
    await alice.update(metadata={"name": SECRET})
    await bob.working_memory.merge({"city": SECRET})
    await (await alice.working_memory.merge({"city": SECRET}, reason=SECRET)).applied()


async def test_no_copy_of_the_log_has_a_word_and_agents_read_all(
    broker: Broker, tmp_path: Path
) -> None:
    async with opened(broker, tmp_path) as memory:
        await write_all(memory)
        thread = memory.resource("alice").thread("t1")
        assert [m.content for m in await thread.messages()] == [
            f"{SECRET} before",
            f"said {SECRET}",
            f"{SECRET} after",
        ]
        assert SECRET in str(await memory.resource("alice").history())
        assert (await memory.resource("alice").replay()).agrees
        status = await memory.status()
        assert (status["keys"], status["parked"]) == (True, 0)
        for command in (("verify",), ("rebuild", "--from", "stream"), ("verify",)):
            ran = await run_memfold(*command, "--nats", broker.url)
            assert ran.code == 0, ran.err + ran.out
        parquet = ("export", "alice", "--parquet", str(tmp_path / "a.parquet"))
        ran = await run_memfold(*parquet, "--nats", broker.url, "--keys", str(tmp_path / "keys"))
        assert ran.code == 0, ran.err
        assert columns_of(tmp_path / "a.parquet", SECRET) > 0
        async with memfold.connect(broker.url, actor="bot") as without:
            with pytest.raises(KeyMissing, match="MEMFOLD_KEYS"):
                await without.resource("alice").replay()
    await broker.kill()
    assert files_with(tmp_path / "broker", SECRET) == []
    left = {entry.split("/")[0] for entry in files_with(tmp_path / "engine", SECRET)}
    assert left <= {"generations"}
    found = columns_with(tmp_path / "engine", SECRET)
    assert found
    assert [each for each in found if each.startswith("log.duckdb")] == []


def columns_of(file: Path, word: str) -> int:
    import duckdb

    rows = duckdb.read_parquet(str(file)).fetchall()
    return sum(word in str(row) for row in rows)


async def test_plain_and_sealed_events_of_one_resource_make_one_memory(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        opened(broker, tmp_path) as memory,
        memfold.connect(broker.url, actor="plain") as plain,
    ):
        async with asyncio.TaskGroup() as group:
            for n in range(20):
                for each in (memory, plain):
                    group.create_task(merged(each, {f"{each.actor}{n}": n}))
        first = await memory.resource("alice").working_memory.get()
        assert first is not None
        receipt = await memory.resource("alice").working_memory.replace(
            {"n": 1}, expected=first.revision
        )
        assert len(first.content) == 40
        await receipt.applied()
        assert [len(keyids(m.payload)) for m in await read_stream(broker)].count(1) >= 2
        again = await run_memfold("verify", "--nats", broker.url)
        assert again.code == 0, again.out


async def merged(memory: Memory, content: dict[str, Any]) -> None:
    await (await memory.resource("alice").working_memory.merge(content)).applied()


async def read_stream(broker: Broker) -> list[Any]:
    async with bare_client(broker.url) as bare:
        return await stored(bare, "memfold")


async def test_an_engine_without_the_keys_parks_all_and_folds_it_once_it_has_them(
    broker: Broker, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    async with (
        engine(broker, tmp_path / "engine", None),
        memfold.connect(broker.url, actor="bot", keys=keys) as memory,
    ):
        thread = memory.resource("alice").thread("t")
        receipt = await thread.append([Message(role="user", content=f"{SECRET} {n}") for n in "ab"])
        with pytest.raises(Parked) as refused:
            await receipt.applied()
        assert refused.value.reason == "key_missing"
        assert (await thread.snapshot()).parked == 2
        assert not (await memory.status())["keys"]
        details = [each["detail"] for each in await memory.parked("alice")]
        assert all("MEMFOLD_KEYS" in each for each in details)
    async with (
        engine(broker, tmp_path / "engine", keys),
        memfold.connect(broker.url, actor="bot", keys=keys) as memory,
    ):
        ran = await run_memfold("parked", "redrive", "--nats", broker.url, "--json")
        assert [each["outcome"] for each in ran.json()["redriven"]] == ["applied", "applied"]
        thread = memory.resource("alice").thread("t")
        assert [m.content for m in await thread.messages()] == [f"{SECRET} a", f"{SECRET} b"]
        assert await memory.parked() == []
        assert (await run_memfold("verify", "--nats", broker.url)).code == 0


async def test_what_is_altered_or_moved_is_parked_and_its_neighbours_are_not(
    broker: Broker, tmp_path: Path
) -> None:
    async with opened(broker, tmp_path) as memory, bare_client(broker.url) as bare:
        thread = memory.resource("alice").thread("t")
        await (await thread.append(Message(id="m1", role="user", content=SECRET))).applied()
        [event] = [orjson.loads(m.payload) for m in await read_stream(broker)]
        box = event["data"]["sealed"]
        altered = {**event, "id": "e1", "data": {"sealed": "AAAA" + box[4:]}}
        moved = {**event, "id": "e2"}
        form = {**event, "id": "e3", "data": {"message": {}}}
        elsewhere = {name: value for name, value in event.items() if "id" not in name[-2:]}
        elsewhere |= {"id": event["id"], "keyid": event["keyid"]}
        js = bare.jetstream()
        batch = orjson.dumps([altered, moved, form, event])
        await js.publish("memfold.publish.alice.t.messages.bot", batch)
        await js.publish("memfold.publish.alice.t2.messages.bot", orjson.dumps(elsewhere))
        await js.publish("memfold.publish.bob.t.messages.bot", orjson.dumps(elsewhere))
        await (await thread.append(Message(id="m2", role="user", content=NEAR))).applied()
        parked = [(each["index"], each["reason"]) for each in await memory.parked()]
        assert parked == [
            (0, "seal_broken"),
            (1, "seal_broken"),
            (2, "seal_invalid"),
            (0, "seal_broken"),
            (0, "key_missing"),
        ]
        assert [m.id for m in await thread.messages()] == ["m1", "m2"]
        assert (await run_memfold("verify", "--nats", broker.url)).code == 0


async def test_a_second_ingest_adds_nothing(broker: Broker, tmp_path: Path) -> None:
    lines = [
        {
            "specversion": "1.0",
            "id": f"given-{n}",
            "type": "MessageAppended",
            "source": "importer",
            "resourceid": "alice",
            "threadid": "t",
            "data": {"message": {"id": f"m{n}", "role": "user", "content": f"{SECRET} {n}" * 200}},
        }
        for n in range(400)
    ]
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    async with opened(broker, tmp_path) as memory:
        command = ("ingest", "--format", "jsonl", str(file), "--nats", broker.url, "--json")
        keys = ("--keys", str(tmp_path / "keys"))
        first = (await run_memfold(*command, *keys)).json()
        assert (first["added"], first["failed"]) == (400, 0)
        # The stream's deduplication aside: under another seal it is the same event.
        again = await run_memfold(*command, *keys)
        assert (again.json()["added"], again.json()["already_there"]) == (0, 400)
        plain = await run_memfold(*command)
        assert plain.json()["added"] == 0
        assert len(await memory.resource("alice").thread("t").messages()) == 400
        status = await memory.status()
        assert status["parked"] == 0
    await broker.kill()
    assert files_with(tmp_path / "broker", SECRET) == []


async def test_the_same_event_sealed_anew_by_another_process_is_one_event(
    broker: Broker, tmp_path: Path
) -> None:
    """An acknowledgement was lost, and who did not see it publishes again: server and log agree."""
    async with opened(broker, tmp_path) as memory:
        raw = {
            "specversion": "1.0",
            "id": "e1",
            "type": "ResourceUpdated",
            "source": "bot",
            "data": {"metadata": {"name": SECRET}},
        }
        where: dict[str, Any] = {"resource": "alice", "thread": None, "facet": "resource"}
        first = await memory.publish([memory.prepare(raw, **where)])
        async with memfold.connect(broker.url, actor="bot", keys=tmp_path / "keys") as other:
            second = await other.publish([other.prepare(raw, **where)])
            assert (second.duplicate, second.sequence) == (True, first.sequence)
            different = {**raw, "data": {"metadata": {"name": NEAR}}}
            third = await other.publish([other.prepare(different, **where)])
            assert not third.duplicate
            with pytest.raises(Parked) as refused:
                await third.applied()
            assert refused.value.reason == "id_reused"


async def test_what_lands_while_its_key_is_retired_is_published_again_under_the_next(
    broker: Broker, tmp_path: Path
) -> None:
    """Else it could be acknowledged, come after an erasure, and be lost with the key."""
    async with opened(broker, tmp_path) as memory:
        alice = memory.resource("alice")
        await (await alice.working_memory.merge({"n": 0})).applied()
        keys = KeyDirectory(tmp_path / "keys")
        client = memory._client
        publish = client._publisher.publish

        async def late(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            landed = await publish(*arguments, **named)
            client._publisher.publish = publish  # type: ignore[method-assign]
            keys.destroy("alice", keys.retire("alice"))
            return landed

        client._publisher.publish = late  # type: ignore[method-assign]
        state = await alice.working_memory.get()
        assert state is not None
        receipt = await alice.working_memory.merge({"n": 1}, expected=state.revision)
        # The engine may have opened the first one just before its key was destroyed.
        assert await receipt.applied() in {"applied", "duplicate"}
        state = await alice.working_memory.get()
        assert state is not None
        assert state.content == {"n": 1}
        found = [m for m in await read_stream(broker) if m.sequence == receipt.sequence]
        assert keyids(found[0].payload) == {keys.current("alice").id}


async def test_an_attachment_is_never_stored_in_the_clear(broker: Broker, tmp_path: Path) -> None:
    async with opened(broker, tmp_path) as memory:
        thread = memory.resource("alice").thread("t")
        content = [{"type": "file", "data": SECRET.encode() * 4000}]
        with pytest.raises(InvalidRequest, match="not sealed yet"):
            await thread.append(Message(role="user", content=content))
        await thread.append(Message(id="m", role="user", content=content), attach_above=10**6)
        await (await thread.append(Message(role="user", content="after"))).applied()
        assert (await thread.messages())[0].id == "m"
    await broker.kill()
    assert files_with(tmp_path / "broker", SECRET) == []


async def test_a_copy_of_stream_and_log_opens_nowhere_without_the_keys(
    broker: Broker, tmp_path: Path
) -> None:
    async with opened(broker, tmp_path) as memory:
        await write_all(memory)
    await broker.kill()
    shutil.rmtree(tmp_path / "engine" / "generations")
    (tmp_path / "engine" / "generation").unlink()
    await broker.start()
    async with (
        engine(broker, tmp_path / "engine", tmp_path / "other-keys"),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        assert await memory.resource("alice").thread("t1").messages() == []
        assert await memory.resource("alice").working_memory.get() is None
        parked = await memory.parked()
        assert {each["reason"] for each in parked} == {"key_missing"}
        assert len(parked) == 8
    assert files_with(tmp_path / "broker", SECRET) == []
    assert columns_with(tmp_path / "engine", SECRET) == []


async def test_a_local_memory_seals_with_its_engine(tmp_path: Path) -> None:
    data, keys = tmp_path / "data", tmp_path / "keys"
    with pytest.raises(InvalidRequest, match="backups"):
        async with local(data, actor="bot", keys=data / "keys"):
            pass
    async with local(data, actor="bot", keys=keys, linger_s=0) as memory:
        await (await memory.resource("alice").working_memory.merge({"a": SECRET})).applied()
        shown = await run_memfold("show", "alice", "--data", str(data))
        assert SECRET in shown.out
    assert files_with(data / "nats", SECRET) == []


async def test_a_local_engine_without_keys_is_not_joined_with_some(tmp_path: Path) -> None:
    async with local(tmp_path / "data", actor="bot", linger_s=0):
        with pytest.raises(EngineInUse, match="without keys"):
            async with local(tmp_path / "data", actor="bot", keys=tmp_path / "keys"):
                pass
