"""A stream that lost its tail behind the engine's back: the fold stops and says so."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import nats
import nats.errors
import orjson
import pytest
from nats.aio.client import Client

from memfold.jetstream import api
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.nats_server import NatsServer
from memfold_consumers.ownership import Lease, engine_running
from memfold_projections.log import Log

pytestmark = pytest.mark.faults

EVENTS = 600


async def publish(connection: Client, first: int, count: int) -> int:
    """Publish messages with bare NATS; return the last acknowledged sequence."""
    sequence = 0
    for number in range(first, first + count):
        event = {
            "specversion": "1.0",
            "id": f"e{number}",
            "type": "MessageAppended",
            "source": "bot",
            "data": {"message": {"id": f"m{number}", "role": "user", "content": "x" * 200}},
        }
        acknowledged = await connection.jetstream().publish(
            "memfold.publish.alice.t1.messages.bot", orjson.dumps(event)
        )
        sequence = acknowledged.seq
    return sequence


async def query(connection: Client, operation: str, body: dict[str, object]) -> dict[str, object]:
    reply = await connection.request(
        f"memfold.query.{operation}.alice", orjson.dumps(body), timeout=10
    )
    answer: dict[str, object] = orjson.loads(reply.data)
    return answer


async def ended(data: Path) -> None:
    async with asyncio.timeout(30):
        while engine_running(data):  # noqa: ASYNC110 - another process.
            await asyncio.sleep(0.02)


async def damage(data: Path) -> int:
    """Flip one bit in the middle of the stream's block file; return what the stream ends at now."""
    (block,) = (data / "nats" / "jetstream" / "$G" / "streams" / "memfold" / "msgs").glob("*.blk")
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 0x10
    block.write_bytes(content)
    async with NatsServer(data) as server:
        connection = await nats.connect(server.url)
        info = await api(connection, "STREAM.INFO.memfold")
        await connection.close()
    last: int = info["state"]["last_seq"]
    return last


async def stopped(data: Path) -> None:
    """Kill engine and server uncleanly."""
    info = await ensure_engine(data)
    # The server first: a dying engine would end it in an orderly way.
    os.kill(info.server_pid, signal.SIGKILL)
    os.kill(info.pid, signal.SIGKILL)
    await ended(data)


@pytest.mark.parametrize("published_behind", [0, 50, EVENTS])
async def test_a_truncated_stream_stops_the_fold_and_no_event_is_skipped(
    tmp_path: Path, published_behind: int
) -> None:
    """Whether the stream is shorter, or grew again past the checkpoint: it is noticed and said."""
    data = tmp_path / "data"
    with Lease(data):
        info = await ensure_engine(data)
        connection = await nats.connect(info.url)
        last = await publish(connection, 0, EVENTS)
        assert (await query(connection, "snapshot", {"min_sequence": last}))["sequence"] == last
        await connection.close()
        await stopped(data)
        remaining = await damage(data)
        assert remaining < last
        if published_behind:
            async with NatsServer(data) as server:
                connection = await nats.connect(server.url)
                await publish(connection, 10_000, published_behind)
                await connection.close()
        info = await ensure_engine(data)
        connection = await nats.connect(info.url)
        status = await query(connection, "status", {})
        assert status["state"] == "halted"
        error = status["halted"]
        assert isinstance(error, dict)
        assert error["code"] == "log_diverged"
        assert status["checkpoint"] == last
        # It leaves the questions to engines that still fold; here is none.
        with pytest.raises(nats.errors.NoRespondersError):
            await query(connection, "snapshot", {})
        # What is published now is not folded over what was lost, nor skipped in silence.
        await publish(connection, 20_000, 5)
        assert (await query(connection, "status", {}))["checkpoint"] == last
        await connection.close()
    await ended(data)
    log = Log(data / "log.duckdb", "memfold")
    assert log.sequence == last
    assert sum(len(chunk) for chunk in log.read(0)) == EVENTS
    log.close()


async def test_a_stream_truncated_under_a_running_engine_stops_the_fold(tmp_path: Path) -> None:
    """Only the server dies, comes back with less, and sequences start again: nothing is skipped."""
    data = tmp_path / "data"
    with Lease(data):
        info = await ensure_engine(data)
        connection = await nats.connect(info.url, reconnect_time_wait=0.1)
        last = await publish(connection, 0, EVENTS)
        assert (await query(connection, "snapshot", {"min_sequence": last}))["sequence"] == last
        (block,) = (data / "nats" / "jetstream" / "$G" / "streams" / "memfold" / "msgs").glob(
            "*.blk"
        )
        os.kill(info.server_pid, signal.SIGKILL)
        content = bytearray(block.read_bytes())
        content[len(content) // 2] ^= 0x10
        block.write_bytes(content)
        status: dict[str, object] = {}
        async with asyncio.timeout(30):
            while status.get("state") != "halted":
                try:
                    status = await query(connection, "status", {})
                except (nats.errors.Error, OSError):
                    await asyncio.sleep(0.05)
        assert status["checkpoint"] == last
        await connection.close()
