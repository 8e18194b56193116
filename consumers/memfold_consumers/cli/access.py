"""How a command gets to an engine: the one behind ``--nats``, or the data directory's own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import nats.errors
import structlog

from memfold.client import Client
from memfold.connection import Connection, ConnectionCut
from memfold.errors import BrokerUnavailable, EngineUnavailable
from memfold.jetstream import JetStreamError
from memfold.sealing import open_keys
from memfold.subjects import check_namespace

if TYPE_CHECKING:
    from memfold_consumers.cli.options import Options

CONNECT_S: Final = 5.0
QUERY_S: Final = 10.0
PUBLISH_S: Final = 60.0
PATIENCE_S: Final = 60.0
"""Long enough for a killed local engine to be started again."""
PAUSE_S: Final = 0.2

T = TypeVar("T")

_AWAY: Final = (
    BrokerUnavailable,
    EngineUnavailable,
    ConnectionCut,
    JetStreamError,
    TimeoutError,
    nats.errors.Error,
)


@dataclass(frozen=True, slots=True)
class Access:
    """A client, and how long broker and engine may be away before a question fails.

    A local engine that was killed is started again meanwhile, so there it is worth waiting.
    """

    client: Client
    patience_s: float

    async def ask(
        self,
        operation: str,
        resource: str | None,
        arguments: dict[str, Any],
        *,
        min_sequence: int = 0,
        fresh: bool = True,
    ) -> dict[str, Any]:
        """Ask the engine; the answer contains at least ``min_sequence``.

        ``fresh`` adds what was published or seen before.

        Raises:
            MemfoldError: what the engine said, or that there is none.
        """
        ask = self.client.queries.ask
        return await self.patiently(
            lambda: ask(operation, resource, arguments, min_sequence=min_sequence, fresh=fresh)
        )

    async def status(self) -> dict[str, Any]:
        """Return what the engine says of itself."""
        return await self.patiently(lambda: self.client.queries.ask("status", None, fresh=False))

    async def last_sequence(self) -> int:
        """Return the stream's last sequence now, for answers that contain all that is in the log.

        Where the stream cannot be asked, it is the projection's.
        """
        status = await self.status()
        stream: dict[str, Any] = status.get("stream") or {}
        return int(stream.get("last_sequence", status["sequence"]))

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Try again while broker or engine are away."""
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self.patience_s
        while True:
            try:
                return await work()
            except _AWAY as error:
                if clock() >= give_up_at:
                    if isinstance(error, BrokerUnavailable | EngineUnavailable):
                        raise
                    message = f"the NATS server fails: {str(error) or type(error).__name__}"
                    raise BrokerUnavailable(message) from error
            await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def engine(options: Options, *, actor: str) -> AsyncGenerator[Access, None]:
    """Open a way to the engine that is meant, starting the local one if none runs.

    Raises:
        BrokerUnavailable, EngineUnavailable, EngineInUse: there is none.
    """
    log_to_stderr()
    check_namespace(options.memory)
    keys = open_keys(options.key_directory)
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
            keys=keys,
        )
        stack.push_async_callback(client.close)
        yield Access(client, PATIENCE_S if options.server is None else 0.0)


def log_to_stderr() -> None:
    """Keep stdout for data: what is logged goes to stderr, warnings and worse."""
    import logging

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def _local(options: Options, actor: str, stack: AsyncExitStack) -> str:
    from memfold_consumers.local_engine import local
    from memfold_consumers.ownership import current_engine

    # It holds the lease, and starts the engine again should it die meanwhile.
    opening = local(
        options.directory, actor=actor, namespace=options.memory, keys=options.key_directory
    )
    await stack.enter_async_context(opening)
    info = current_engine(options.directory)
    if info is None:
        message = f"the engine of {options.directory} has just ended"
        raise EngineUnavailable(message)
    return info.url
