"""Finds in the event stream what an erasure covers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from memfold.erasure import FACET, Erasure, Part, part_of, said_again, same_token
from memfold.errors import InvalidEvent, InvalidRequest, NotFound
from memfold.ids import encode_token
from memfold.jetstream import api, read_recorded
from memfold.refilled import Refilled
from memfold.sealed import keyids, opened_parts
from memfold.subjects import parse_stored

if TYPE_CHECKING:
    from memfold.client import Client
    from memfold.sealed import Keys
    from memfold.wire import Recorded

Progress = Callable[[str, int, int | None], None]
"""Called with a phase, how much of it is done, and of how much, if that is known."""

TOKENS: Final = 7
"""Of a stored subject."""
_HASHES: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_ESCAPE: Final = re.compile(rb"\\u00([0-9A-Fa-f]{2})")


@dataclass(slots=True)
class Found:
    """What is in the event stream of a target."""

    parts: list[tuple[Recorded, Part]] = field(default_factory=list["tuple[Recorded, Part]"])
    hashes: set[str] = field(default_factory=set[str])
    sealed: int = 0
    """Events that are sealed, those beside covered ones included."""
    sealed_messages: bool = False
    """Whether some of them are of the facet messages, which alone refer to attachments."""
    plain: int = 0
    """Events that were not sealed, where all that a message holds is covered."""

    def add(self, message: Recorded, part: Part, keys: Keys | None = None) -> None:
        """Add a message with what of it is covered."""
        self.parts.append((message, part))
        payloads = (message.payload, *said_again(message))
        sealed = sum(len(keyids(each)) for each in payloads)
        self.sealed += sealed
        self.sealed_messages |= sealed > 0 and message.subject.split(".")[5] in {"messages", FACET}
        self.plain += max(0, len(part.covered) - sealed)
        for payload in payloads:
            # JSON may write a digit as an escape. Rather one too many: the engine knows better.
            plain = _ESCAPE.sub(lambda match: bytes([int(match.group(1), 16)]), payload)
            for form in (payload, plain, _opened(message, payload, keys)):
                self.hashes.update(found.decode() for found in _HASHES.findall(form))


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
            part = part_of(erasure, message, self._client.keys)
            if part is not None and message.sequence not in seen:
                seen.add(message.sequence)
                found.add(message, part, self._client.keys)
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
        """Yield the messages whose subject means the target in another form than its own.

        They were parked. The server's index of subjects has them whatever became of them there:
        discarded, not folded yet, or dropped by an erasure that was cut off.
        """
        for filter_ in await self._odd_filters():
            async for message in matching(
                self._client, self._stream, filter_, before, refilled=self._refilled
            ):
                yield message

    async def _odd_filters(self) -> list[str]:
        match self._erasure.target:
            case "resource" | "thread":
                wanted = [f"{self._stream}.events.>"]
            case "message":
                facets = ("messages", FACET)
                wanted = [f"{self._stream}.events.*.*.*.{facet}.*" for facet in facets]
            case _:
                wanted = [f"{self._stream}.events.*.*.*.{FACET}.*"]
        found: set[str] = set()
        for filter_ in wanted:
            async for subject in subjects(self._client, self._stream, filter_):
                tokens = subject.split(".")
                if self._is_odd(tokens):
                    # A wildcard that was published as a token matches itself, too.
                    found.add(".".join("*" if each == ">" else each for each in tokens))
        return sorted(found)

    def _is_odd(self, tokens: list[str]) -> bool:
        erasure = self._erasure
        if len(tokens) != TOKENS:
            return False
        pairs = [(tokens[3], erasure.resource)]
        if erasure.target != "resource":
            pairs.append((tokens[4], erasure.thread))
        return all(same_token(written, name) for written, name in pairs) and any(
            name is not None and written != encode_token(name) for written, name in pairs
        )


async def subjects(client: Client, stream: str, filter_: str) -> AsyncIterator[str]:
    """Yield the subjects of a stream that match a filter, some of them perhaps twice."""
    read, total = 0, 0
    while True:
        body = {"subjects_filter": filter_, "offset": read}
        answer = await api(client.connection, f"STREAM.INFO.{stream}", body)
        page: dict[str, int] = answer["state"].get("subjects") or {}
        for subject in page:
            yield subject
        read += len(page)
        before, total = total, int(answer.get("total", 0))
        if total < before:
            # What another erasure has taken away meanwhile has moved the others to the front.
            read = 0
        elif not page or read >= total:
            return


def _opened(message: Recorded, payload: bytes, keys: Keys | None) -> bytes:
    """Return what is sealed in a payload, which is a message's or is said again in it."""
    try:
        address = parse_stored(message.subject.partition(".")[0], message.subject)
    except InvalidEvent:
        return b""
    return opened_parts(payload, replace(address, facet="messages"), keys)


async def matching(
    client: Client,
    stream: str,
    filter_: str,
    before: int,
    *,
    after: int = 0,
    refilled: Refilled = Refilled(),  # noqa: B008  # frozen
) -> AsyncIterator[Recorded]:
    """Yield the messages of a stream between two sequences that match a filter, in order."""
    while True:
        message = await read_recorded(
            client.connection, stream, after + 1, subject_filter=filter_, refilled=refilled
        )
        if message is None or message.sequence >= before:
            return
        yield message
        after = message.sequence


def loosely(token: str) -> str:
    """Return the id that a token means, in its own form or another one."""
    from urllib.parse import unquote

    try:
        return unquote(token, errors="strict")
    except UnicodeDecodeError:
        message = "a thread's token has no text"
        raise InvalidRequest(message) from None


async def owner_of(client: Client, sequence: int) -> tuple[str | None, str | None]:
    """Return the resource and the thread that a message of the stream speaks of.

    Raises:
        NotFound: there is no such message in the stream.
    """
    found = await read_recorded(client.connection, client.namespace, sequence)
    tokens = [] if found is None else found.subject.split(".")
    if len(tokens) != len(["n", "events", "p", "r", "t", "f", "a"]):
        message = (
            f"the stream has no message {sequence} of ours: if a part of it was erased before, "
            "name its resource and thread"
        )
        raise NotFound(message)
    resource, thread = (None if each == "_" else loosely(each) for each in tokens[3:5])
    return resource, thread
