"""Starts or joins the engine of a data directory, for a process that uses its memory.

Knows that there is one background process a directory and how to find it; what it runs is
``background``'s, who may run it ``ownership``'s.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from memfold.attachments import ATTACH_ABOVE_BYTES
from memfold.errors import EngineInUse, EngineUnavailable, InvalidRequest, MemfoldError
from memfold.ids import check_id
from memfold.sealing import open_keys
from memfold.subjects import check_namespace
from memfold_consumers.nats_probe import answers
from memfold_consumers.ownership import (
    EngineInfo,
    Lease,
    current_engine,
    engine_running,
    log_tail,
    prepare_directory,
)

if TYPE_CHECKING:
    from memfold import Memory

POLL_S: Final = 0.05
PORT_MAX: Final = 65_535
WATCH_S: Final = 0.5
WATCH_BACK_OFF_MAX_S: Final = 30.0
JOIN_TRIES_MAX: Final = 5

# Kept, so that an engine that ends before this process is reaped and no Popen is dropped running.
_spawned: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class _Wish:
    """How the engine of a directory is to be started if it does not run."""

    data: Path
    namespace: str
    port: int
    linger_s: float
    timeout_s: float
    keys: Path | None = None


@asynccontextmanager
async def local(
    data: Path | str = ".memfold",
    *,
    actor: str,
    namespace: str = "memfold",
    port: int = 0,
    linger_s: float = 5.0,
    timeout_s: float = 30.0,
    attach_above: int = ATTACH_ABOVE_BYTES,
    keys: Path | str | None = None,
) -> AsyncGenerator[Memory, None]:
    """Open the memory kept in a directory, starting its engine in the background if none runs.

    The engine, a process of its own with its NATS server, is shared by all who use the directory
    and ends ``linger_s`` seconds after the last. If it dies meanwhile it is started again. ``port``
    and ``linger_s`` count only for an engine that this call starts; port 0 is any free one.
    ``attach_above`` is as for ``memfold.connect``. With ``keys``, a directory outside of ``data``,
    all that is published is sealed, and the engine opens it with the same keys. Closing waits for
    writes that are on their way.

    Raises:
        EngineUnavailable: there is no engine within ``timeout_s`` seconds.
        EngineInUse: the running one serves another namespace, or was started without keys.
        InvalidRequest, InvalidId: an argument does not fit.
        ExtraMissing: ``memfold[sealing]`` is not installed.
    """
    check_id(actor, "actor")
    wish = _wish(Path(data), namespace, port, linger_s, timeout_s)
    if keys is not None:
        open_keys(keys, data=wish.data)
        wish = replace(wish, keys=_absolute(keys))
    # The lease comes first: an engine about to end looks for leases after it has withdrawn its
    # engine.json, so either it sees this one or we do not see it.
    with Lease(wish.data) as lease:
        async with AsyncExitStack() as stack:
            memory, info = await _join(wish, actor, attach_above, stack)
            if keys is not None and not (await memory.status())["keys"]:
                message = (
                    f"the engine of {wish.data} was started without keys: end its users or "
                    "memfold serve, or start it with MEMFOLD_KEYS"
                )
                raise EngineInUse(message)
            watch = asyncio.create_task(_watch(wish, lease, info), name="memfold-local-watch")
            try:
                yield memory
            finally:
                watch.cancel()
                await asyncio.wait({watch})


def _absolute(path: Path | str) -> Path:
    # The engine is started from wherever, and may outlive this directory of ours.
    return Path(path).absolute()


async def ensure_engine(
    data: Path,
    *,
    namespace: str = "memfold",
    port: int = 0,
    linger_s: float = 5.0,
    timeout_s: float = 30.0,
) -> EngineInfo:
    """Return the engine that runs in the directory and answers, starting it if none does.

    Hold a ``Lease`` of the directory, or the engine may end again. Many processes may call this at
    once: all get the same engine. Raises as ``local`` does, with the end of the engine's log.
    """
    return await _ensure(_wish(data, namespace, port, linger_s, timeout_s))


def _wish(data: Path, namespace: str, port: int, linger_s: float, timeout_s: float) -> _Wish:
    """Check what was asked for, before a process is started that would end at it."""
    check_namespace(namespace)
    if not 0 <= port <= PORT_MAX:
        raise InvalidRequest(f"port= takes 0 (any free one) to {PORT_MAX}, not {port}")
    return _Wish(prepare_directory(data), namespace, port, linger_s, timeout_s)


async def _ensure(wish: _Wish) -> EngineInfo:
    clock = asyncio.get_running_loop().time
    give_up_at = clock() + wish.timeout_s
    child: subprocess.Popen[bytes] | None = None
    while True:
        info = current_engine(wish.data)
        if info is not None:
            if info.namespace != wish.namespace:
                raise EngineInUse(f"the engine of {wish.data} serves namespace {info.namespace}")
            if await answers(info.url, wish.data):
                return info
        elif not engine_running(wish.data):
            child = _respawn(child, wish)
        if clock() > give_up_at:
            raise EngineUnavailable(f"no engine within {wish.timeout_s} s{_log(wish.data)}")
        await asyncio.sleep(POLL_S)


def _respawn(child: subprocess.Popen[bytes] | None, wish: _Wish) -> subprocess.Popen[bytes]:
    """Return a background process that can still become the engine: this call's, or a new one."""
    code = None if child is None else child.poll()
    if child is not None and code is None:
        return child  # It has not come to taking the lock yet.
    if code is not None and code > 0:
        raise EngineUnavailable(f"the engine ended at its start ({code}){_log(wish.data)}")
    # None was started yet, or it lost the lock to one that has ended (0), or it was killed (< 0).
    return _spawn(wish)


