"""Takes messages from the stream by natural batching: a lone one at once, a backlog in bulk.

Two pull requests are always outstanding; what arrives while the fold is busy waits in a queue and
is taken as one batch. Guards both sequences: the consumer's shows what was lost on the way, the
stream's what is missing in the stream itself. Nothing is ever skipped.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

import nats.errors
import orjson

from memfold.errors import LogDiverged
from memfold.jetstream import JetStreamError, api
from memfold.refilled import HEADER, Refilled
from memfold.wire import Recorded
from memfold_consumers.nats_client import LEAVE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

PULL_MESSAGES: Final = 2000
PULL_BYTES_MAX: Final = 8 * 1024 * 1024
PULL_EXPIRES_S: Final = 30.0
HEARTBEAT_S: Final = 5.0
SILENCE_S_MAX: Final = 3 * HEARTBEAT_S
"""No message and no heartbeat for so long: the consumer is gone."""
OUTSTANDING: Final = 2
QUEUE_MESSAGES_MAX: Final = 2 * PULL_MESSAGES
QUEUE_BYTES_MAX: Final = 2 * PULL_BYTES_MAX
CONSUMER_IDLE_S: Final = 120
NANO: Final = 1_000_000_000

REQUEST_ENDED: Final = ("Batch Completed", "Message Size Exceeds MaxBytes")
"""Statuses 409 that end one pull request; all others end the consumer."""

PLACE_PREFIX: Final = "$JS.ACK."
_V1_TOKENS: Final = 9


class IntakeLost(Exception):
    """The consumer or the connection is gone, or skipped something: align and begin anew."""


class Intake:
    """One consumer from a sequence on, for as long as it lives. Use as ``async with``.

    ``fill`` returns what is left of missing messages, the first of them at least; without it there
    must be none, unless ``gaps`` says that the stream may lack messages.
    """

    def __init__(
        self,
        connection: Client,
        stream: str,
        after: int,
        *,
        fill: Callable[[int, int], Awaitable[list[Recorded]]] | None = None,
        gaps: bool = False,
    ) -> None:
        self._connection = connection
        self._fill = fill or _unexplained
        self._stream = stream
        self._gaps = gaps
        self._refilled = Refilled()
        self._taken: int = after
        self._consumer = f"fold-{uuid.uuid4().hex}"
        self._consumer_sequence = 0
        self._inbox = connection.new_inbox()
        self._queue: deque[Msg] = deque()
        self._queue_bytes = 0
        self._pulls: dict[str, int] = {}
        self._pull_number = 0
        self._arrived = asyncio.Event()
        self._heard_at = asyncio.get_running_loop().time()
        self._lost: IntakeLost | None = None
        self._subscription: Subscription | None = None
        self.stream_sequence = after
        """The stream's last sequence as far as the last message told."""

    async def __aenter__(self) -> Self:
        """Create the consumer and begin to pull."""
        options: dict[str, Any] = {
            "cb": self._on_message,
            "pending_bytes_limit": 8 * PULL_BYTES_MAX,
        }
        self._subscription = await self._connection.subscribe(f"{self._inbox}.*", **options)
        config: dict[str, object] = {
            "name": self._consumer,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._taken + 1,
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": CONSUMER_IDLE_S * NANO,
        }
        info = await api(self._connection, f"STREAM.INFO.{self._stream}")
        self._refilled = Refilled.of(info["config"])
        await api(
            self._connection,
            f"CONSUMER.CREATE.{self._stream}.{self._consumer}",
            {"stream_name": self._stream, "config": config, "action": "create"},
        )
        await self._pull()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop pulling and delete the consumer, if the server still answers."""
        if self._connection.is_connected:
            try:
                async with asyncio.timeout(LEAVE_S):
                    if self._subscription is not None:
                        await self._subscription.unsubscribe()
                    await api(self._connection, f"CONSUMER.DELETE.{self._stream}.{self._consumer}")
            except (JetStreamError, TimeoutError, OSError, nats.errors.Error):
                # It is in memory only and ends by itself when nobody pulls.
                return

    def lose(self, reason: str) -> None:
        """Make the next ``wait`` raise :class:`IntakeLost`."""
        self._lost = self._lost or IntakeLost(reason)
        self._arrived.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until messages are there; False if none came within ``timeout_s``.

        Raises:
            IntakeLost: begin anew after aligning.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_s
        while not self._queue:
            if self._lost is not None:
                raise self._lost
            if clock() - self._heard_at > SILENCE_S_MAX:
                reason = "the consumer fell silent"
                raise IntakeLost(reason)
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(min(deadline, self._heard_at + SILENCE_S_MAX)):
                    await self._arrived.wait()
            except TimeoutError:
                if clock() >= deadline:
                    return False
        return True

    async def take(self) -> list[Recorded]:
        """Return what is there, at most 2,000 messages or about 8 MiB, in order.

        Raises:
            IntakeLost: begin anew after aligning.
            LogDiverged: the stream has a hole that nothing explains; said by ``fill``.
        """
        batch: list[Recorded] = []
        size = 0
        while self._queue and len(batch) < PULL_MESSAGES and size < PULL_BYTES_MAX:
            recorded = self._check(self._queue[0])
            if recorded.sequence != self._taken + 1 and not self._gaps:
                filled = await self._fill(self._taken + 1, recorded.sequence - 1)
                self._taken = filled[-1].sequence
                batch.extend(filled)
                size += sum(len(message.payload) for message in filled)
                continue
            self._queue.popleft()
            self._consumer_sequence += 1
            self._taken = recorded.sequence
            size += len(recorded.payload)
            self._queue_bytes -= len(recorded.payload)
            batch.append(recorded)
        await self._pull()
        return batch

    def _check(self, message: Msg) -> Recorded:
        """Read the place of a message from its reply subject and hold it against what is due."""
        tokens = message.reply.split(".")
        # A reply subject with a domain has two more tokens in front, and maybe one behind.
        base = 5 if len(tokens) == _V1_TOKENS else 7
        numbers = [int(token) for token in tokens[base : base + 4]]
        sequence, consumer_sequence, time_ns, pending = numbers
        if consumer_sequence != self._consumer_sequence + 1 or sequence <= self._taken:
            reason = f"sequence {sequence} came after {self._taken}"
            raise IntakeLost(reason)
        self.stream_sequence = max(sequence + pending, self.stream_sequence)
        headers = message.headers or {}
        recorded = Recorded(
            sequence, time_ns, message.subject, message.data, headers.get("Nats-Msg-Id", "")
        )
        return self._refilled.original(recorded, headers.get(HEADER, ""))

    async def _on_message(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        # A publisher may send a header named Status, too; only the stream's messages have a place.
        if not message.reply.startswith(PLACE_PREFIX):
            await self._on_status(message)
        else:
            self._queue.append(message)
            self._queue_bytes += len(message.data)
            self._count_delivered()
        self._arrived.set()

    def _count_delivered(self) -> None:
        # The server serves pull requests in the order of their arrival.
        for pull in self._pulls:
            self._pulls[pull] -= 1
            if self._pulls[pull] == 0:
                del self._pulls[pull]
            return

    async def _on_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status, text = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return
        if status == "408" or (status == "409" and text.startswith(REQUEST_ENDED)):
            # This request ran out (of time, messages or bytes); ask again.
            self._pulls.pop(message.subject.rsplit(".", 1)[-1], None)
            await self._pull()
            return
        self.lose(f"the server ended the pull: {status} {text}")

    async def _pull(self) -> None:
        """Keep two requests outstanding, unless enough is waiting already."""
        if not self._pulls:
            # Unasked the server says nothing, and that is no sign of its end.
            self._heard_at = asyncio.get_running_loop().time()
        while (
            len(self._pulls) < OUTSTANDING
            and len(self._queue) < QUEUE_MESSAGES_MAX
            and self._queue_bytes < QUEUE_BYTES_MAX
        ):
            self._pull_number += 1
            pull = str(self._pull_number)
            self._pulls[pull] = PULL_MESSAGES
            request = {
                "batch": PULL_MESSAGES,
                "max_bytes": PULL_BYTES_MAX,
                "expires": int(PULL_EXPIRES_S * NANO),
                "idle_heartbeat": int(HEARTBEAT_S * NANO),
            }
            await self._connection.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                orjson.dumps(request),
                reply=f"{self._inbox}.{pull}",
            )


async def _unexplained(first: int, last: int) -> list[Recorded]:
    message = f"the stream has no messages {first} to {last}"
    raise LogDiverged(message)
