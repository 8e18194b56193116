"""The engine's connections to its server: opened within bounds, left within bounds, then for ever.

Once it was connected a connection comes back by itself, however long its server is away.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import structlog

from memfold.errors import BrokerUnavailable
from memfold.tolerant import TolerantClient

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_S: Final = 10.0
RECONNECT_WAIT_S: Final = 0.2
LEAVE_S: Final = 1.0
"""How long each step of taking leave of a server may take: it may be gone, or not listen."""

_ENDS: Final = (OSError, nats.errors.UnexpectedEOF, nats.errors.StaleConnectionError)

_log = structlog.get_logger(__name__)


async def open_client(
    *,
    log: bool,
    on_return: Callable[[], None] | None = None,
    **options: Any,  # noqa: ANN401  # nats-py's own
) -> TolerantClient:
    """Connect; ``options`` are nats-py's, ``on_return`` is called after each reconnect.

    ``log`` says whether outages are told: of several connections to one server one is enough.

    Raises:
        BrokerUnavailable: no server took the connection within 10 s.
    """
    client = TolerantClient()
    outage = _Outage(client, on_return, log=log)
    settings: dict[str, Any] = {
        **options,
        "connect_timeout": CONNECT_S,
        # FastStream would wait whole seconds.
        "reconnect_time_wait": RECONNECT_WAIT_S,
        "max_reconnect_attempts": -1,
        "error_cb": outage.failed,
        "reconnected_cb": outage.ended,
    }
    async with AsyncExitStack() as undo:
        undo.push_async_callback(client.leave, LEAVE_S)
        try:
            # nats-py itself would try for ever, refused credentials included.
            async with asyncio.timeout(CONNECT_S):
                await client.connect(**settings)
        except (nats.errors.Error, OSError) as error:
            # The address may hold a password, so it is not named.
            message = f"no NATS server took the engine's connection within {CONNECT_S:g} s"
            raise BrokerUnavailable(message, detail=str(outage.error or error)) from error
        undo.pop_all()
    return client


class _Outage:
    """Tells the log when the server goes and when it is back, not of each try in between."""

    def __init__(
        self, client: TolerantClient, on_return: Callable[[], None] | None, *, log: bool
    ) -> None:
        self._client = client
        self._on_return = on_return
        self._log = log
        self._told = False
        self.error: Exception | None = None

    async def failed(self, error: Exception) -> None:
        """Log an error; of those that belong to one outage only the first."""
        self.error = error
        # How a connection ends is told while it still seems to stand.
        away = not self._client.is_connected or isinstance(error, _ENDS)
        if self._log and not (away and self._told):
            _log.warning("broker_error", reason=f"{type(error).__name__}: {error}")
        self._told = away

    async def ended(self) -> None:
        """Log the return."""
        self._told = False
        if self._log:
            _log.info("broker_reconnected")
        if self._on_return is not None:
            self._on_return()
