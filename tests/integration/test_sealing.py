"""Sealing end to end: no copy of the log has a word of it, and agents read on as before."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

import memfold
from memfold import Attachment, KeyDirectory, Memory, Message, MessageView
from memfold.erased_keys import ErasedKeys
from memfold.erasing import Eraser
from memfold.erasure_search import matching
from memfold.errors import EngineInUse, InvalidRequest, KeyMissing, Parked, StorageError
from memfold.sealed import keyids
from memfold_consumers import local
from memfold_consumers.settings import EngineSettings
from memfold_projections.content import content_digests
from memfold_projections.store import Store
from support.broker import Broker, bare_client, running_broker, stored
from support.bytes_left import columns_with, files_with
from support.engine import running_engine
from support.proxy import Cut, running_proxy
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
        assert sum(bool(keyids(m.payload)) for m in await read_stream(broker)) >= 2
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


@pytest.mark.parametrize("form", ["jsonl", "openai"])
async def test_ids_that_an_ingest_makes_tell_nothing_without_the_key(
    broker: Broker, tmp_path: Path, form: str
) -> None:
    data = {"message": {"id": "m1", "role": "user", "content": SECRET}}
    line = {"specversion": "1.0", "type": "MessageAppended", "source": "importer", "data": data}
    saved = {"id": "t", "messages": [{"id": "m1", "role": "user", "content": SECRET}]}
    file = tmp_path / "input"
    lines = {"jsonl": {**line, "resourceid": "alice", "threadid": "t"}, "openai": saved}
    file.write_bytes(orjson.dumps(lines[form]))
    async with opened(broker, tmp_path) as memory:
        command = ["ingest", "--format", form, str(file), "--nats", broker.url, "--json"]
        command += ["--resource", "alice"] if form == "openai" else []
        keys = ("--keys", str(tmp_path / "keys"))
        ran = [(await run_memfold(*command, *keys)).json() for _ in range(2)]
        added = ran[0]["added"]
        assert added >= 1
        assert (ran[1]["added"], ran[1]["already_there"]) == (0, added)
        sealed = {orjson.loads(m.payload)["id"] for m in await read_stream(broker)}
        # Without the key, whoever guesses the content gets the plain ids.
        plain = (await run_memfold(*command)).json()
        assert plain["added"] == added
        after = {orjson.loads(m.payload)["id"] for m in await read_stream(broker)}
        assert len(sealed) == added
        assert len(after) == 2 * added
        assert [m.content for m in await memory.resource("alice").thread("t").messages()] == [
            SECRET
        ]


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


@pytest.mark.parametrize("with_expected", [False, True])
async def test_a_publish_whose_acknowledgement_was_lost_is_one_event(
    broker: Broker, tmp_path: Path, *, with_expected: bool
) -> None:
    keys = tmp_path / "keys"
    async with (
        engine(broker, tmp_path / "engine", keys),
        running_proxy(broker.url) as proxy,
        memfold.connect(proxy.url, actor="bot", keys=keys) as memory,
    ):
        working = memory.resource("alice").working_memory
        first = await working.merge({"n": 1})
        proxy.cuts = [Cut("client", b'"stream":"memfold"')]
        expected = first.sequence if with_expected else None
        second = await working.merge({"n": 2}, expected=expected)
        assert await second.applied() == "applied"
        assert second.sequence == first.sequence + 1
        assert len(await read_stream(broker)) == 2


@pytest.mark.parametrize("destroyed_at_once", [True, False])
async def test_what_lands_while_its_key_is_retired_is_published_again_under_the_next(
    broker: Broker, tmp_path: Path, destroyed_at_once: bool
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
            retired = keys.retire("alice")
            if destroyed_at_once:
                keys.destroy("alice", retired)
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
        assert keyids(found[0].payload) == [keys.current("alice").id]


async def blob_names(broker: Broker) -> set[str]:
    """Return the names under which attachments are stored."""
    async with bare_client(broker.url) as bare:
        return {message.subject.split(".")[3] for message in await stored(bare, "memfold-blob")}


def parts_of(message: MessageView) -> list[Any]:
    """Return the parts of a message's content."""
    assert isinstance(message.content, list)
    return message.content


