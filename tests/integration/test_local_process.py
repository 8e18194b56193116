"""One background process a data directory: joined by all, ended after the last, back after a kill.

These run the real engine, so they are skipped as long as ``memfold_consumers.engine`` is missing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from memfold.errors import EngineInUse, EngineUnavailable
from memfold_consumers.flock import is_locked
from memfold_consumers.local_engine import ensure_engine, local
from memfold_consumers.nats_probe import answers
from memfold_consumers.ownership import (
    Lease,
    current_engine,
    engine_pid,
    engine_running,
    prepare_directory,
    read_engine_json,
)

pytest.importorskip("memfold_consumers.engine", reason="run_engine is not written yet")

pytestmark = [pytest.mark.integration, pytest.mark.faults]

DEADLINE_S = 60.0
LINGER_S = 0.5

USER = """
import asyncio, sys
from pathlib import Path
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.ownership import Lease
async def main():
    data = Path(sys.argv[1])
    with Lease(data):
        info = await ensure_engine(data, linger_s=0.5, timeout_s=60)
        print(info.pid, info.url, flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something outside this process has come true, within bounds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - a file or a process tells no event.
            await asyncio.sleep(0.02)


def is_gone(data: Path) -> bool:
    """Tell whether neither engine nor server of the directory runs."""
    return not engine_running(data) and not is_locked(data / "server.lock")


def engine_of(data: Path) -> int:
    """Return the running engine's process id."""
    pid = engine_pid(data)
    assert pid is not None
    return pid


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    directory = prepare_directory(tmp_path / "memory of bob")
    yield directory
    # Nobody holds a lease any more; an engine that a test left is ended at once.
    if (pid := engine_pid(directory)) is not None:
        os.kill(pid, signal.SIGTERM)
    await eventually(lambda: is_gone(directory))


async def start_user(data: Path) -> tuple[asyncio.subprocess.Process, str]:
    """Start a process that uses the directory until its input is closed, and what it joined."""
    user = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        USER,
        str(data),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert user.stdout is not None
    line = await asyncio.wait_for(user.stdout.readline(), DEADLINE_S)
    return user, line.decode()


async def test_processes_that_start_at_once_join_one_engine(data: Path) -> None:
    """Whoever wins the lock runs the engine; all others find it."""
    users = await asyncio.gather(*(start_user(data) for _ in range(8)))
    assert len({joined for _, joined in users}) == 1
    assert users[0][1].split()[0] == str(engine_of(data))
    for user, _ in users:
        assert user.stdin is not None
        user.stdin.close()
    codes = await asyncio.wait_for(asyncio.gather(*(user.wait() for user, _ in users)), DEADLINE_S)
    assert codes == [0] * 8
    await eventually(lambda: is_gone(data))
    assert read_engine_json(data) is None


async def test_the_engine_ends_after_a_user_that_was_killed(data: Path) -> None:
    """A crash of the last user counts as its leaving."""
    user, _ = await start_user(data)
    user.kill()
    await asyncio.wait_for(user.wait(), DEADLINE_S)
    await eventually(lambda: is_gone(data))


async def test_the_engine_outlives_the_user_that_started_it(data: Path) -> None:
    """It belongs to the directory, not to the process that came first."""
    first, joined = await start_user(data)
    second, joined_too = await start_user(data)
    assert joined == joined_too
    first.kill()
    await asyncio.wait_for(first.wait(), DEADLINE_S)
    assert await answers(joined.split()[1], data)
    with Lease(data):
        second.kill()
        await asyncio.wait_for(second.wait(), DEADLINE_S)
        info = await ensure_engine(data, linger_s=LINGER_S)
        assert [str(info.pid), info.url] == joined.split()


async def test_who_comes_while_the_engine_ends_gets_a_living_one(data: Path) -> None:
    """Coming late means the old engine, unharmed, or a new one: never one that is about to end."""
    for delay_ms in range(0, 900, 90):
        with Lease(data):
            await ensure_engine(data, linger_s=0.25)
        # The moment of coming is what varies, so here time itself is the input.
        await asyncio.sleep(delay_ms / 1000)
        with Lease(data):
            info = await ensure_engine(data, linger_s=0.25)
            await asyncio.sleep(0.6)  # Longer than it would linger.
            assert current_engine(data) == info
            assert await answers(info.url, data)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_memory_survives_the_end_of_the_engine_while_it_is_used(
    data: Path, number: signal.Signals
) -> None:
    """The user's process starts the engine again on its port, and its client goes on."""
    async with local(data, actor="tester", linger_s=LINGER_S) as memory:
        alice = memory.resource("user_alice")
        receipt = await alice.working_memory.merge({"city": "Berlin"})
        await receipt.applied()
        before = await ensure_engine(data)
        os.kill(before.pid, number)
        await eventually(lambda: engine_pid(data) not in {None, before.pid})
        after = await ensure_engine(data)
        assert after.url == before.url
        async with asyncio.timeout(DEADLINE_S):
            receipt = await alice.working_memory.merge({"name": "Alice"})
            await receipt.applied()
            found = await alice.working_memory.get()
        assert found is not None
        assert found.content == {"city": "Berlin", "name": "Alice"}
    await eventually(lambda: is_gone(data))


async def test_a_killed_server_comes_back_under_its_engine(data: Path) -> None:
    """Only the server is restarted, and engine.json then names its new process."""
    with Lease(data):
        info = await ensure_engine(data, linger_s=LINGER_S)
        os.kill(info.server_pid, signal.SIGKILL)

        def renamed() -> bool:
            now = current_engine(data)
            return now is not None and now.server_pid != info.server_pid

        await eventually(renamed)
        now = await ensure_engine(data)
        assert (now.pid, now.url) == (info.pid, info.url)


async def test_an_engine_that_cannot_start_says_why(data: Path) -> None:
    """The error carries the end of the log, not only a time-out."""
    (data / "nats").write_bytes(b"no directory")
    with Lease(data), pytest.raises(EngineUnavailable, match="not a directory"):
        await ensure_engine(data)


async def test_another_namespace_is_refused(data: Path) -> None:
    """A directory's engine serves one namespace."""
    with Lease(data):
        await ensure_engine(data, namespace="one", linger_s=LINGER_S)
        with pytest.raises(EngineInUse, match="one"):
            await ensure_engine(data, namespace="two")
