"""Rebuild of a real engine: beside the live one, compared with it, in its place."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import duckdb
import pytest
from nats.aio.client import Client

import memfold
from memfold import Memory, Message
from memfold.jetstream import api
from memfold_projections.log import Log
from memfold_projections.store import Store
from support.broker import Broker, bare_client, running_broker
from support.engine import running_engine
from support.jobs import run_job

pytestmark = pytest.mark.integration


@asynccontextmanager
async def memory_at(broker: Broker, engine: Path) -> AsyncGenerator[tuple[Memory, Client]]:
    async with (
        running_engine(broker.url, engine),
        memfold.connect(broker.url, actor="bot") as memory,
        bare_client(broker.url) as connection,
    ):
        yield memory, connection


async def write(memory: Memory, count: int) -> None:
    alice = memory.resource("alice")
    thread = alice.thread("t")
    for number in range(count):
        await thread.append(Message(id=f"m{number}", role="user", content=f"text {number}"))
    await (await alice.working_memory.merge({"city": "Berlin"})).applied()


@contextmanager
def opened(path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(str(path))
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    return tmp_path / "engine"


@pytest.mark.parametrize("source", ["log", "stream"])
async def test_a_rebuild_takes_the_live_ones_place(engine: Path, source: str) -> None:
    """Whether from the log or the stream: it finds the same content, and serves from then on."""
    async with (
        running_broker(engine.parent / "broker") as broker,
        memory_at(broker, engine) as (memory, connection),
    ):
        await write(memory, 30)
        thread = memory.resource("alice").thread("t")
        before = await thread.snapshot(last=20)
        found = await run_job(connection, engine, "rebuild", **{"from": source})
        assert (found["same"], found["differences"]) == (True, [])
        assert (found["before"], found["generation"], found["from"]) == (1, 2, source)
        assert (found["events"], found["messages"], found["sequence"]) == (31, 31, 31)
        assert found["per_second"] > 0
        assert await thread.snapshot(last=20) == before
        assert (await memory.status())["generation"] == 2
        await thread.append(Message(id="later", role="user", content="later"))
        assert [m.id for m in (await thread.snapshot(last=1)).messages] == ["later"]
    store = Store(engine, "memfold")
    assert (store.number, store.kept, store.sequence) == (2, 1, 32)
    store.close()


@pytest.mark.parametrize("source", ["log", "stream"])
async def test_a_rebuild_after_an_erasure_finds_the_same(engine: Path, source: str) -> None:
    """Of the stream's holes it takes what their records left, with the leaves that stay."""
    async with (
        running_broker(engine.parent / "broker") as broker,
        memory_at(broker, engine) as (memory, connection),
    ):
        await write(memory, 5)
        thread = memory.resource("alice").thread("t")
        await thread.append([Message(id=f"b{n}", role="user", content="b") for n in range(3)])
        await thread.erase(message="m2", reason="asked")
        await thread.erase(message="b1", reason="asked")
        await run_job(connection, engine, "rebuild", **{"from": source})
        found = await run_job(connection, engine, "rebuild", **{"from": source})
        assert (found["same"], found["differences"]) == (True, [])
        ids = [message.id for message in await thread.messages()]
        assert ids == ["m0", "m1", "m3", "m4", "b0", "b2"]


async def test_a_spoilt_projection_is_told_and_replaced_and_can_be_gone_back_to(
    engine: Path,
) -> None:
    """Changed, deleted and added rows are counted by table; the log's content is served."""
    async with running_broker(engine.parent / "broker") as broker:
        async with memory_at(broker, engine) as (memory, _):
            await write(memory, 10)
        with opened(engine / "generations" / "000001.duckdb") as file:
            file.execute("UPDATE message SET content = '\"spoilt\"' WHERE id = 'm3'")
            file.execute("DELETE FROM seen WHERE sequence = 5")
            file.execute("INSERT INTO outcome VALUES (2, 0, 'rejected', 'x', '', NULL, NULL)")
        async with memory_at(broker, engine) as (memory, connection):
            thread = memory.resource("alice").thread("t")

            async def third() -> object:
                found = (await thread.messages())[3]
                return found.content

            assert await third() == "spoilt"
            found = await run_job(connection, engine, "rebuild")
            assert found["same"] is False
            assert found["differences"] == [
                {"table": "message", "only_before": 1, "only_after": 1},
                {"table": "outcome", "only_before": 1, "only_after": 0},
                {"table": "seen", "only_before": 0, "only_after": 1},
            ]
            assert await third() == "text 3"
            await thread.append(Message(id="later", role="user", content="later"))
            back = await run_job(connection, engine, "rebuild", rollback=True)
            assert (back["generation"], back["before"], back["from"]) == (1, 2, "kept")
            assert (back["same"], back["messages"]) == (None, 1)
            assert await third() == "spoilt"
            assert [m.id for m in (await thread.snapshot(last=1)).messages] == ["later"]


async def test_a_stream_that_is_not_the_log_stops_the_rebuild(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sequence that differs is named, and the live projection stays in use."""
    own = Log.leaves

    def spoilt(log: Log, after: int, upto: int) -> dict[int, bytes]:
        return own(log, after, upto) | {4: b"x", 7: b"x"}

    async with (
        running_broker(engine.parent / "broker") as broker,
        memory_at(broker, engine) as (memory, connection),
    ):
        await write(memory, 10)
        monkeypatch.setattr(Log, "leaves", spoilt)
        found = await run_job(connection, engine, "rebuild", **{"from": "stream"})
        assert found["code"] == "log_diverged"
        assert "message 4 " in found["message"]
        status = await memory.status()
        assert (status["generation"], status["state"]) == (1, "folding")
    assert [path.name for path in (engine / "generations").glob("*.duckdb")] == ["000001.duckdb"]


async def test_an_engine_that_has_halted_is_rebuilt_all_the_same(engine: Path) -> None:
    """Its projection is compared with its log; that it no longer folds is another matter."""
    async with running_broker(engine.parent / "broker") as broker:
        async with memory_at(broker, engine) as (memory, connection):
            await write(memory, 10)
            await api(connection, "STREAM.DELETE.memfold")
        async with memory_at(broker, engine) as (memory, connection):
            assert (await memory.status())["state"] == "halted"
            found = await run_job(connection, engine, "rebuild")
            assert (found["same"], found["sequence"]) == (True, 11)


async def test_a_rebuild_refuses_what_it_does_not_know(engine: Path) -> None:
    """And without a generation to go back to, it says that."""
    async with (
        running_broker(engine.parent / "broker") as broker,
        memory_at(broker, engine) as (memory, connection),
    ):
        await write(memory, 1)
        for arguments in ({"from": "air"}, {"rollback": 1}, {"depth": 3}):
            found = await run_job(connection, engine, "rebuild", **arguments)
            assert found["code"] == "invalid_request"
        found = await run_job(connection, engine, "rebuild", rollback=True)
        assert found["code"] == "not_found"
