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


async def test_a_stream_that_is_not_the_log_stops_the_rebuild(engine: Path) -> None:
    """The first sequence that differs is named, and the live projection stays in use."""
    async with running_broker(engine.parent / "broker") as broker:
        async with memory_at(broker, engine) as (memory, _):
            await write(memory, 10)
        with opened(engine / "log.duckdb") as file:
            file.execute("UPDATE leaf SET hash = 'x'::BLOB WHERE sequence IN (4, 7)")
        async with memory_at(broker, engine) as (memory, connection):
            found = await run_job(connection, engine, "rebuild", **{"from": "stream"})
            assert found["code"] == "log_diverged"
            assert "message 4 " in found["message"]
            status = await memory.status()
            assert (status["generation"], status["state"]) == (1, "folding")
    assert [path.name for path in (engine / "generations").glob("*.duckdb")] == ["000001.duckdb"]


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
