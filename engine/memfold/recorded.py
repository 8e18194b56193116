"""Recorded messages as a client reads them: raw, with what they need to be folded or proved."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from memfold.arguments import count, count_or_none
from memfold.reads import Read
from memfold.requests import PAGE_MAX, Queries
from memfold.wire import Recorded


@dataclass(frozen=True, slots=True)
class RecordedMessage(Read):
    """One message of the log as the stream recorded it: an event, or a batch of them.

    ``time_ns`` is the server's time, ``time_us`` the log's, made monotone. ``leaf`` is its leaf in
    the Merkle tree over the log, in hexadecimal digits; what is left of a message that is
    ``redacted``, because some of its events were erased, does not give it. As plain JSON
    ``payload`` is base64.
    """

    sequence: int
    time_ns: int
    time_us: int
    subject: str
    msg_id: str
    payload: bytes
    leaf: str
    redacted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON: objects, lists, text, numbers."""
        # Not super(): a dataclass with slots is another class than the one of the source.
        return {**Read.to_json(self), "payload": base64.b64encode(self.payload).decode()}


def recorded(message: RecordedMessage) -> Recorded:
    """Return the unit of the log that a message was read from."""
    return Recorded(
        message.sequence,
        message.time_ns,
        message.subject,
        message.payload,
        message.msg_id,
        leaf=bytes.fromhex(message.leaf) if message.redacted else None,
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Which messages: of a resource, one thread of it, or (None) the namespace's defaults.

    From the sequence ``after`` + 1 to ``upto``, or to all that is folded when the first are read.
    ``whole_log``: all messages of the namespace.
    """

    resource: str | None
    thread: str | None = None
    after: int = 0
    upto: int | None = None
    whole_log: bool = False
    fresh: bool = True
    min_sequence: int = 0


async def read_recorded_pages(
    queries: Queries, asked: Asked
) -> AsyncIterator[tuple[list[RecordedMessage], int]]:
    """Yield lists of whole messages in the log's order, each with the sequence they are read up to.

    Raises:
        InvalidRequest: a bound that is no number from 0 on.
    """
    count_or_none(asked.upto, "upto=")
    arguments: dict[str, Any] = {"after": [count(asked.after, "after=") + 1, 0], "limit": PAGE_MAX}
    if asked.thread is not None:
        arguments["thread"] = asked.thread
    if asked.whole_log:
        arguments["whole_log"] = True
    upto = asked.upto
    begun = b""
    minimum, first = asked.min_sequence, True
    while True:
        if upto is not None:
            arguments["upto"] = upto
        answer = await queries.ask(
            "recorded", asked.resource, arguments, fresh=asked.fresh, min_sequence=minimum
        )
        if first:
            # What is written meanwhile is not read, and another engine must have come as far.
            minimum, first = answer["sequence"], False
            upto = minimum if upto is None else min(upto, minimum)
        page: list[RecordedMessage] = []
        for raw in answer["recorded"]:
            begun += base64.b64decode(raw["payload"])
            if len(begun) == raw["size"]:
                page.append(RecordedMessage.from_json(raw, payload=begun))
                begun = b""
        yield page, upto or 0
        if answer["next"] is None:
            return
        arguments["after"] = answer["next"]


async def read_recorded_messages(queries: Queries, asked: Asked) -> AsyncIterator[RecordedMessage]:
    """Yield messages in the log's order."""
    async for page, _ in read_recorded_pages(queries, asked):
        for message in page:
            yield message
