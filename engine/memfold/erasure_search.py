"""Finds in the event stream what an erasure covers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from memfold.erasure import FACET, Erasure, Part, part_of, said_again
from memfold.ids import encode_token
from memfold.jetstream import api, read_recorded
from memfold.refilled import Refilled

if TYPE_CHECKING:
    from memfold.client import Client
    from memfold.wire import Recorded

Progress = Callable[[str, int, int | None], None]
"""Called with a phase, how much of it is done, and of how much, if that is known."""

_HASHES: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(slots=True)
class Found:
    """What is in the event stream of a target."""

    parts: list[tuple[Recorded, Part]] = field(default_factory=list["tuple[Recorded, Part]"])
    hashes: set[str] = field(default_factory=set[str])

    def add(self, message: Recorded, part: Part) -> None:
        """Add a message with what of it is covered."""
        self.parts.append((message, part))
        for payload in (message.payload, *said_again(message)):
            self.hashes.update(found.decode() for found in _HASHES.findall(payload))


class Search:
    """The search for one target; ``erasure`` has any sequence."""

    def __init__(self, client: Client, erasure: Erasure, progress: Progress) -> None:
        self._client = client
        self._stream = client.namespace
        self._erasure = erasure
        self._progress = progress
        self._refilled = Refilled()

    async def run(self, before: int) -> Found:
        """Return what of the target stands in the stream before a sequence."""
        config = (await api(self._client.connection, f"STREAM.INFO.{self._stream}"))["config"]
        self._refilled = Refilled.of(config)
        erasure = replace(self._erasure, sequence=before)
        found = Found()
        seen: set[int] = set()
        async for message in self._candidates(before):
            part = part_of(erasure, message)
            if part is not None and message.sequence not in seen:
                seen.add(message.sequence)
                found.add(message, part)
            self._progress("looking", message.sequence, before)
        return found

    async def _candidates(self, before: int) -> AsyncIterator[Recorded]:
        """Yield the messages of the stream that may hold something of the target."""
        if self._erasure.position is not None:
            at = await read_recorded(
                self._client.connection,
                self._stream,
                self._erasure.position[0],
                refilled=self._refilled,
            )
            if at is not None:
                yield at
        for filter_ in self._filters():
            async for message in matching(
                self._client, self._stream, filter_, before, refilled=self._refilled
            ):
                yield message
        async for message in self._odd(before):
            yield message

    def _filters(self) -> list[str]:
        erasure = self._erasure
        resource = "_" if erasure.resource is None else encode_token(erasure.resource)
        thread = "_" if erasure.thread is None else encode_token(erasure.thread)
        head = f"{self._stream}.events.*.{resource}"
        match self._erasure.target:
            case "resource":
                return [f"{head}.>"]
            case "thread":
                return [f"{head}.{thread}.>"]
            case "message":
                return [f"{head}.{thread}.messages.*", f"{head}.{thread}.{FACET}.*"]
            case _:
                return [f"{head}.{thread}.{FACET}.*"]

    async def _odd(self, before: int) -> AsyncIterator[Recorded]:
        """Yield parked messages whose subject means the target in another form than its own."""
        if self._erasure.target not in {"resource", "thread"}:
            return
        parked, _ = await self._client.queries.pages("parked", None, "parked")
        for each in parked:
            if each["reason"] != "subject_not_canonical" or each["sequence"] >= before:
                continue
            message = await read_recorded(
                self._client.connection,
                self._stream,
                each["sequence"],
                refilled=self._refilled,
            )
            if message is not None:
                yield message


async def matching(
    client: Client,
    stream: str,
    filter_: str,
    before: int,
    *,
    refilled: Refilled = Refilled(),  # noqa: B008  # frozen
) -> AsyncIterator[Recorded]:
    """Yield the messages of a stream below a sequence that match a filter, in order."""
    after = 0
    while True:
        message = await read_recorded(
            client.connection, stream, after + 1, subject_filter=filter_, refilled=refilled
        )
        if message is None or message.sequence >= before:
            return
        yield message
        after = message.sequence