def _spawn(wish: _Wish) -> subprocess.Popen[bytes]:
    _spawned[:] = [process for process in _spawned if process.poll() is None]
    command = [sys.executable, "-P", "-m", "memfold_consumers.background"]
    command += ["--data", str(wish.data), "--namespace", wish.namespace]
    command += ["--port", str(wish.port), "--linger", str(wish.linger_s)]
    environment = os.environ | ({} if wish.keys is None else {"MEMFOLD_KEYS": str(wish.keys)})
    with (wish.data / "engine.log").open("ab") as output:
        # Not by asyncio, which kills its children when its loop closes; in a session of its own, so
        # that Ctrl-C or a closed terminal ends only the program that started it.
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our module, no shell.
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    _spawned.append(process)
    return process


async def _join(
    wish: _Wish, actor: str, attach_above: int, stack: AsyncExitStack
) -> tuple[Memory, EngineInfo]:
    """Connect to an engine that is still the directory's once we are connected."""
    from memfold import connect

    for _ in range(JOIN_TRIES_MAX):
        info = await _ensure(wish)
        async with AsyncExitStack() as attempt:
            try:
                memory = await attempt.enter_async_context(
                    connect(
                        info.url,
                        actor=actor,
                        namespace=wish.namespace,
                        attach_above=attach_above,
                        keys=wish.keys,
                    )
                )
            except MemfoldError:
                if current_engine(wish.data) == info:
                    raise  # Not because it has just ended.
                continue
            if current_engine(wish.data) == info:
                stack.push_async_exit(attempt.pop_all())
                return memory, info
    raise EngineUnavailable(f"the engine of {wish.data} does not stay{_log(wish.data)}")


async def _watch(wish: _Wish, lease: Lease, known: EngineInfo) -> None:
    """Start the engine again whenever its lock is free; the client reconnects by itself."""
    import structlog

    log = structlog.get_logger(__name__)
    pause_s = WATCH_S
    while True:
        await asyncio.sleep(pause_s)
        try:
            lease.renew()
            if engine_running(wish.data):
                continue
            info = await _ensure(wish)
        except (MemfoldError, OSError) as error:
            pause_s = min(2 * pause_s, WATCH_BACK_OFF_MAX_S)
            log.warning("local_engine_restart_failed", error=str(error), next_try_s=pause_s)
            continue
        pause_s = WATCH_S
        log.info("local_engine_restarted", pid=info.pid, url=info.url)
        if info.url != known.url:
            log.error("local_engine_moved", was=known.url, now=info.url)


def _log(data: Path) -> str:
    tail = log_tail(data / "engine.log")
    return f"; {data / 'engine.log'} ends:\n{tail}" if tail else ""
