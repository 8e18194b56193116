"""Holes of the event stream: what was erased before this engine came to it.

The stream's own records say which messages are gone and what of them was kept; the audit stream has
their leaves. A hole that no record explains is a loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.erasure import FACET
from memfold.erasure_records import ErasureRecords
from memfold.errors import LogDiverged
from memfold.jetstream import read_recorded
from memfold.wire import Event, Recorded, read_message
from memfold_consumers.audit_stream import AuditStream

if TYPE_CHECKING:
    from memfold_consumers.audit_stream import Block, Connection

HOLE_MESSAGES_MAX: Final = 2000
"""Messages of a hole that are filled at once."""


class HoleReader:
    """Explains the holes of one namespace's stream, as far as its records go at that time."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._audit = AuditStream(connection, namespace)
        self._records = ErasureRecords()
        self._read_upto = 0
        self._block: Block | None = None

    async def explain(self, first: int, last: int) -> None:
        """Return if records explain all of these missing messages.

        Raises:
            LogDiverged: there is one that none explains.
            JetStreamError, nats.errors.Error, TimeoutError: the broker did not answer; try again.
        """
        await self._read_records(first)
        unexplained = self._records.unexplained(first, last)
        if unexplained:
            message = (
                f"the stream has no message {unexplained[0][0]}, and no erasure explains that. "
                "Folding has stopped; what was folded is kept."
            )
            raise LogDiverged(message)

    async def fill(self, first: int, last: int) -> list[Recorded]:
        """Return what is left of these missing messages, at most 2,000 of them.

        Raises:
            LogDiverged: no record explains one, or its leaf was never published.
            JetStreamError, nats.errors.Error, TimeoutError: the broker did not answer; try again.
        """
        await self.explain(first, last)
        upto = min(last, first + HOLE_MESSAGES_MAX - 1)
        return [
            self._records.message(sequence, await self._leaf(sequence))
            for sequence in range(first, upto + 1)
        ]

    async def _read_records(self, after: int) -> None:
        """Read the records behind a sequence, those that were not read before."""
        after = max(after, self._read_upto)
        filter_ = f"{self._namespace}.events.*.*.*.{FACET}.*"
        while True:
            recorded = await read_recorded(
                self._connection, self._namespace, after + 1, subject_filter=filter_
            )
            if recorded is None:
                return
            for event in read_message(self._namespace, recorded, time_us=0):
                if isinstance(event, Event):
                    self._records.add(event)
            after = self._read_upto = recorded.sequence

    async def _leaf(self, sequence: int) -> bytes:
        """Return the published leaf of a message; blocks are read in their order."""
        block = self._block
        if block is None or sequence < block.first:
            block = await self._audit.next_block(0)
        while block is not None and block.last < sequence:
            block = await self._audit.next_block(block.place)
        self._block = block
        if block is None or sequence < block.first:
            message = (
                f"message {sequence} was erased, and its leaf is not in the audit stream "
                f"{self._audit.name}: the log cannot be made whole. Folding has stopped."
            )
            raise LogDiverged(message)
        return block.leaves[sequence - block.first]
