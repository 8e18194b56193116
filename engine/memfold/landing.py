"""Asks the stream's leader whether what stands in the log is our own write.

The acknowledgement of a retried write cannot tell: deduplication is blind to content, and a wrong
expected sequence may be our own doing. Reads never go to a follower, which may be behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from memfold.errors import EngineUnavailable, InvalidEvent, PublishDenied
from memfold.jetstream import read_recorded
from memfold.subjects import Address, stored_filter
from memfold.wire import Recorded, message_digests

if TYPE_CHECKING:
    from memfold.jetstream import Requester
    from memfold.sealed import KeyFinder


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One NATS message about to be published: the same bytes at every try."""

    address: Address
    subject: str
    payload: bytes
    event_ids: tuple[str, ...]
    msg_id: str
    expected: int | None


@dataclass(frozen=True, slots=True)
class Landed:
    """Where a message stands in the log; ``index`` is its first event's place in the batch."""

    sequence: int
    index: int
    duplicate: bool


class EngineReads(Protocol):
    """What a publisher asks an engine for where the log alone does not say."""

    async def locate(
        self, source: str, ids: Sequence[str], min_sequence: int
    ) -> list[tuple[int, int] | None]:
        """Return the positions of events by id, those known at ``min_sequence``."""
        ...

    async def revision(self, address: Address, min_sequence: int) -> tuple[int, bool] | None:
        """Return a document's revision, and whether it exists; None for what has no revision."""
        ...


class LogReader:
    """Finds our writes in the log: at the stream's leader or, that denied, by an engine."""

    def __init__(
        self,
        connection: Requester,
        namespace: str,
        engine: EngineReads | None = None,
        keys: KeyFinder | None = None,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._engine = engine
        self._keys = keys
        self._denied = False

    async def find_at(self, outgoing: Outgoing, sequence: int) -> Landed | None:
        """Return where our events are in the message at ``sequence``; None if it is not ours."""
        recorded = await self._read(sequence)
        if self._denied:
            return await self._find_by_engine(outgoing, sequence, sequence)
        return self._match(outgoing, recorded)

    async def find_next(self, outgoing: Outgoing, after: int, last: int | None) -> Landed | None:
        """Return our message if it is the first of its document after the sequence ``after``.

        ``last`` is the document's last sequence as the stream named it. None: another write stands
        there.

        Raises:
            LookupError: nothing stands there.
        """
        filter_ = stored_filter(self._namespace, outgoing.address)
        recorded = await self._read(after + 1, filter_)
        if self._denied:
            return await self._find_by_engine(outgoing, after + 1, last or after + 1)
        if recorded is None:
            raise LookupError
        if recorded.msg_id != outgoing.msg_id:
            return None
        return self._match(outgoing, recorded)

    async def revision(self, address: Address, min_sequence: int) -> tuple[int, bool] | None:
        """Return a document's revision, and whether it exists; None if nobody can say."""
        if self._engine is None:
            return None
        try:
            return await self._engine.revision(address, min_sequence)
        except EngineUnavailable:
            return None

    async def _read(self, sequence: int, filter_: str | None = None) -> Recorded | None:
        if self._denied:
            return None
        try:
            return await read_recorded(
                self._connection, self._namespace, sequence, subject_filter=filter_
            )
        except PublishDenied:
            if self._engine is None:
                raise
            self._denied = True
            return None

    async def _find_by_engine(
        self, outgoing: Outgoing, first: int, min_sequence: int
    ) -> Landed | None:
        assert self._engine is not None
        places = await self._engine.locate(outgoing.address.actor, outgoing.event_ids, min_sequence)
        found = [place for place in places if place is not None and place[0] >= first]
        if not found or len(found) != len(places) or len({sequence for sequence, _ in found}) > 1:
            return None
        return Landed(*found[0], duplicate=True)

    def _match(self, outgoing: Outgoing, recorded: Recorded | None) -> Landed | None:
        if recorded is None:
            return None
        prefix, _, tokens = _partitioned(recorded.subject)
        if prefix != f"{self._namespace}.events" or tokens != outgoing.address.tokens():
            return None
        try:
            stored = message_digests(recorded.payload, outgoing.address, self._keys)
        except InvalidEvent:
            return None
        ours = message_digests(outgoing.payload, outgoing.address, self._keys)
        index = _place(ours, stored)
        return None if index is None else Landed(recorded.sequence, index, duplicate=True)


def _partitioned(subject: str) -> tuple[str, str, str]:
    """Split ``{namespace}.events``, the partition, and the tokens of the address."""
    namespace, _, rest = subject.partition(".")
    word, _, rest = rest.partition(".")
    partition, _, tokens = rest.partition(".")
    return f"{namespace}.{word}", partition, tokens


def _place(ours: Sequence[bytes], stored: Sequence[bytes]) -> int | None:
    """Return where our run of digests begins in the stored one: a batch may hold more than ours."""
    for index in range(len(stored) - len(ours) + 1):
        if list(stored[index : index + len(ours)]) == list(ours):
            return index
    return None
