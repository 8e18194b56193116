"""A server that is not there, goes away or stops listening: the engine says so, once, and ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from nats.aio.client import Client

import memfold
from memfold.errors import BrokerUnavailable
from memfold_consumers import nats_client
from memfold_consumers.engine import run_engine
from memfold_consumers.nats_probe import HOST, free_port
from memfold_projections.store import Store
from support.broker import Broker, running_broker

pytestmark = [pytest.mark.integration, pytest.mark.faults]

DEADLINE_S = 30.0


class Engine:
    """An engine in this process, to be started and stopped step by step."""

    def __init__(self, url: str, data: Path) -> None:
        self.stop = asyncio.Event()
        self._ready = asyncio.Event()
        self.ended = asyncio.create_task(
            run_engine(
                url=url,
                data=data,
                namespace="memfold",
                stop=self.stop,
                on_ready=self._ready.set,
            )
        )

    async def ready(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._ready.wait()

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await self.ended


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    async with running_broker(tmp_path / "broker") as running:
        yield running


async def test_an_engine_gives_up_where_no_server_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_client, "CONNECT_S", 0.3)
    engine = Engine(f"nats://user:hidden@{HOST}:{free_port()}", tmp_path)
    with pytest.raises(BrokerUnavailable) as caught:
        async with asyncio.timeout(DEADLINE_S):
            await engine.ended
    assert "hidden" not in f"{caught.value} {caught.value.detail}"


async def test_folding_has_ended_before_the_store_is_closed(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the server is away at the end, and there is nobody to take leave of."""
    tasks = asyncio.all_tasks
    loop = asyncio.get_running_loop()
    folding: list[bool] = []
    close = Store.close

    def closing(store: Store) -> None:
        folding.append(any(task.get_name() == "memfold-fold" for task in tasks(loop)))
        close(store)

    monkeypatch.setattr(Store, "close", closing)
    engine = Engine(broker.url, tmp_path / "engine")
    await engine.ready()
    await broker.kill()
    await engine.end()
    assert folding == [False]


async def test_a_server_that_no_longer_listens_does_not_hold_up_the_end(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stands, but nothing that is asked of the server comes to its end."""
    engine = Engine(broker.url, tmp_path / "engine")
    await engine.ready()

    async def for_ever(self: Client, timeout: float = 10) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Client, "flush", for_ever)
    broker.signal(signal.SIGSTOP)
    try:
        await engine.end()
    finally:
        broker.signal(signal.SIGCONT)


async def test_an_outage_is_told_once_and_its_end_once(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = asyncio.Semaphore(0)
    failed = nats_client._Outage.failed

    async def counted(outage: nats_client._Outage, error: Exception) -> None:
        await failed(outage, error)
        tries.release()

    monkeypatch.setattr(nats_client._Outage, "failed", counted)
    engine = Engine(broker.url, tmp_path / "engine")
    await engine.ready()
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await broker.kill()
            async with asyncio.timeout(DEADLINE_S):
                for _ in range(6):
                    await tries.acquire()
            await broker.start()
            async with memfold.connect(broker.url, actor="bot") as memory:
                receipt = await memory.resource("alice").working_memory.merge({"n": 1})
                await receipt.applied(DEADLINE_S)
    await engine.end()
    told = [each["event"] for each in logs if each["event"].startswith("broker_")]
    assert told == ["broker_error", "broker_reconnected"] * 2
