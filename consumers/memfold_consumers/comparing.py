"""Holds the leaves of the log against the event stream and the audit stream, message by message."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from memfold.audit.heads import audit_stream, leaves_subject, read_block, read_head
from memfold.leaf import leaf_hash
from memfold_consumers.claims import Claim
from memfold_consumers.stream_reading import last_sequence, read_stream
from memfold_consumers.threads import in_thread
from memfold_projections.leaves import NO_LEAF, Leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client

    from memfold.audit.findings import Findings
    from memfold.wire import Recorded
    from memfold_projections.log import Log

    Tick = Callable[[int], None]

EVENT_STREAM: Final = "stream"


async def compare_stream(  # each is a part of the engine
    connection: Client,
    namespace: str,
    log: Log,
    upto: int,
    findings: Findings,
    tick: Tick,
) -> tuple[int, list[tuple[int, int]]]:
    """Compare every message of the stream up to a sequence with its leaf; return how many.

    What the stream has beyond is not folded yet, and no fault. Also returned are the holes.
    """
    leaves, where = Leaves(log), f"{EVENT_STREAM} {namespace}"
    last = await last_sequence(connection, namespace)
    taken = checked = 0
    holes: list[tuple[int, int]] = []

    def check(messages: Sequence[Recorded]) -> None:
        due = taken + 1
        for message in messages:
            if message.sequence > due:
                holes.append((due, message.sequence - 1))
            due = message.sequence + 1
        own = leaves.between(messages[0].sequence, messages[-1].sequence)
        for message in messages:
            leaf = own[message.sequence - messages[0].sequence]
            if leaf == NO_LEAF:
                text = f"the log has no leaf for the stream's message {message.sequence}"
                findings.add("stream_inserted", message.sequence, where, text)
            elif leaf_hash(message) != leaf:
                text = f"the stream's message {message.sequence} is not the log's"
                findings.add("stream_changed", message.sequence, where, text)

    async for messages in read_stream(connection, namespace, upto):
        await in_thread(partial(check, messages))
        taken = messages[-1].sequence
        checked += len(messages)
        tick(taken)
    end = min(last or 0, upto)
    if taken < end:
        holes.append((taken + 1, end))
    if end < upto:
        text = f"the stream ends at {end}, the log at {upto}"
        findings.add("stream_truncated", end + 1, where, text)
    return checked, holes


async def compare_published(  # each is a part of the engine
    connection: Client,
    namespace: str,
    log: Log,
    known: tuple[int, int],
    findings: Findings,
    tick: Tick,
) -> tuple[int, list[Claim]]:
    """Compare the published leaves with the log's; return up to where, and the published heads.

    ``known`` is what the engine knows to be there: the last leaf, and the size of a head.
    """
    stream = audit_stream(namespace)
    last = await last_sequence(connection, stream)
    published = _Published(stream, namespace, log, findings)
    async for messages in read_stream(connection, stream, last or 0):
        await in_thread(partial(published.take, messages))
        tick(published.leaves)
    published.end(last or 0)
    published.compare_known(*known)
    return published.leaves, published.heads


class _Published:
    def __init__(self, stream: str, namespace: str, log: Log, findings: Findings) -> None:
        self._stream = stream
        self._subject = leaves_subject(namespace)
        self._leaves = Leaves(log)
        self._log = log
        self._findings = findings
        self._place = 0
        self.leaves = 0
        self.heads: list[Claim] = []

    def take(self, messages: Sequence[Recorded]) -> None:
        for message in messages:
            self.end(message.sequence - 1)
            self._place = message.sequence
            where = f"{self._stream} message {message.sequence}"
            try:
                if message.subject == self._subject:
                    self._block(*read_block(message.payload), where)
                else:
                    head = read_head(message.payload)
                    self.heads.append(Claim(head, where, message.sequence))
            except ValueError as error:
                self._findings.add("published_unreadable", None, where, str(error))

    def end(self, place: int) -> None:
        """Say what is missing before a place of the audit stream."""
        if place > self._place:
            text = f"the audit stream has no messages {self._place + 1} to {place}"
            where = f"{self._stream} message {self._place + 1}"
            self._findings.add("published_missing", None, where, text)
            self._place = place

    def compare_known(self, leaves: int, size: int) -> None:
        """Say what is missing at the end."""
        if self.leaves < leaves:
            text = f"it has leaves up to {self.leaves}, but had them up to {leaves}"
            self._findings.add("published_missing", self.leaves + 1, self._stream, text)
        newest = max((claim.head.size for claim in self.heads), default=0)
        if newest < size:
            text = f"its newest head is of {newest} messages, but it had one of {size}"
            self._findings.add("published_missing", newest + 1, self._stream, text)

    def _block(self, first: int, leaves: list[bytes], where: str) -> None:
        due = self.leaves + 1
        if first != due:
            text = f"a block begins with message {first}, where {due} is due"
            self._findings.add("published_missing", min(first, due), where, text)
        last = min(first + len(leaves) - 1, self._log.sequence)
        own = self._leaves.between(first, last)
        # The log may be behind: what it has not folded cannot be compared.
        for place, (ours, theirs) in enumerate(zip(own, leaves, strict=False)):
            if ours != theirs:
                text = f"the published leaf of message {first + place} is not the log's"
                self._findings.add("published_differs", first + place, where, text)
        self.leaves = max(self.leaves, first + len(leaves) - 1)
