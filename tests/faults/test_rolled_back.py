"""Files put back as they once were: noticed at the next start, caught up, told until seen."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import duckdb
import orjson
import pytest

import memfold
from memfold import Memory, Message
from memfold.audit import merkle
from memfold.audit.heads import Head, heads_subject, leaves_subject, read_block, read_head
from memfold.audit.merkle import Tree
from memfold.leaf import leaf_hash
from memfold_consumers.incidents import Incidents
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.ownership import Lease, engine_running
from memfold_consumers.settings import EngineSettings
from memfold_consumers.tree_state import TreeState, write_state
from support.broker import Broker, bare_client, running_broker, stored
from support.engine import running_engine
from support.verifying import places, verify

pytestmark = pytest.mark.faults


async def fill(memory: Memory, first: int, count: int) -> None:
    thread = memory.resource("alice").thread("t")
    receipts = [
        await thread.append(Message(id=f"m{number}", role="user", content="x"))
        for number in range(first, first + count)
    ]
    await receipts[-1].applied()


async def run(broker: Broker | str, data: Path, first: int, count: int) -> None:
    settings = EngineSettings(data=data, head_s=100)
    url = broker if isinstance(broker, str) else broker.url
    async with (
        running_engine(url, data, settings=settings),
        memfold.connect(url, actor="bot") as memory,
    ):
        await fill(memory, first, count)


@pytest.mark.parametrize("tree_file", [True, False])
async def test_a_log_put_back_is_caught_up_and_told_until_it_was_seen(
    tmp_path: Path, *, tree_file: bool
) -> None:
    data, kept = tmp_path / "engine", tmp_path / "kept"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as broker:
        await run(broker, data, 0, 10)
        shutil.copy(data / "log.duckdb", kept)
        await run(broker, data, 10, 10)
        shutil.copy(kept, data / "log.duckdb")
        if not tree_file:
            (data / "tree.json").unlink()
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            await fill(memory, 20, 5)
            report = await verify(memory)
            assert places(report) == {("log_rolled_back", None)}
            assert (
                "it ended at 10 when the engine started, but had 20"
                in (report["findings"][0]["text"])
            )
            assert report["size"] == 25
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert (await verify(memory, quick=True))["ok"] is False
            seen = await verify(memory, quick=True, acknowledge=True)
            assert seen["ok"] is True
            assert [each["acknowledged"] for each in seen["incidents"]] == [True]
            assert (await verify(memory))["ok"] is True


async def test_a_whole_directory_put_back_is_seen_by_the_heads_it_has_published(
    tmp_path: Path,
) -> None:
    data, kept = tmp_path / "engine", tmp_path / "kept"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as broker:
        await run(broker, data, 0, 10)
        shutil.copytree(data, kept)
        await run(broker, data, 10, 10)
        shutil.rmtree(data)
        shutil.copytree(kept, data)
        await run(broker, data, 20, 5)
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert places(await verify(memory)) == {("log_rolled_back", None), ("head_missing", 20)}
            assert (await verify(memory, acknowledge=True))["ok"] is True
            await fill(memory, 25, 5)
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert (await verify(memory))["ok"] is True


async def test_a_whole_directory_put_back_is_seen_though_another_engine_published_last(
    tmp_path: Path,
) -> None:
    data, kept = tmp_path / "engine", tmp_path / "kept"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as broker:
        await run(broker, data, 0, 10)
        shutil.copytree(data, kept)
        await run(broker, data, 10, 10)
        await run(broker, tmp_path / "other", 20, 5)
        shutil.rmtree(data)
        shutil.copytree(kept, data)
        await run(broker, data, 25, 5)
    [incident] = Incidents(data).read()
    assert incident["kind"] == "log_rolled_back"
    assert "it ended at 10 when the engine started, but had 20" in incident["text"]


@pytest.mark.parametrize("name", ["leaves_place", "heads_place", "peaks"])
async def test_a_wrong_tree_file_is_read_from_the_stream_again(tmp_path: Path, name: str) -> None:
    data = tmp_path / "engine"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as broker:
        await run(broker, data, 0, 10)
        await run(broker, data, 10, 10)
        state = orjson.loads((data / "tree.json").read_bytes())
        if name == "peaks":
            state["published"]["tree"]["peaks"][0] = "0" * 64
        else:
            state["published"][name] = 1
        (data / "tree.json").write_bytes(orjson.dumps(state))
        settings = EngineSettings(data=data, head_s=0.01)
        async with (
            running_engine(broker.url, data, settings=settings),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            if name != "peaks":
                await fill(memory, 20, 10)
            report = await verify(memory)
            assert report["findings"] == []
            async with asyncio.timeout(20):
                while (await memory.status())["audit"]["root"] != report["root"]:  # noqa: ASYNC110 - another task
                    await asyncio.sleep(0.01)


DENIED = """authorization { users: [
  { user: engine, password: e, permissions: { publish: { deny: "memfold.audit.>" } } } ] }"""


async def test_heads_that_an_outage_and_a_kill_left_behind_are_published_as_the_file_has_them(
    tmp_path: Path,
) -> None:
    """It died behind the line of a head, before ``tree.json`` was written."""
    data = tmp_path / "engine"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker", DENIED) as broker:
        refused = broker.url.replace("nats://", "nats://engine:e@")
        await run(refused, data, 0, 10)
        await run(refused, data, 10, 10)
    tree = Tree()
    with duckdb.connect(str(data / "log.duckdb")) as log:
        leaves = log.execute("SELECT hash FROM leaf WHERE sequence <= 10 ORDER BY sequence")
        tree.extend(row[0] for row in leaves.fetchall())
    write_state(data, TreeState(tree, generation=1, checkpoint=10, head=10))
    async with running_broker(tmp_path / "broker") as broker:
        await run(broker, data, 20, 10)
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert (await verify(memory))["findings"] == []


async def test_a_generation_put_back_is_told_and_one_that_was_deleted_is_not(
    tmp_path: Path,
) -> None:
    data, kept = tmp_path / "engine", tmp_path / "kept"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as broker:
        await run(broker, data, 0, 10)
        shutil.copytree(data / "generations", kept)
        await run(broker, data, 10, 10)
        shutil.rmtree(data / "generations")
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert (await verify(memory))["ok"] is True
        shutil.rmtree(data / "generations")
        shutil.copytree(kept, data / "generations")
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert places(await verify(memory)) == {("generation_rolled_back", None)}


async def test_a_file_of_heads_that_was_cut_is_told_and_a_torn_line_is_not(tmp_path: Path) -> None:
    data = tmp_path / "engine"
    path = data / "heads.ndjson"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as broker:
        await run(broker, data, 0, 10)
        whole = path.read_bytes()
        path.write_bytes(whole + b'{"size": 99, "ro')
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert (await verify(memory))["ok"] is True
            assert path.read_bytes() == whole
            await fill(memory, 10, 10)
        assert [read_head(line).size for line in path.read_bytes().splitlines()] == [10, 20]
        path.write_bytes(whole)
        async with (
            running_engine(broker.url, data),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            assert places(await verify(memory)) == {
                ("heads_rolled_back", None),
                ("head_missing", 20),
            }


async def test_what_cannot_be_published_holds_up_neither_fold_nor_file(tmp_path: Path) -> None:
    """Here the server refuses it; `status` says so."""
    data = tmp_path / "engine"
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker", DENIED) as broker:
        url = broker.url.replace("nats://", "nats://engine:e@")
        settings = EngineSettings(data=data, head_s=0.01)
        async with (
            running_engine(url, data, settings=settings),
            memfold.connect(url, actor="bot") as memory,
        ):
            await fill(memory, 0, 10)
            async with asyncio.timeout(30):
                while (status := (await memory.status())["audit"])["error"] is None:  # noqa: ASYNC110 - another task
                    await asyncio.sleep(0.05)
            assert "publish" in status["error"]
            assert status["lag"] == 10
            await fill(memory, 10, 10)
        lines = (data / "heads.ndjson").read_bytes().splitlines()
        assert read_head(lines[-1]).size == 20


@pytest.mark.timeout(240)
async def test_an_engine_killed_again_and_again_loses_and_doubles_no_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever between file, leaves and head it dies."""
    monkeypatch.setenv("MEMFOLD_HEAD_S", "0.002")
    data = tmp_path / "data"
    lease = Lease(data)
    for number in range(8):
        info = await ensure_engine(data)
        async with memfold.connect(info.url, actor="bot") as memory:
            await fill(memory, number * 20, 20 + number)
        os.kill(info.pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while engine_running(data):  # noqa: ASYNC110 - another process.
                await asyncio.sleep(0.01)
    info = await ensure_engine(data)
    async with memfold.connect(info.url, actor="bot") as memory:
        report = await verify(memory)
        async with asyncio.timeout(30):
            while (await memory.status())["audit"]["lag"]:  # noqa: ASYNC110 - another process.
                await asyncio.sleep(0.01)
    assert report["findings"] == []
    async with bare_client(info.url) as bare:
        leaves: list[bytes] = []
        heads: list[Head] = []
        for message in await stored(bare, "memfold-audit"):
            if message.subject == leaves_subject("memfold"):
                first, block = read_block(message.payload)
                assert first == len(leaves) + 1
                leaves += block
            else:
                assert message.subject == heads_subject("memfold")
                heads.append(read_head(message.payload))
        assert leaves == [leaf_hash(message) for message in await stored(bare, "memfold")]
    sizes = [head.size for head in heads]
    assert sizes == sorted(set(sizes))
    assert [head.root for head in heads] == [merkle.root(leaves[:size]) for size in sizes]
    lines = [read_head(line) for line in (data / "heads.ndjson").read_bytes().splitlines()]
    assert [head.size for head in lines] == sorted({head.size for head in lines})
    lease.close()
