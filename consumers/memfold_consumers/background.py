"""The process behind a data directory: NATS server and engine together, while someone uses them.

Owns their order: lock, server, engine, engine.json, and back. ``memfold serve`` runs the same in
the foreground. What the engine does is ``engine``'s.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import importlib.metadata
import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from memfold.errors import EngineUnavailable, MemfoldError, StorageError
from memfold_consumers.ownership import (
    EngineInfo,
    EngineLock,
    live_leases,
    prepare_directory,
    remove_engine_json,
    write_engine_json,
)
from memfold_consumers.takeover import owned

if TYPE_CHECKING:
    from memfold_consumers.nats_server import NatsServer

LEASE_POLL_S: Final = 0.25
FIRST_LEASE_S: Final = 30.0
# Long, because a big store after a power cut is read in full before anything answers.
SERVER_START_S: Final = 120.0
START_UNUSED_MAX_S: Final = 600.0
ENGINE_STOP_S: Final = 20.0
ENGINE_CANCEL_S: Final = 5.0
EXIT_MAX_S: Final = 45.0
LOG_BYTES_MAX: Final = 1 << 20


async def run_local(
    data: Path,
    *,
    namespace: str = "memfold",
    port: int = 0,
    keep: bool = False,
    linger_s: float = 5.0,
) -> None:
    """Run server and engine of a data directory until SIGTERM, SIGINT or, without ``keep``, unused.

    Unused is: ``linger_s`` seconds after the last lease has gone, or half a minute without any.
    Raises ``EngineInUse`` when another process runs it, and what ended the server or the engine.
    """
    directory = prepare_directory(data)
    async with owned(directory) as lock:
        await _LocalEngine(directory, lock, namespace, port, linger_s if not keep else None).run()


class _LocalEngine:
    """One run of server and engine under the engine's lock; ``linger_s`` None means for ever."""

    def __init__(
        self, data: Path, lock: EngineLock, namespace: str, port: int, linger_s: float | None
    ) -> None:
        from memfold_consumers.nats_server import NatsServer

        self._data = data
        self._lock = lock
        self._namespace = namespace
        self._linger_s = linger_s
        self._stop = asyncio.Event()
        self._inviting = False
        self._ready = False
        self._signalled = False
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._server: NatsServer = NatsServer(
            data, port=port, start_timeout_s=SERVER_START_S, on_restart=self._on_restart
        )

    async def run(self, *, exit_max_s: float | None = None) -> None:
        """Run until stopped, unused or broken; ``exit_max_s`` ends the process if that hangs."""
        # A dead owner's must not be taken for ours: process ids repeat, in containers always.
        remove_engine_json(self._data)
        with self._cancelled_by_signals() as running:
            try:
                url = await self._server.start()
                await self._work(url, exit_max_s)
            except asyncio.CancelledError:
                if not self._signalled:
                    raise
                running.uncancel()

    async def _work(self, url: str, exit_max_s: float | None) -> None:
        from memfold_consumers.engine import run_engine

        engine = asyncio.create_task(
            run_engine(
                url=url,
                data=self._data,
                namespace=self._namespace,
                stop=self._stop,
                on_ready=self._on_ready,
            )
        )
        server = asyncio.create_task(self._server.supervise())
        unused = asyncio.create_task(self._until_unused())
        tasks = (engine, server, unused)
        ended_itself = False
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended_itself = engine.done()
        finally:
            if exit_max_s is not None:
                # An engine that hangs would keep the lock, and so every user, waiting for ever.
                faulthandler.dump_traceback_later(exit_max_s, exit=True)
            self._withdraw()
            self._stop.set()
            await _finish(engine)
            # The server was watched until here, because the engine needs it for its last writes.
            for helper in (server, unused):
                helper.cancel()
            await asyncio.wait({server, unused})
            await self._server.stop()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()
        if ended_itself:
            raise EngineUnavailable("the engine ended without being asked to")

    async def _until_unused(self) -> None:
        clock = asyncio.get_running_loop().time
        used_at = clock()
        was_used = was_ready = False
        while True:
            if not self._lock.is_current():
                raise StorageError(f"{self._data} was deleted or replaced")
            if live_leases(self._data) > 0:
                was_used, used_at = True, clock()
            if self._ready and not was_ready:
                was_ready, used_at = True, clock()
            if self._linger_s is not None:
                limit_s = self._linger_s if was_used else max(FIRST_LEASE_S, self._linger_s)
                if clock() - used_at >= (limit_s if was_ready else START_UNUSED_MAX_S):
                    # First nobody can find us any more, then we look again: who found us before
                    # had taken a lease before, so it is seen here.
                    self._withdraw()
                    if live_leases(self._data) == 0:
                        return
                    self._invite()
            await asyncio.sleep(LEASE_POLL_S)

    def _on_ready(self) -> None:
        self._ready = True
        self._invite()

    def _on_restart(self) -> None:
        if self._inviting:
            self._invite()

    def _invite(self) -> None:
        if self._stop.is_set():
            return
        self._inviting = True
        write_engine_json(
            self._data,
            EngineInfo(
                url=self._server.url,
                pid=os.getpid(),
                server_pid=self._server.pid,
                namespace=self._namespace,
                started_at=self._started_at,
                version=_version(),
            ),
        )

    def _withdraw(self) -> None:
        self._inviting = False
        if self._lock.is_current():  # Else the file belongs to the owner of a new directory.
            remove_engine_json(self._data)

    @contextmanager
    def _cancelled_by_signals(self) -> Generator[asyncio.Task[None], None, None]:
        loop = asyncio.get_running_loop()
        running = asyncio.current_task()
        assert running is not None

        def stop() -> None:
            if not self._signalled:  # A second signal must not interrupt the orderly end.
                self._signalled = True
                running.cancel()

        # Outside the main thread signals belong to whoever runs this.
        with suppress(ValueError, RuntimeError):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
        try:
            yield running
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


async def _finish(engine: asyncio.Task[None]) -> None:
    """Give the engine its time to end, then cancel it; what it raises stays in the task."""
    await asyncio.wait({engine}, timeout=ENGINE_STOP_S)
    if not engine.done():
        engine.cancel()
        await asyncio.wait({engine}, timeout=ENGINE_CANCEL_S)


def _version() -> str:
    try:
        return importlib.metadata.version("memfold")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the background process of ``--data``; end quietly with 0 when there is one already."""
    parser = argparse.ArgumentParser(prog="memfold_consumers.background", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--namespace", default="memfold")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--linger", type=float, default=5.0, help="seconds after the last user")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    directory = prepare_directory(options.data)
    lock = EngineLock(directory, lingers=True)
    if not lock.acquire():
        return 0
    with suppress(OSError):  # Whoever starts us appends: a long log is begun anew.
        if os.fstat(2).st_size > LOG_BYTES_MAX:
            os.ftruncate(2, 0)
    _log_as_json()

    async def run() -> None:
        engine = _LocalEngine(directory, lock, options.namespace, options.port, options.linger)
        await engine.run(exit_max_s=EXIT_MAX_S)

    try:
        asyncio.run(run())
    except MemfoldError as error:
        print(f"{error.code}: {error}", file=sys.stderr, flush=True)  # noqa: T201 - its log.
        return 1
    # The lock is not given up here: a thread that still writes would outlive it. It ends with us.
    return 0


def _log_as_json() -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
