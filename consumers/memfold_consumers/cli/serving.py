"""``memfold serve``: the engine in the foreground, with its own NATS server or at another's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final

import nats.errors

from memfold.connection import Connection
from memfold.errors import BrokerUnavailable, PublishDenied
from memfold.jetstream import JetStreamError, api
from memfold.subjects import check_namespace
from memfold_consumers.cli.access import CONNECT_S
from memfold_consumers.cli.errors import OK
from memfold_consumers.cli.options import Options

POLL_S: Final = 0.05
NO_JETSTREAM: Final = frozenset({10039, 10076})
"""JetStream's error codes for "not enabled", for an account and at all."""
STOP_S: Final = 20.0
"""How long an engine may take to end between two batches before it is made to."""


async def serve(options: Options, *, port: int, metrics_port: int | None) -> int:
    """Run until SIGTERM or SIGINT; a second owner of the directory is refused."""
    log_to_stderr()
    check_namespace(options.memory)
    if metrics_port is not None:
        # The engine reads its settings from the environment, here as everywhere.
        os.environ["MEMFOLD_METRICS_PORT"] = str(metrics_port)
    if options.keys is not None:
        os.environ["MEMFOLD_KEYS"] = str(options.keys)
    if options.server is None:
        await _serve_local(options, port)
    else:
        await _serve_at(options, options.server)
    return OK


async def _serve_local(options: Options, port: int) -> None:
    from memfold_consumers.background import run_local

    announcing = asyncio.create_task(_announce(options))
    try:
        await run_local(options.directory, namespace=options.memory, port=port, keep=True)
    finally:
        announcing.cancel()


async def _announce(options: Options) -> None:
    """Say where the engine is reached once it has written so."""
    from memfold_consumers.ownership import current_engine

    while (info := current_engine(options.directory)) is None or info.pid != os.getpid():  # noqa: ASYNC110 - a file tells no event.
        await asyncio.sleep(POLL_S)
    _ready(info.url)


async def _serve_at(options: Options, url: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before the directory is taken: whoever asks for the end must find it released.
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await _unless(stop, _serve_owned(options, url, stop), patience_s=STOP_S)


async def _serve_owned(options: Options, url: str, stop: asyncio.Event) -> None:
    from memfold_consumers.engine import run_engine
    from memfold_consumers.ownership import prepare_directory
    from memfold_consumers.takeover import owned

    async with owned(prepare_directory(options.directory)) as lock:
        # Before it runs nothing is to be ended in order, so a signal ends this at once.
        if not await _unless(stop, _reach(url), patience_s=0.0):
            return
        await run_engine(
            url=url,
            data=lock.path.parent,
            namespace=options.memory,
            stop=stop,
            # The address may hold a password, so it is not printed.
            on_ready=lambda: _ready("the given NATS server"),
        )


async def _unless(
    stop: asyncio.Event, work: Coroutine[None, None, None], *, patience_s: float
) -> bool:
    """Run ``work``; once ``stop`` is set it may go on for so long. Tell whether it came to its end.

    Raises what ``work`` raises.
    """
    task = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        await asyncio.wait({task}, timeout=patience_s)
    task.cancel()
    await asyncio.wait({task})
    if task.cancelled():
        return False
    task.result()
    return True


async def _reach(url: str) -> None:
    """See that there is a server with JetStream: an engine would try again for ever.

    Raises:
        BrokerUnavailable: there is none.
    """
    connection = await Connection.open(
        url, name="memfold serve", connect_timeout_s=CONNECT_S, options={}
    )
    message = "the NATS server has no JetStream: start it with -js, or enable it for the account"
    try:
        await api(connection, "INFO")
    except nats.errors.NoRespondersError:
        raise BrokerUnavailable(message) from None
    except JetStreamError as error:
        if error.code in NO_JETSTREAM:
            raise BrokerUnavailable(message) from None
    except (PublishDenied, TimeoutError):
        # Not ours to ask, or slow: the engine finds out.
        return
    finally:
        await connection.close()


def log_to_stderr() -> None:
    """Log as lines on a terminal and as JSON elsewhere, always on stderr."""
    import structlog

    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)
            if terminal
            else structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _ready(where: str) -> None:
    sys.stderr.write(f"memfold: ready at {where}\n")
    sys.stderr.flush()
