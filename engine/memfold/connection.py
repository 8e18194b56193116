"""One NATS connection of a client: it reconnects for ever, and every request ends in time.

nats-py leaves a request waiting when the connection is cut and shows a denied publish only in its
error callback. Here both end the request at once, so that a retry can begin.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import nats.errors

from memfold.errors import BrokerUnavailable, InvalidRequest, PublishDenied
from memfold.tolerant import TolerantClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nats.aio.msg import Msg

RECONNECT_WAIT_S: Final = 0.2
PING_INTERVAL_S: Final = 5
PINGS_OUTSTANDING_MAX: Final = 2
CLOSE_S: Final = 5.0
NO_RESPONDERS: Final = "503"


class ConnectionCut(Exception):
    """The connection ended while a request waited: it may or may not have been received."""


class Connection:
    """A connection with one inbox for all its requests."""

    def __init__(self) -> None:
        self.client = TolerantClient()
        self._loop = asyncio.get_running_loop()
        self._up = asyncio.Event()
        self._closed = False
        self._refused: asyncio.Future[None] = self._loop.create_future()
        self._last_error: Exception | None = None
        self._inbox = ""
        self._number = 0
        self._waiting: dict[str, tuple[asyncio.Future[Msg], str]] = {}

    @classmethod
    async def open(
        cls,
        url: str | Sequence[str],
        *,
        name: str,
        connect_timeout_s: float,
        options: Mapping[str, Any],
    ) -> Connection:
        """Connect, trying again for ``connect_timeout_s`` seconds; ``options`` go to nats-py.

        Raises:
            BrokerUnavailable: no server answered in time.
            PublishDenied: the server refuses the credentials, or the inbox.
        """
        self = cls()
        connecting = asyncio.ensure_future(self._connect(url, name, options))
        try:
            await asyncio.wait(
                {connecting, self._refused},
                timeout=connect_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not (connecting.done() or self._refused.done()):
                self._refused.set_exception(self._nobody(connect_timeout_s))
            (self._refused if self._refused.done() else connecting).result()
        except BaseException as error:
            await self._abandon(connecting)
            if isinstance(error, (nats.errors.Error, OSError, ValueError)):
                message = f"cannot connect to the NATS server: {_explain(error)}"
                raise BrokerUnavailable(message) from error
            raise
        return self

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands now."""
        return self.client.is_connected

    def check_loop(self) -> None:
        """Refuse to be used where nothing that arrives would wake whoever waits for it.

        Raises:
            InvalidRequest: this is not the event loop in which the connection was opened.
        """
        if asyncio.get_running_loop() is not self._loop:
            message = "this memory was opened in another event loop: open one in each loop"
            raise InvalidRequest(message)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 5.0,
        headers: dict[str, str] | None = None,
    ) -> Msg:
        """Send a request once the connection stands and return the reply.

        Raises:
            TimeoutError: no reply within ``timeout`` seconds.
            ConnectionCut: the connection ended meanwhile.
            nats.errors.NoRespondersError: nobody listens there.
            PublishDenied: the permissions do not allow it.
            BrokerUnavailable: the connection is closed for good.
            InvalidRequest: called in another event loop.
        """
        self.check_loop()
        async with asyncio.timeout(timeout):
            if not self.client.is_connected:
                await self._up.wait()
            if self._closed:
                message = "the connection is closed"
                raise BrokerUnavailable(message)
            self._number += 1
            token = str(self._number)
            future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
            self._waiting[token] = (future, subject)
            try:
                await self.client.publish(
                    subject, payload, reply=self._inbox + token, headers=headers
                )
                reply = await future
            except (nats.errors.OutboundBufferLimitError, nats.errors.ConnectionClosedError):
                raise ConnectionCut from None
            finally:
                del self._waiting[token]
        if reply.headers and reply.headers.get("Status") == NO_RESPONDERS:
            raise nats.errors.NoRespondersError
        return reply

    async def close(self) -> None:
        """Close the connection for good; what waits ends with ``BrokerUnavailable``."""
        self._end_waiting(BrokerUnavailable("the connection was closed"))
        await self.client.leave(CLOSE_S)
        self._closed = True
        self._up.set()

    async def _connect(
        self, url: str | Sequence[str], name: str, options: Mapping[str, Any]
    ) -> None:
        settings: dict[str, Any] = {
            "name": name,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RECONNECT_WAIT_S,
            "ping_interval": PING_INTERVAL_S,
            "max_outstanding_pings": PINGS_OUTSTANDING_MAX,
            **options,
            "allow_reconnect": True,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_cut,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
        }
        await self.client.connect(url if isinstance(url, str) else list(url), **settings)
        self._inbox = self.client.new_inbox() + "."
        await self.client.subscribe(
            f"{self._inbox}*", cb=self._on_reply, pending_bytes_limit=0, pending_msgs_limit=0
        )
        # The server answers in order, so a denied inbox has been reported when this returns. Twice,
        # because nats-py's ping overtakes a subscription that still waits to be written.
        await self.client.flush()
        await self.client.flush()
        self._up.set()

    async def _abandon(self, connecting: asyncio.Future[None]) -> None:
        connecting.cancel()
        await asyncio.wait({connecting})
        await self.close()

    async def _on_reply(self, reply: Msg) -> None:
        waiting = self._waiting.get(reply.subject[len(self._inbox) :])
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(reply)

    async def _on_cut(self) -> None:
        self._up.clear()
        self._end_waiting(ConnectionCut("the connection was cut"))

    async def _on_reconnected(self) -> None:
        self._up.set()

    async def _on_closed(self) -> None:
        self._closed = True
        reason = _explain(self._last_error)
        self._end_waiting(BrokerUnavailable("the connection was closed", detail=reason))
        self._up.set()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        # nats-py lowers the case of what the server says.
        text = str(error).lower()
        if "authorization violation" in text or isinstance(error, nats.errors.AuthorizationError):
            self._refuse("the NATS server refuses these credentials")
        elif "permissions violation for subscription to" in text and not self._up.is_set():
            prefix = self._inbox.rsplit(".", 2)[0]
            self._refuse(
                f"the NATS user may not subscribe to {prefix}.>: give connect() the inbox_prefix "
                "of its permissions; a command needs a user that may"
            )
        elif "permissions violation for publish" in text:
            self._deny(text)

    def _nobody(self, waited_s: float) -> BrokerUnavailable:
        # The address may hold a password, so it is not named.
        message = f"no NATS server answered within {waited_s:g} s"
        return BrokerUnavailable(message, detail=_explain(self._last_error))

    def _refuse(self, message: str) -> None:
        if not self._refused.done() and not self._up.is_set():
            self._refused.set_exception(PublishDenied(message))

    def _deny(self, text: str) -> None:
        meant = [
            (future, subject)
            for future, subject in self._waiting.values()
            if not future.done() and f'"{subject.lower()}"' in text
        ]
        for future, subject in meant:
            # Subjects that differ only in case cannot be told apart here: each tries again.
            future.set_exception(
                PublishDenied(f"the NATS user may not publish to {subject}")
                if len(meant) == 1
                else ConnectionCut("one of several was denied")
            )

    def _end_waiting(self, error: Exception) -> None:
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(error)


def _explain(error: BaseException | None) -> str:
    if error is None:
        return "no answer"
    return str(error) or type(error).__name__
