"""``memfold serve``: the engine in the foreground, with its own NATS server or at another's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import Final

from memfold.subjects import check_namespace
from memfold_consumers.cli.errors import OK
from memfold_consumers.cli.options import Options

POLL_S: Final = 0.05


async def serve(options: Options, *, port: int, metrics_port: int | None) -> int:
    """Run until SIGTERM or SIGINT; a second owner of the directory is refused."""
    log_to_stderr()
    check_namespace(options.memory)
    if metrics_port is not None:
        # The engine reads its settings from the environment, here as everywhere.
        os.environ["MEMFOLD_METRICS_PORT"] = str(metrics_port)
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
    from memfold_consumers.engine import run_engine
    from memfold_consumers.ownership import EngineLock, prepare_directory

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    directory = prepare_directory(options.directory)
    with EngineLock(directory):
        await run_engine(
            url=url,
            data=directory,
            namespace=options.memory,
            stop=stop,
            # The address may hold a password, so it is not printed.
            on_ready=lambda: _ready("the given NATS server"),
        )


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
