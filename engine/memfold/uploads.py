"""Sends the bytes of an attachment to the blob stream, chunk by chunk, each acknowledged."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from memfold.building import new_id
from memfold.chunks import CHUNK_BYTES_MAX, Copy, chunk_subject, count_chunks, stream_name
from memfold.delivery import Delivery
from memfold.errors import BrokerUnavailable, StreamMissing, TooLarge
from memfold.landing import Landed, LogReader, Outgoing
from memfold.limits import HEADER_RESERVE_BYTES
from memfold.subjects import Address

if TYPE_CHECKING:
    from memfold.connection import Connection

CHUNKS_IN_FLIGHT: Final = 4
"""Chunks of one client on their way at once, up and down each: that bounds memory."""
ATTEMPT_S: Final = 15.0
"""One try of a chunk: on a slow line those in flight take a while, and sent again even longer."""

T = TypeVar("T")


class _Chunks(LogReader):
    """A Msg-Id of a chunk is random and used once: what the server has under it is our chunk."""

    async def find_at(self, outgoing: Outgoing, sequence: int) -> Landed | None:
        """Return the place of the chunk that an earlier try has stored."""
        del outgoing
        return Landed(sequence, 0, duplicate=True)


class Uploads:
    """What one client stores: of all its attachments a few chunks are on their way at once."""

    def __init__(
        self, connection: Connection, namespace: str, actor: str, *, timeout_s: float
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._actor = actor
        self._timeout_s = timeout_s
        self._sending = asyncio.Semaphore(CHUNKS_IN_FLIGHT)

    async def upload(self, resource: str, sha256: str, data: bytes) -> None:
        """Store a copy of an attachment, under a fresh name: an earlier try is never mixed with it.

        Raises:
            TooLarge, PublishDenied, StreamMissing, StreamFull: it is not stored.
            BrokerUnavailable: not acknowledged in time; some of it may be stored.
        """
        largest = self._connection.client.max_payload - HEADER_RESERVE_BYTES
        if largest < CHUNK_BYTES_MAX:
            message = f"the server takes {largest} bytes at once, a chunk has {CHUNK_BYTES_MAX}"
            raise TooLarge(message, reason="message_too_large")
        copy = Copy(self._actor, new_id(), count_chunks(len(data)))
        log = _Chunks(self._connection, self._namespace)
        address = Address(resource, None, "messages", self._actor)
        # Slices of a memoryview cost nothing; each chunk is copied when it is its turn.
        whole = memoryview(data)

        async def send(index: int) -> None:
            async with self._sending:
                chunk = bytes(whole[index * CHUNK_BYTES_MAX : (index + 1) * CHUNK_BYTES_MAX])
                subject = chunk_subject(self._namespace, resource, sha256, copy, index)
                # Unguessable, or someone could have it first and our chunk be taken for theirs.
                outgoing = Outgoing(address, subject, chunk, (), secrets.token_hex(16), None)
                deadline = asyncio.get_running_loop().time() + self._timeout_s
                await Delivery(
                    self._connection,
                    stream_name(self._namespace),
                    log,
                    outgoing,
                    deadline,
                    attempt_s=ATTEMPT_S,
                ).run()

        try:
            await spread(send, range(copy.count), CHUNKS_IN_FLIGHT)
        except BrokerUnavailable as error:
            message = "an attachment was not stored in time, so its message was not published"
            raise BrokerUnavailable(message, detail=error.detail) from error
        except StreamMissing as error:
            message = f"no stream takes the attachments of namespace {self._namespace}"
            raise StreamMissing(message) from error


async def spread(work: Callable[[T], Awaitable[None]], items: Iterable[T], width: int) -> None:
    """Do some work for each item, at most ``width`` at once; the first error ends the rest."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())
    except BaseExceptionGroup as several:
        first = several.exceptions[0]
    else:
        return
    raise first
