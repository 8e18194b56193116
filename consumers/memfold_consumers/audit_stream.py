"""The audit stream of a namespace: leaves in blocks and heads, read and added to.

Any engine may add. The server takes what follows the message that its sender has read last, so one
of several wins, and the others read what it has published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from memfold.audit.heads import (
    Head,
    audit_stream,
    encode_block,
    heads_subject,
    leaves_subject,
    read_block,
    read_head,
)
from memfold.jetstream import REQUEST_S, JetStreamError, read_last, read_recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg

    from memfold.wire import Recorded

WRONG_LAST_SEQUENCE: Final = 10071


class Connection(Protocol):
    """What can send requests with headers: a nats-py client."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a server just now."""
        ...

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = ...,
        *,
        headers: dict[str, str] | None = ...,
    ) -> Msg:
        """Return the reply to a request."""
        ...


class AuditDamaged(Exception):
    """What stands in the audit stream is no block of leaves, or no head, that can follow."""


@dataclass(frozen=True, slots=True)
class Block:
    """A published block: its place in the audit stream, its first sequence and its leaves."""

    place: int
    first: int
    leaves: Sequence[bytes]

    @property
    def last(self) -> int:
        """The sequence of the last leaf."""
        return self.first + len(self.leaves) - 1


class AuditStream:
    """Reads and adds to one namespace's audit stream.

    All methods raise JetStreamError, nats.errors.Error or TimeoutError if the broker does not do
    it, and ``AuditDamaged`` for a message that is not of our form.
    """

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._leaves = leaves_subject(namespace)
        self._heads = heads_subject(namespace)
        self.name = audit_stream(namespace)

    @property
    def connected(self) -> bool:
        """Whether there is a server just now."""
        return self._connection.is_connected

    async def last_block(self) -> Block | None:
        """Return the newest block."""
        return _block(await read_last(self._connection, self.name, self._leaves))

    async def next_block(self, after: int) -> Block | None:
        """Return the first block behind a place in the audit stream."""
        return _block(await self._next(after, self._leaves))

    async def last_head(self) -> tuple[int, Head] | None:
        """Return the newest head with its place."""
        return _head(await read_last(self._connection, self.name, self._heads))

    async def next_head(self, after: int) -> tuple[int, Head] | None:
        """Return the first head behind a place in the audit stream."""
        return _head(await self._next(after, self._heads))

    async def add_block(self, first: int, leaves: Sequence[bytes], *, after: int) -> int | None:
        """Add a block behind the one at ``after`` and return its place; None: another was first."""
        return await self._add(self._leaves, encode_block(first, leaves), after)

    async def add_head(self, head: Head, *, after: int) -> int | None:
        """Add a head behind the one at ``after`` and return its place; None: another was first."""
        return await self._add(self._heads, head.encode(), after)

    async def _next(self, after: int, subject: str) -> Recorded | None:
        return await read_recorded(self._connection, self.name, after + 1, subject_filter=subject)

    async def _add(self, subject: str, payload: bytes, after: int) -> int | None:
        headers = {
            "Nats-Expected-Stream": self.name,
            "Nats-Expected-Last-Subject-Sequence": str(after),
        }
        reply = await self._connection.request(subject, payload, timeout=REQUEST_S, headers=headers)
        answer = orjson.loads(reply.data)
        error = answer.get("error")
        if error is None:
            return int(answer["seq"])
        if error.get("err_code") == WRONG_LAST_SEQUENCE:
            return None
        raise JetStreamError(int(error.get("err_code", 0)), str(error.get("description", "")))


def _block(message: Recorded | None) -> Block | None:
    if message is None:
        return None
    try:
        return Block(message.sequence, *read_block(message.payload))
    except ValueError as error:
        text = f"message {message.sequence} of the audit stream: {error}"
        raise AuditDamaged(text) from None


def _head(message: Recorded | None) -> tuple[int, Head] | None:
    if message is None:
        return None
    try:
        return message.sequence, read_head(message.payload)
    except ValueError as error:
        text = f"message {message.sequence} of the audit stream: {error}"
        raise AuditDamaged(text) from None
