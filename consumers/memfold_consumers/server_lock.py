"""The lock that lives exactly as long as the local nats-server, and the end of a stale server.

The server inherits the locked descriptor and nobody else keeps a copy. So a lock that is still
held when a new engine takes the data directory over means: the server of a dead engine is alive.
Two servers on one store would destroy it, therefore the stale one is ended first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import structlog

from memfold.errors import EngineInUse
from memfold_consumers.flock import open_lock_file, try_lock

POLL_S = 0.02

log = structlog.get_logger(__name__)


async def take_server_lock(data: Path, *, timeout_s: float = 10.0) -> int:
    """Return a locked descriptor for the next server to inherit.

    The caller holds the engine's lock. A stale server gets SIGTERM, after half of the time SIGKILL.
    Raises ``EngineInUse`` if the lock is not free in time, for example because its holder lives in
    another container.
    """
    descriptor = open_lock_file(data / "server.lock")
    try:
        if not try_lock(descriptor):
            await _end_holder(descriptor, data, timeout_s)
        os.ftruncate(descriptor, 0)  # From here on no earlier process id can be read from it.
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def _end_holder(descriptor: int, data: Path, timeout_s: float) -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    sent: tuple[int, signal.Signals] | None = None
    while not try_lock(descriptor):
        waited_s = clock() - started
        pid = _written_pid(descriptor)
        if waited_s > timeout_s:
            raise EngineInUse(f"process {pid} holds {data / 'server.lock'} and could not be ended")
        number = signal.SIGTERM if waited_s < timeout_s / 2 else signal.SIGKILL
        if pid is not None and sent != (pid, number) and await _signal(pid, number, descriptor):
            log.warning("stale_nats_server_signalled", pid=pid, signal=number.name)
            sent = (pid, number)
        await asyncio.sleep(POLL_S)


def _written_pid(descriptor: int) -> int | None:
    try:
        return int(os.pread(descriptor, 32, 0))
    except ValueError:
        return None  # Its launcher has not come to writing it.


async def _signal(pid: int, number: signal.Signals, descriptor: int) -> bool:
    """Signal the process if it is the holder; a number that was given to another is left alone."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform != "linux":
            if await _looks_like_server(pid):
                os.kill(pid, number)
                return True
            return False
        # The handle is opened before the check, so what was checked is what gets the signal.
        handle = os.pidfd_open(pid)
        try:
            if _has_open(pid, descriptor):
                signal.pidfd_send_signal(handle, number)
                return True
        finally:
            os.close(handle)
    return False


def _has_open(pid: int, descriptor: int) -> bool:
    wanted = os.fstat(descriptor)
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(entry.stat(), wanted):
                    return True
    return False


async def _looks_like_server(pid: int) -> bool:
    ps = await asyncio.create_subprocess_exec(
        "ps", "-p", str(pid), "-o", "comm=", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(ps.communicate(), timeout=5)
    return b"nats-server" in output