async def test_attachments_are_sealed_stored_once_swept_and_erased(
    broker: Broker, tmp_path: Path
) -> None:
    data = SECRET.encode() * 50_000
    content = [{"type": "file", "data": Attachment(data, "image/png")}]
    async with opened(broker, tmp_path) as memory:
        alice = memory.resource("alice")
        for thread, message in (("t", "m1"), ("t", "m2"), ("other", "m3")):
            given = Message(id=message, role="user", content=content)
            await (await alice.thread(thread).append(given)).applied()
        [first, _] = await alice.thread("t").messages()
        reference: Any = parts_of(first)[0]["data"]
        assert await alice.attachment(reference) == Attachment(data, "image/png")
        resolved = await alice.resolve(first)
        assert parts_of(resolved)[0]["data"] == Attachment(data, "image/png").data_uri()
        [name] = await blob_names(broker)
        assert name == reference["attachment"]["sha256"] != hashlib.sha256(data).hexdigest()
        async with memfold.connect(broker.url, actor="bot") as without:
            with pytest.raises(KeyMissing, match="keys="):
                await without.resource("alice").attachment(reference)
        with pytest.raises(InvalidRequest, match="another resource"):
            await alice.thread("t").clone("t", resource="bob")
        await alice.thread("t").clone("cloned")
        swept = await run_memfold("sweep", "--older-than", "0s", "--json", "--nats", broker.url)
        assert (swept.json()["attachments"], swept.json()["orphans"]) == (1, 0)
        assert (await alice.thread("t").erase("m1")).chunks == 0
        assert await blob_names(broker) == {name}
        await broker_files_hold_nothing(broker, tmp_path)
        assert (await alice.erase()).chunks > 0
        assert await blob_names(broker) == set()


async def broker_files_hold_nothing(broker: Broker, tmp_path: Path) -> None:
    await broker.kill()
    assert files_with(tmp_path / "broker", SECRET) == []
    await broker.start()


async def test_no_attachment_is_swept_while_some_events_cannot_be_opened(
    broker: Broker, tmp_path: Path
) -> None:
    content = [{"type": "file", "data": SECRET.encode() * 2000}]
    async with (
        engine(broker, tmp_path / "engine", None),
        memfold.connect(broker.url, actor="bot", keys=tmp_path / "keys") as memory,
    ):
        for name in ("alice", "bob"):
            thread = memory.resource(name).thread("t")
            receipt = await thread.append(Message(id="m", role="user", content=content))
            with pytest.raises(Parked):
                await receipt.applied()
        swept = await run_memfold("sweep", "--older-than", "0s", "--json", "--nats", broker.url)
        assert (swept.json()["attachments"], swept.json()["orphans"]) == (2, 0)
        assert len(await blob_names(broker)) == 2


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


async def test_a_message_of_a_sealed_batch_goes_and_its_neighbours_stay(
    broker: Broker, tmp_path: Path
) -> None:
    async with opened(broker, tmp_path) as memory:
        thread = memory.resource("alice").thread("t")
        await thread.append(
            [
                Message(id="m0", role="user", content=NEAR),
                Message(id="m1", role="user", content=SECRET),
                Message(id="m2", role="user", content=f"{NEAR} after"),
            ]
        )
        await thread.update_message("m1", metadata={"note": SECRET})
        before = [m for m in await thread.messages() if m.id != "m1"]
        async with memfold.connect(broker.url, actor="bot") as without:
            sequence = (await without.status())["stream"]["last_sequence"]
            with pytest.raises(KeyMissing, match="MEMFOLD_KEYS"):
                await without.resource("alice").thread("t").erase("m1")
            assert (await without.status())["stream"]["last_sequence"] == sequence
        report = await thread.erase("m1")
        assert (report.messages, report.events, report.restated, report.keys) == (2, 2, 2, 0)
        assert await thread.messages() == before
        for command in (("rebuild", "--from", "stream"), ("verify",)):
            ran = await run_memfold(*command, "--nats", broker.url)
            assert ran.code == 0, ran.err + ran.out
        assert await thread.messages() == before
        again = await thread.erase("m2")
        assert (again.messages, again.restated) == (1, 1)
        assert [m.id for m in await thread.messages()] == ["m0"]
        async with (
            engine(broker, tmp_path / "two", tmp_path / "keys"),
            memfold.connect(broker.url, actor="bot") as other,
        ):
            await settled(other, 2)
    assert columns_with(tmp_path / "engine", SECRET) == []
    assert columns_with(tmp_path / "two", SECRET) == []
    same_in_both(tmp_path, "engine", "two")


async def settled(memory: Memory, engines: int) -> None:
    """Wait until every erasure was completed by so many engines, and all are at the end."""
    at: dict[str, int] = {}
    async with asyncio.timeout(60):
        while True:
            status = await memory.status()
            at[status["engine"]] = status["checkpoint"]
            told = [len(each["completed"]) for each in await memory.erasures()]
            last = status["stream"]["last_sequence"]
            if min(told) >= engines and list(at.values()) == [last] * engines:
                return
            await asyncio.sleep(0.02)


