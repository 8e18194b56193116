"""The FastStream application of an engine: its query handlers, their middlewares, its lifespan."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import nats.errors
from faststream import FastStream
from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI

from memfold.errors import ExtraMissing
from memfold.tolerant import TolerantClient
from memfold_consumers.nats_client import LEAVE_S, open_client
from memfold_consumers.queries import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from faststream.nats import NatsMessage
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from memfold_consumers.requests import Request
    from memfold_consumers.settings import EngineSettings

    Answer = Callable[[str, str, bytes], Awaitable[bytes]]

WORKERS: Final = 4096
"""Requests of one operation at once, most of them waiting: those must not hold up the others.

They cost a task each while they last; what reads files is bounded by the thread pool.
"""

OF_ONE_ENGINE: Final = frozenset({"job"})
"""What is asked of an engine by its id."""
OF_A_HALTED_ENGINE: Final = frozenset({"status", *OF_ONE_ENGINE})
"""What an engine still answers that does not fold."""


class _Broker(NatsBroker):
    """A broker whose connection survives what is sent to a query's subject, and ends when asked."""

    async def _connect(self) -> Client:
        connection = await open_client(log=False, **self._connection_kwargs)
        self.config.connect(connection)
        return connection

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Take leave of the server, within bounds and without an error: it may be gone."""
        connection = self._connection
        leaving = asyncio.ensure_future(super().stop(exc_type, exc_val, exc_tb))
        await asyncio.wait({leaving}, timeout=LEAVE_S)
        leaving.cancel()
        with suppress(Exception, asyncio.CancelledError):
            leaving.exception()
        if isinstance(connection, TolerantClient):
            await connection.leave(LEAVE_S)


async def _raw(message: NatsMessage) -> Msg:
    """Hand the message through undecoded; a synchronous decoder would run in a thread pool."""
    return message.raw_message


def make_broker(
    settings: EngineSettings, url: str, answer: Answer, *, engine: str = "*"
) -> NatsBroker:
    """Return a broker with one subscriber per query operation, all engines in one queue group.

    What is asked of one engine is subscribed to under its id, ``engine``, alone.
    """
    broker = _Broker(
        url,
        middlewares=_middlewares(settings),
        apply_types=False,
        logger=None,
        name=f"memfold-engine-{settings.namespace}",
    )
    for operation, (shape, _) in OPERATIONS.items():
        alone = operation in OF_ONE_ENGINE
        _subscribe(
            broker,
            settings.namespace,
            operation,
            shape,
            answer,
            token=engine if alone else "*",
        )
    return broker


async def answer_only_about_itself(broker: NatsBroker) -> None:
    """Leave questions about memory to the engines that still fold; without one, nobody answers."""
    for subscriber in broker.subscribers:
        if subscriber.specification.name not in map(_title, OF_A_HALTED_ENGINE):
            with suppress(nats.errors.Error):
                await subscriber.stop()


def _title(operation: str) -> str:
    return f"query.{operation}"


def _subscribe(
    broker: NatsBroker,
    namespace: str,
    operation: str,
    shape: type[Request],
    answer: Answer,
    *,
    token: str,
) -> None:
    async def handle(message: Msg) -> bytes:
        return await answer(operation, message.subject.rsplit(".", 1)[-1], message.data)

    # The handler checks the bytes itself; what it takes is said here for the AsyncAPI page.
    handle.__annotations__["message"] = shape
    summary = " ".join((shape.__doc__ or "").split("\n\n")[0].split())
    alone = operation in OF_ONE_ENGINE
    whose = "The last token is the resource's, or _ for none."
    broker.subscriber(
        f"{namespace}.query.{operation}.{token}",
        queue="" if alone else f"{namespace}-engines",
        decoder=_raw,
        max_workers=WORKERS,
        title=_title(operation),
        description=f"{summary} {'The last token is the engine id.' if alone else whose}",
    )(handle)


def make_app(
    broker: NatsBroker, lifespan: Callable[..., AbstractAsyncContextManager[None]]
) -> FastStream:
    """Return the application; its lifespan opens the store and runs the fold loop."""
    specification = AsyncAPI(title="memfold", version=version("memfold"), schema_version="3.0.0")
    return FastStream(broker, lifespan=lifespan, logger=None, specification=specification)


def _middlewares(settings: EngineSettings) -> Sequence[Any]:
    found: list[Any] = []
    try:
        if settings.metrics_port:
            from memfold_consumers.metrics import prometheus_middleware

            found.append(prometheus_middleware(settings.metrics_port))
        if settings.telemetry:
            from faststream.nats.opentelemetry import NatsTelemetryMiddleware

            found.append(NatsTelemetryMiddleware())
    except ImportError as error:
        message = f"install memfold[metrics] or memfold[telemetry] for this setting ({error.name})"
        raise ExtraMissing(message) from error
    return found
