"""How a command gets to an engine: the one behind ``--nats``, or the data directory's own."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog

from memfold.client import Client
from memfold.connection import Connection
from memfold.errors import EngineUnavailable
from memfold.subjects import check_namespace

if TYPE_CHECKING:
    from memfold_consumers.cli.options import Options

CONNECT_S: Final = 5.0
QUERY_S: Final = 10.0
PUBLISH_S: Final = 60.0
"""Long enough for a killed local engine to be started again."""


@asynccontextmanager
async def engine(options: Options, *, actor: str) -> AsyncGenerator[Client, None]:
    """Open a client of the engine that is meant, starting the local one if none runs.

    Raises:
        BrokerUnavailable, EngineUnavailable, EngineInUse: there is no way to it.
    """
    log_to_stderr()
    check_namespace(options.memory)
    async with AsyncExitStack() as stack:
        url = options.server or await _local(options, actor, stack)
        connection = await Connection.open(
            url, name=f"memfold {actor}", connect_timeout_s=CONNECT_S, options={}
        )
        client = Client(
            connection,
            namespace=options.memory,
            actor=actor,
            timeout_s=PUBLISH_S,
            query_timeout_s=QUERY_S,
        )
        stack.push_async_callback(client.close)
        yield client


async def caught_up(client: Client) -> int:
    """Return the stream's last sequence now, for answers that contain all that is in the log."""
    status = await client.queries.ask("status", None, fresh=False)
    return last_sequence(status)


def last_sequence(status: dict[str, Any]) -> int:
    """Return the last sequence of the stream, or where it cannot be asked, of the projection."""
    stream: dict[str, Any] = status.get("stream") or {}
    return int(stream.get("last_sequence", status["sequence"]))


def log_to_stderr() -> None:
    """Keep stdout for data: what is logged goes to stderr, warnings and worse."""
    import logging

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def _local(options: Options, actor: str, stack: AsyncExitStack) -> str:
    from memfold_consumers.local import local
    from memfold_consumers.ownership import current_engine

    # It holds the lease, and starts the engine again should it die meanwhile.
    await stack.enter_async_context(local(options.directory, actor=actor, namespace=options.memory))
    info = current_engine(options.directory)
    if info is None:
        message = f"the engine of {options.directory} has just ended"
        raise EngineUnavailable(message)
    return info.url