def same_in_both(directory: Path, *names: str) -> None:
    """Hold the files of two engines against each other: content, log, leaves."""
    keys = KeyDirectory(directory / "keys")
    stores = [Store(directory / name, "memfold", keys=keys) for name in names]
    try:
        one, other = stores
        assert one.sequence == other.sequence
        assert content_digests(one.generation) == content_digests(other.generation)
        logs = [[m for page in store.log.read(0) for m in page] for store in stores]
        assert logs[0] == logs[1]
        assert one.log.tail(10_000) == other.log.tail(10_000)
    finally:
        for store in stores:
            store.close()


async def test_an_engine_without_the_key_waits_with_one_message_and_erases_all_else(
    broker: Broker, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    async with opened(broker, tmp_path) as memory:
        for name in ("alice", "bob"):
            thread = memory.resource(name).thread("t")
            await thread.append([Message(id=n, role="user", content=SECRET) for n in "ab"])
        await memory.resource("alice").thread("t").erase("a")
        await memory.resource("bob").erase()
    async with (
        engine(broker, tmp_path / "two", None),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        own = (await memory.status())["engine"]
        async with asyncio.timeout(60):
            while not await completed(memory, own, "bob"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not await completed(memory, own, "alice")
    async with (
        engine(broker, tmp_path / "two", keys),
        memfold.connect(broker.url, actor="bot", keys=keys) as memory,
    ):
        async with asyncio.timeout(60):
            while not await completed(memory, own, "alice"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def completed(memory: Memory, engine_id: str, resource: str) -> bool:
    found = await memory.erasures(resource)
    return all(engine_id in {each["engine"] for each in one["completed"]} for one in found)


async def backup(broker: Broker, tmp_path: Path) -> None:
    await broker.kill()
    for name in ("broker", "engine"):
        shutil.copytree(tmp_path / name, tmp_path / "backup" / name)
    await broker.start()


async def test_an_erased_resource_opens_nowhere_not_even_in_a_backup(
    broker: Broker, tmp_path: Path
) -> None:
    async with opened(broker, tmp_path) as memory:
        await write_all(memory)
    await backup(broker, tmp_path)
    keys = KeyDirectory(tmp_path / "keys")
    first = keys.current("alice")
    async with opened(broker, tmp_path) as memory:
        alice = memory.resource("alice")
        report = await alice.erase(reason="asked for")
        assert (report.keys, report.messages) == (1, 5)
        assert "opens nowhere" not in str(report.remains)
        assert any("open nowhere any more" in each for each in report.remains)
        assert keys.find("alice", first.id) is None
        await (await alice.working_memory.merge({"city": NEAR})).applied()
        assert keys.current("alice") != first
        assert (await memory.resource("bob").working_memory.get()) is not None
        ran = await run_memfold("verify", "--nats", broker.url)
        assert ran.code == 0, ran.out
        assert (await memory.status())["parked"] == 0
        nothing = await alice.thread("never").erase()
        assert nothing.keys == 0
    await broker.kill()
    for name in ("broker", "engine"):
        shutil.rmtree(tmp_path / name)
        shutil.copytree(tmp_path / "backup" / name, tmp_path / name)
    # A backup is of stream and log; generations hold what was opened.
    shutil.rmtree(tmp_path / "engine" / "generations")
    await broker.start()
    async with opened(broker, tmp_path) as memory:
        alice = memory.resource("alice")
        assert {each["reason"] for each in await memory.parked("alice")} == {"key_missing"}
        assert await alice.thread("t1").messages() == []
        assert await alice.working_memory.get() is None
        bob = await memory.resource("bob").working_memory.get()
        assert bob is not None
        assert bob.content == {"city": SECRET}


async def test_an_erasure_without_keys_says_that_they_are_still_there(
    broker: Broker, tmp_path: Path
) -> None:
    """Only the eraser can retire them before its record: the current one may be of what follows."""
    async with opened(broker, tmp_path) as memory:
        await write_all(memory)
        keys = KeyDirectory(tmp_path / "keys")
        first = keys.current("alice")
        async with memfold.connect(broker.url, actor="officer") as officer:
            report = await officer.resource("alice").erase()
        assert report.keys == 0
        assert any("erase again with the keys" in each for each in report.remains)
        assert keys.find("alice", first.id) is not None
        assert (await memory.resource("alice").erase()).keys == 1
        assert keys.find("alice", first.id) is None
        await (await memory.resource("alice").working_memory.merge({"n": 1})).applied()
        assert (await memory.status())["parked"] == 0


async def test_a_key_that_something_after_the_erasure_needs_is_kept_and_told(
    broker: Broker, tmp_path: Path
) -> None:
    """A writer with a copy of the keys of its own does not know that its key was retired."""
    async with opened(broker, tmp_path) as memory:
        alice = memory.resource("alice")
        await (await alice.working_memory.merge({"n": 0})).applied()
        shutil.copytree(tmp_path / "keys", tmp_path / "copy")
        first = KeyDirectory(tmp_path / "copy").current("alice")
        publish = memory._client.publish

        async def followed(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            receipt = await publish(*arguments, **named)
            memory._client.publish = publish  # type: ignore[method-assign]
            async with memfold.connect(broker.url, actor="far", keys=tmp_path / "copy") as far:
                await far.resource("alice").working_memory.merge({"far": SECRET})
            return receipt

        memory._client.publish = followed  # type: ignore[method-assign]
        report = await alice.erase()
        assert report.keys == 0
        assert any("kept" in each and "erase again" in each for each in report.remains)
        assert "give all writers" not in str(report.remains)
        assert KeyDirectory(tmp_path / "keys").find("alice", first.id) == first
        state = await alice.working_memory.get()
        assert state is not None
        assert state.content == {"far": SECRET}
        again = await alice.erase()
        assert again.keys >= 1
        assert KeyDirectory(tmp_path / "keys").find("alice", first.id) is None


async def test_an_engine_waits_for_the_directory_of_keys_and_parks_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    place, away = tmp_path / "keys", tmp_path / "away"
    async with (
        engine(broker, tmp_path / "engine", place),
        memfold.connect(broker.url, actor="bot", keys=place) as memory,
    ):
        working = memory.resource("alice").working_memory
        await (await working.merge({"n": 0})).applied()
        shutil.copytree(place, tmp_path / "copy")
        place.rename(away)
        place.mkdir(mode=0o700)
        with pytest.raises(StorageError, match="mount it"):
            await working.merge({"n": 1})
        with pytest.raises(StorageError, match="mount it"):
            await memory.resource("alice").erase()
        async with memfold.connect(broker.url, actor="far", keys=tmp_path / "copy") as far:
            receipt = await far.resource("alice").working_memory.merge({"far": SECRET})
            async with asyncio.timeout(60):
                while "mount it" not in str((await memory.status())["retrying"]):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            place.rmdir()
            away.rename(place)
            async with asyncio.timeout(60):
                while (await memory.status())["checkpoint"] < receipt.sequence:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        state = await working.get()
        assert state is not None
        assert state.content == {"n": 0, "far": SECRET}
        assert (await memory.status())["parked"] == 0


@pytest.mark.parametrize("keys", ["none", "others", "kept"])
async def test_an_erasure_that_destroyed_no_key_says_so(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    async with opened(broker, tmp_path) as memory:
        await write_all(memory)
    found = KeyDirectory(tmp_path / "keys")
    first = found.current("alice")
    given = {"none": None, "others": KeyDirectory(tmp_path / "others"), "kept": found}[keys]
    with monkeypatch.context() as patch:
        patch.setattr(KeyDirectory, "destroy", lambda *_: 0)
        async with (
            engine(broker, tmp_path / "engine", None),
            memfold.connect(broker.url, actor="officer", keys=given) as officer,
        ):
            tried = await officer.resource("alice").erase(dry_run=True)
            assert "was destroyed" not in str(tried.remains)
            report = await officer.resource("alice").erase()
    assert report.keys == 0
    assert any("7 of its events were sealed" in each for each in report.remains), report.remains
    assert "open nowhere" not in str(report.remains)
    assert found.find("alice", first.id) == first
    async with opened(broker, tmp_path) as memory:
        again = await memory.resource("alice").erase()
        assert again.keys == 1
        assert "no key of theirs" not in str(again.remains)


async def test_an_erasure_ends_while_others_write(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(broker, tmp_path) as memory:
        working = memory.resource("alice").working_memory
        await (await working.merge({"n": 0})).applied()
        read = 0

        async def writing(*arguments: Any, **named: Any) -> AsyncIterator[Any]:  # noqa: ANN401
            nonlocal read
            await working.merge({"more": read})
            async for message in matching(*arguments, **named):
                yield message
                read += 1
                assert read < 20, "it runs after the writers for ever"
                await working.merge({"more": read})

        monkeypatch.setattr("memfold.erased_keys.matching", writing)
        report = await memory.resource("alice").erase()
        assert report.keys == 1
        state = await working.get()
        assert state is not None
        assert state.content == {"more": read}
        assert (await memory.status())["parked"] == 0


@pytest.mark.parametrize("step", ["_record", "_delete", "_engines", "destroy"])
async def test_an_erasure_that_dies_at_a_step_is_completed_by_the_next(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Died(Exception):
        pass

    async def dies(*_: object) -> None:
        raise Died

    async with opened(broker, tmp_path) as memory:
        await write_all(memory)
        alice, keys = memory.resource("alice"), KeyDirectory(tmp_path / "keys")
        first = keys.current("alice")
        owner = ErasedKeys if step == "destroy" else Eraser
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, dies)
            with pytest.raises(Died):
                await alice.erase()
        await (await alice.working_memory.merge({"between": SECRET})).applied()
        report = await alice.erase()
        assert report.keys >= 1
        assert keys.find("alice", first.id) is None
        assert await alice.working_memory.get() is None
        await (await alice.working_memory.merge({"n": 1})).applied()
        assert (await memory.status())["parked"] == 0
        assert (await run_memfold("verify", "--nats", broker.url)).code == 0


async def test_writers_meanwhile_lose_nothing_that_was_acknowledged(
    broker: Broker, tmp_path: Path
) -> None:
    async with opened(broker, tmp_path) as memory:
        alice = memory.resource("alice")
        acknowledged: dict[str, int] = {}

        async def write(number: int) -> None:
            async with memfold.connect(
                broker.url, actor=f"w{number}", keys=tmp_path / "keys"
            ) as writer:
                mine = writer.resource("alice").working_memory
                for n in range(60):
                    receipt = await mine.merge({f"{number}.{n}": n})
                    acknowledged[f"{number}.{n}"] = receipt.sequence

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(write(number))
            reports = [await alice.erase() for _ in range(3)]
        state = await alice.working_memory.get()
        last = max(report.erasure for report in reports)
        expected = {key for key, sequence in acknowledged.items() if sequence > last}
        assert set(state.content if state is not None else {}) == expected
        assert (await memory.status())["parked"] == 0


async def test_an_erasure_that_waits_for_a_key_keeps_no_other_one_waiting(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        engine(broker, tmp_path / "engine", None),
        memfold.connect(broker.url, actor="officer", keys=tmp_path / "keys") as sealing,
        memfold.connect(broker.url, actor="bot") as plain,
    ):
        sealed = sealing.resource("alice").thread("t")
        await sealed.append(Message(id="a", role="user", content=SECRET))
        thread = plain.resource("bob").thread("t")
        await (await thread.append(Message(id="b", role="user", content=NEAR))).applied()
        waiting = asyncio.create_task(sealed.erase("a"))
        while not await plain.erasures():
            await asyncio.wait({waiting}, timeout=0.05)
        report = await thread.erase("b")
        assert (report.messages, len(report.engines)) == (1, 1)
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_what_opens_with_no_key_that_is_here_stops_no_erasure(
    broker: Broker, tmp_path: Path
) -> None:
    """Anybody could publish such an event, and nobody who has the keys can read it."""
    async with opened(broker, tmp_path) as memory:
        thread = memory.resource("alice").thread("t")
        await (await thread.append(Message(id="a", role="user", content=SECRET))).applied()
        junk = {
            "specversion": "1.0",
            "id": "junk",
            "type": "MessageAppended",
            "source": "bot",
            "keyid": "0" * 16,
            "data": {"sealed": "A" * 80},
        }
        subject = "memfold.publish.alice.t.messages.bot"
        await memory._client.connection.client.request(subject, orjson.dumps(junk))
        assert (await thread.erase("a")).messages == 1
        assert await thread.messages() == []
        ran = await run_memfold("verify", "--nats", broker.url)
        assert ran.code == 0, ran.out


async def test_without_keys_a_thread_whose_attachments_cannot_be_seen_is_not_erased(
    broker: Broker, tmp_path: Path
) -> None:
    async with opened(broker, tmp_path) as memory:
        thread = memory.resource("alice").thread("t")
        await (await thread.append(Message(id="a", role="user", content=SECRET))).applied()
        async with memfold.connect(broker.url, actor="officer") as officer:
            with pytest.raises(KeyMissing, match="MEMFOLD_KEYS"):
                await officer.resource("alice").thread("t").erase()
        assert await memory.erasures() == []
        assert (await thread.erase()).messages == 1
