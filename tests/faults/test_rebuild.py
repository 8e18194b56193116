"""Rebuilds while publishers write and readers read, and rebuilds that are killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nats
import orjson
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.ownership import Lease, engine_running
from memfold_projections.content import content_digests
from memfold_projections.store import Store
from support.jobs import ask_job, run_job

pytestmark = pytest.mark.faults

PUBLISHERS = 4
REBUILDS = 4
EVENTS = 1500
PUBLISHER = Path(__file__).with_name("publisher.py")
READER = Path(__file__).with_name("reader.py")


async def started(script: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, str(script), *arguments)


@pytest.mark.timeout(240)
async def test_rebuilds_while_four_publishers_write(tmp_path: Path) -> None:
    """Each finds the live content; no reader sees an older sequence than it was shown before."""
    data = tmp_path / "data"
    with Lease(data):
        info = await ensure_engine(data)
        connection = await nats.connect(info.url)
        files = [tmp_path / f"acknowledged-{n}" for n in range(PUBLISHERS)]
        seen = [tmp_path / f"seen-{n}" for n in range(2)]
        writers = [
            await started(PUBLISHER, info.url, f"agent{n}", str(file))
            for n, file in enumerate(files)
        ]
        readers = [
            await started(READER, info.url, f"agent{n}", str(file)) for n, file in enumerate(seen)
        ]
        try:
            await until(lambda: all(file.exists() for file in (*files, *seen)))
            for number in range(REBUILDS):
                sizes = [file.stat().st_size for file in files]
                found = await run_job(
                    connection, data, "rebuild", **{"from": ("log", "stream")[number % 2]}
                )
                assert (found["same"], found["generation"]) == (True, number + 2), found
                await until(partial(grew, files, sizes))
            for file in (*files, *seen):
                file.with_name(f"{file.name}.stop").touch()
            for process in (*writers, *readers):
                assert await process.wait() == 0
        finally:
            for process in (*writers, *readers):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        await connection.close()
    await ended(data)
    assert all(int(file.read_text().splitlines()[-1]) > 0 for file in seen)
    check_content(data, tmp_path / "again")


@pytest.mark.timeout(240)
async def test_a_rebuild_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """At each step that shows in the directory, and at any moment: all is served as before."""
    data = tmp_path / "data"
    chance = random.Random(7)
    generations = data / "generations"
    with Lease(data):
        info = await ensure_engine(data)
        connection = await nats.connect(info.url)
        last = await publish(connection)
        expected = await served(connection, last)
        await connection.close()
        changed = 0
        for number in range(9):
            pointer = (data / "generation").read_text()
            files = set(generations.glob("*.duckdb"))
            info = await ensure_engine(data)
            connection = await nats.connect(info.url, max_reconnect_attempts=0)
            await ask_job(connection, data, {"start": "rebuild"})
            await connection.close()
            if number % 3 == 0:
                await until(partial(more_files, generations, files))
            elif number % 3 == 1:
                await until(partial(changes, data / "generation", pointer))
            else:
                await asyncio.sleep(chance.random() * 0.3)
            os.kill(info.pid, signal.SIGKILL)
            await ended(data)
            changed += (data / "generation").read_text() != pointer
            info = await ensure_engine(data)
            connection = await nats.connect(info.url)
            assert await served(connection, last) == expected
            await connection.close()
            named = {int(word) for word in (data / "generation").read_text().split()}
            there = {int(path.stem) for path in generations.glob("*.duckdb")}
            assert there <= named
        assert changed >= 3
    await ended(data)
    check_content(data, tmp_path / "again")


async def publish(connection: Client) -> int:
    """Publish 15 batches of 100 messages; return the last sequence."""
    sequence = 0
    for start in range(0, EVENTS, 100):
        batch = [
            {
                "specversion": "1.0",
                "id": f"e{number}",
                "type": "MessageAppended",
                "source": "bot",
                "data": {"message": {"id": f"m{number}", "role": "user", "content": f"{number}"}},
            }
            for number in range(start, start + 100)
        ]
        subject = "memfold.publish.alice.t.messages.bot"
        sequence = (await connection.jetstream().publish(subject, orjson.dumps(batch))).seq
    return sequence


async def served(connection: Client, last: int) -> bytes:
    """Return the newest messages as they are served, without the answer's envelope."""
    body = orjson.dumps({"thread": "t", "last": 40, "min_sequence": last, "wait_ms": 30_000})
    while True:
        try:
            reply = await connection.request("memfold.query.snapshot.alice", body, timeout=40)
        except NoRespondersError:
            continue
        answer = orjson.loads(reply.data)
        assert len(answer["messages"]) == 40, answer
        return orjson.dumps(answer["messages"])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - other processes.
            await asyncio.sleep(0.001)


def changes(path: Path, before: str) -> bool:
    return path.read_text() != before


def more_files(directory: Path, before: set[Path]) -> bool:
    return not set(directory.glob("*.duckdb")) <= before


def grew(files: list[Path], before: list[int]) -> bool:
    return all(file.stat().st_size > size for file, size in zip(files, before, strict=True))


async def ended(data: Path) -> None:
    async with asyncio.timeout(60):
        while engine_running(data):  # noqa: ASYNC110 - another process.
            await asyncio.sleep(0.02)


def check_content(data: Path, again: Path) -> None:
    """Compare the projection in use with an independent fold of the log."""
    store, whole = Store(data, "memfold"), Store(again, "memfold")
    for chunk in store.log.read(0):
        whole.fold(chunk)
    assert content_digests(store.generation) == content_digests(whole.generation)
    store.close()
    whole.close()
