"""Runs the local nats-server as a child process: its settings, port, readiness, restart and end.

Knows the server's process and nothing of what is stored in it. The caller holds the lock of the
data directory's engine, so at most one of these is at work in a directory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from memfold.errors import BrokerUnavailable
from memfold_consumers.nats_probe import (
    HOST,
    answers,
    find_nats_server,
    free_port,
    has_jetstream,
    is_free,
    server_name,
)
from memfold_consumers.ownership import log_tail, prepare_directory, write_atomically
from memfold_consumers.server_lock import take_server_lock

START_TRIES_MAX: Final = 3
POLL_S: Final = 0.02
STOP_GRACE_S: Final = 5.0
PORT_PATIENCE_S: Final = 30.0
BACK_OFF_FIRST_S: Final = 0.1
BACK_OFF_MAX_S: Final = 5.0
# Paths are relative to the working directory, the data directory: no name of it needs quoting.
CONFIG: Final = """\
# Written by memfold at every start; changes are lost.
server_name: "{name}"
listen: "{host}:{port}"
max_payload: 1048576
log_file: "nats.log"
logfile_size_limit: 4194304
logfile_max_num: 3
jetstream {{ store_dir: "nats", sync_interval: always }}
"""

log = structlog.get_logger(__name__)


class _PortTaken(Exception):
    """Another program listens on the port."""


class NatsServer:
    """A nats-server with JetStream in ``<data>/nats``, on loopback, syncing every write to disk.

    ``port`` 0 takes the port that this directory's server last had, so that clients find it again
    after a crash, or, if that is taken, any free one; another number is used as it is. On Linux the
    server ends with the thread that started it: start it from one that lives as long as the engine.
    ``on_restart`` is called after each restart by ``supervise``.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        start_timeout_s: float = 10.0,
        on_restart: Callable[[], None] | None = None,
    ) -> None:
        self.data = prepare_directory(data)
        self.port = port
        self._any_port = port == 0
        self._start_timeout_s = start_timeout_s
        self._on_restart = on_restart
        self._process: Process | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """The address for clients; the port is known once the server was started."""
        return f"nats://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the server last started."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def start(self) -> str:
        """Start the server and return its URL once JetStream answers.

        Raises ``BrokerUnavailable`` with the end of the server's log when it ends or is not ready
        in time, and when a port that was asked for is taken.
        """
        assert self._process is None, "already started"
        self._stopping.clear()
        remembered = self._remembered_port() if self._any_port else self.port
        for port in (remembered, *([0] * START_TRIES_MAX if self._any_port else [])):
            with suppress(_PortTaken):
                await self._start_at(port or free_port())
                return self.url
        raise BrokerUnavailable(f"port {self.port} on {HOST} is taken")

    async def wait(self) -> int:
        """Wait until the server's process has ended and return its exit code."""
        assert self._process is not None, "not started"
        return await self._process.wait()

    async def supervise(self) -> None:
        """Restart the server on its port whenever it ends, until ``stop()``.

        Raises ``BrokerUnavailable`` when another program keeps the port for half a minute: clients
        would never find the server elsewhere, so the owner has to begin again.
        """
        while not self._stopping.is_set():
            code = await self.wait()
            if self._stopping.is_set():
                return
            log.warning("nats_server_ended", exit_code=code, port=self.port)
            if await self._restart() and self._on_restart is not None:
                self._on_restart()

    async def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL when it has not ended in time."""
        self._stopping.set()
        if self._process is not None:
            await _end(self._process)
            self._process = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _restart(self) -> bool:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + PORT_PATIENCE_S
        back_off_s = BACK_OFF_FIRST_S
        while not self._stopping.is_set():
            try:
                await self._start_at(self.port)
            except _PortTaken:
                if clock() > give_up_at:
                    raise BrokerUnavailable(
                        f"port {self.port} was taken by another program"
                    ) from None
                log.warning("nats_server_port_taken", port=self.port)
            except (BrokerUnavailable, OSError) as error:
                give_up_at = clock() + PORT_PATIENCE_S
                log.warning("nats_server_restart_failed", error=str(error))
            else:
                log.info("nats_server_restarted", port=self.port, pid=self.pid)
                return True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), timeout=back_off_s)
            back_off_s = min(2 * back_off_s, BACK_OFF_MAX_S)
        return False

    async def _start_at(self, port: int) -> None:
        lock = await take_server_lock(self.data)
        try:
            # Only after the lock: a stale server that was in the way has left its port by now.
            self.port = port
            if not is_free(port):
                raise _PortTaken
            process = await self._spawn(lock)
        finally:
            os.close(lock)
        try:
            await self._until_ready(process)
        except BaseException:
            await _end(process)
            raise
        self._process = process
        write_atomically(self.data / "nats.port", str(port).encode())

    async def _spawn(self, lock: int) -> Process:
        config = self.data / "nats.conf"
        content = CONFIG.format(name=server_name(self.data), host=HOST, port=self.port)
        write_atomically(config, content.encode())
        launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("nats_launcher.py"))]
        program = [str(find_nats_server()), "-c", str(config)]
        # What the server or the launcher says before the log is open belongs into it, too.
        with (self.data / "nats.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *launcher,
                str(os.getpid()),
                str(lock),
                *program,
                cwd=self.data,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                # Ctrl-C in a terminal reaches a whole process group, but the engine ends first.
                start_new_session=True,
            )

    async def _until_ready(self, process: Process) -> None:
        ended = asyncio.create_task(process.wait())
        ready = asyncio.create_task(self._until_answering())
        try:
            await asyncio.wait(
                {ended, ready}, timeout=self._start_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if ready.done():
                return ready.result()
        finally:
            ended.cancel()
            ready.cancel()
            await asyncio.wait({ended, ready})
        if process.returncode is not None and not is_free(self.port):
            raise _PortTaken
        what = "is not ready" if process.returncode is None else f"ended ({process.returncode})"
        raise BrokerUnavailable(f"nats-server {what}:\n{log_tail(self.data / 'nats.log')}")

    async def _until_answering(self) -> None:
        # Another process opens the port: there is no event to wait for.
        while not (await answers(self.url, self.data) and await has_jetstream(self.url)):  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    def _remembered_port(self) -> int:
        try:
            return int((self.data / "nats.port").read_bytes())
        except (OSError, ValueError):
            return 0


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), timeout=STOP_GRACE_S)
    except TimeoutError:
        log.warning("nats_server_killed", pid=process.pid)
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait_for(process.wait(), timeout=STOP_GRACE_S)
