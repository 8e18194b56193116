"""kill -9 of the engine and of the NATS server, twenty times each, while publishers go on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import nats
import pytest

import memfold
from memfold.jetstream import read_recorded
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.nats_server import NatsServer
from memfold_consumers.ownership import EngineInfo, Lease, engine_running, read_engine_json
from memfold_projections.content import content_digests
from memfold_projections.generation import Generation
from memfold_projections.log import Log

pytestmark = pytest.mark.faults

KILLS = 20
PUBLISHERS = 2
PUBLISHER = Path(__file__).with_name("publisher.py")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["engine", "server"])
async def test_every_acknowledged_event_is_applied_once_and_in_order(
    tmp_path: Path, victim: str
) -> None:
    """Whatever is killed and when: all that was acknowledged is there, once, in its order."""
    data = tmp_path / "data"
    chance = random.Random(victim)
    lease = Lease(data)
    info = await ensure_engine(data)
    files = [tmp_path / f"acknowledged-{n}" for n in range(PUBLISHERS)]
    publishers = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(PUBLISHER), info.url, f"agent{n}", str(file)
        )
        for n, file in enumerate(files)
    ]
    try:
        for file in files:
            await until_more([file], 1, publishers)
        for _ in range(KILLS):
            await until_more(files, acknowledged(files) + chance.randint(1, 80), publishers)
            info = await ensure_engine(data)
            os.kill(info.pid if victim == "engine" else server_pid(data, info), signal.SIGKILL)
            if victim == "engine":
                await ended(data)
                info = await ensure_engine(data)
        await until_more(files, acknowledged(files) + 10, publishers)
        for file, publisher in zip(files, publishers, strict=True):
            file.with_name(f"{file.name}.stop").touch()
            assert await publisher.wait() == 0
    finally:
        for publisher in publishers:
            if publisher.returncode is None:
                publisher.kill()
                await publisher.wait()
    await check_messages(info.url, files)
    lease.close()
    await ended(data)
    check_refold(data, tmp_path / "again.duckdb")
    await check_stream(data)


def server_pid(data: Path, info: EngineInfo) -> int:
    """Return the pid of the server as it stands now: it changes with each restart."""
    found = read_engine_json(data)
    return (found or info).server_pid


def acknowledged(files: list[Path]) -> int:
    return sum(len(lines(file)) for file in files)


def lines(file: Path) -> list[tuple[int, int]]:
    """Return the (number, sequence) pairs that were written whole."""
    if not file.exists():
        return []
    whole = file.read_text().rpartition("\n")[0]
    return [(int(a), int(b)) for a, b in (line.split() for line in whole.splitlines())]


async def until_more(
    files: list[Path], wanted: int, publishers: list[asyncio.subprocess.Process]
) -> None:
    async with asyncio.timeout(60):
        while acknowledged(files) < wanted:
            assert any(publisher.returncode is None for publisher in publishers)
            await asyncio.sleep(0.005)


async def check_messages(url: str, files: list[Path]) -> None:
    """Hold what is served against what was acknowledged."""
    async with memfold.connect(url, actor="auditor") as memory:
        owner = memory.resource("alice")
        for number, file in enumerate(files):
            promised = lines(file)
            assert [n for n, _ in promised] == list(range(len(promised)))
            served = await owner.thread(f"by-agent{number}").messages()
            assert [message.id for message in served] == [f"m{n}" for n, _ in promised]
            assert [message.sequence for message in served] == [s for _, s in promised]
            positions = [message.sequence for message in served]
            assert positions == sorted(set(positions))
        document = await owner.working_memory.get()
        assert document is not None
        assert document.content == {
            f"agent{n}": {f"k{k}": k for k in range(0, len(lines(file)), 5)}
            for n, file in enumerate(files)
        }


async def ended(data: Path) -> None:
    """Wait until the engine has ended and released its files."""
    async with asyncio.timeout(60):
        while engine_running(data):  # noqa: ASYNC110 - another process.
            await asyncio.sleep(0.05)


def check_refold(data: Path, path: Path) -> None:
    """Fold the engine's log from nothing and compare every table."""
    log = Log(data / "log.duckdb", "memfold")
    live = Generation(data / "generations" / "000001.duckdb", "memfold")
    again = Generation(path, "memfold")
    for chunk in log.read(0):
        again.fold(chunk)
    assert content_digests(again) == content_digests(live)
    for file in (log, live, again):
        file.close()


async def check_stream(data: Path) -> None:
    """Hold the log against the stream, message by message and byte by byte."""
    log = Log(data / "log.duckdb", "memfold")
    async with NatsServer(data) as server:
        connection = await nats.connect(server.url)
        sequence = 0
        for chunk in log.read(0):
            for recorded in chunk:
                sequence += 1
                assert recorded == await read_recorded(connection, "memfold", sequence)
        assert await read_recorded(connection, "memfold", sequence + 1) is None
        await connection.close()
    log.close()
