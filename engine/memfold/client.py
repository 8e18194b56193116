"""What all handles of one connection share: publishing, asking, and what is remembered between."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from memfold.attachments import ATTACH_ABOVE_BYTES
from memfold.because import Appended, Because, Grounds, grounds
from memfold.blobs import Blobs
from memfold.building import Context, Prepared, build, sealed
from memfold.connection import Connection
from memfold.errors import ReadOnly
from memfold.landing import Landed
from memfold.publisher import Publisher
from memfold.receipts import Receipt
from memfold.requests import Queries
from memfold.sealed import Keys, sealed_bytes_max
from memfold.subjects import Address, Facet

Write = tuple[str, Mapping[str, Any]]
"""The type of an event and its data."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a caller says beside the change itself."""

    expected: int | None = None
    because: Because = None
    correlation: str | None = None
    incarnation: int | None = None
    attach_above: int | None = None


NO_INTENT: Final = Intent()


class Client:
    """One actor's way into one namespace; handles are thin names on top of it."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str,
        actor: str,
        timeout_s: float,
        query_timeout_s: float,
        attach_above: int = ATTACH_ABOVE_BYTES,
        keys: Keys | None = None,
    ) -> None:
        self.connection = connection
        self.namespace = namespace
        self.actor = actor
        self.is_read_only = False
        self.queries = Queries(connection, namespace, timeout_s=query_timeout_s)
        self.keys = keys
        self._publisher = Publisher(
            connection, namespace, timeout_s=timeout_s, engine=self.queries, keys=keys
        )
        self.blobs = Blobs(
            connection,
            namespace,
            actor,
            self.queries,
            timeout_s=timeout_s,
            attach_above=attach_above,
            keys=keys,
        )
        self._appended = Appended()

    def read_only(self) -> Client:
        """Return the same client, on the same connection, for handles that may not write."""
        twin = copy.copy(self)
        twin.is_read_only = True
        return twin

    def check_writable(self) -> None:
        """Refuse a write through a read-only handle; every way of writing passes here.

        Raises:
            ReadOnly: nothing was sent.
        """
        if self.is_read_only:
            message = "this handle is read-only: write through the one it was made from"
            raise ReadOnly(message)

    def address(self, resource: str | None, thread: str | None, facet: Facet) -> Address:
        """Return the address of what this actor says about a document."""
        return Address(resource, thread, facet, self.actor)

    def grounds(self, because: Because, resource: str | None, thread: str | None) -> Grounds:
        """Return what a write rests on."""
        return grounds(because, resource=resource, thread=thread, appended=self._appended)

    async def write(
        self, address: Address, writes: Sequence[Write], intent: Intent = NO_INTENT
    ) -> Receipt:
        """Build events of one address and publish them together, behind their attachments."""
        self.check_writable()
        above = intent.attach_above
        writes, attachments = await self.blobs.take_out(address.resource, writes, above)
        causation = self.grounds(intent.because, address.resource, address.thread).causation
        context = Context(causation, intent.correlation, intent.incarnation)
        events = [build(address, type_, data, context) for type_, data in writes]
        messages = tuple(
            (str(address.thread), message)
            for type_, data in writes
            if (message := _message_id(type_, data)) is not None
        )
        async with self.blobs.stored(address.resource, attachments):
            receipt = await self.publish(events, expected=intent.expected, messages=messages)
        for event, (type_, data) in zip(events, writes, strict=True):
            message_id = _message_id(type_, data)
            if message_id is not None and address.resource and address.thread:
                self._appended.note(address.resource, address.thread, message_id, event.id)
        return receipt

    async def publish(
        self,
        events: Sequence[Prepared],
        *,
        expected: int | None = None,
        messages: tuple[tuple[str, str], ...] = (),
        alone: bool = False,
    ) -> Receipt:
        """Publish prepared events of one address as one message."""
        self.check_writable()
        landed = await self._land(events, expected, alone=alone)
        address = events[0].address
        if address.resource is None:
            self.queries.sightings.note_for_all(landed.sequence)
        else:
            self.queries.sightings.note(address.resource, landed.sequence)
        return Receipt(
            sequence=landed.sequence,
            index=landed.index,
            event_ids=tuple(event.id for event in events),
            duplicate=landed.duplicate,
            resource=address.resource,
            thread=address.thread,
            messages=messages,
            _queries=self.queries,
        )

    def bytes_of(self, event: Prepared) -> int:
        """Return the most bytes that an event takes in a message: sealed, if it is going to be."""
        size = len(event.payload)
        return size if self.keys is None else sealed_bytes_max(size)

    async def _land(
        self, events: Sequence[Prepared], expected: int | None, *, alone: bool
    ) -> Landed:
        """Publish events, sealed where there are keys, under one that was current until the end.

        What has landed while its key is current comes before any erasure that retires it. What has
        not may be the one thing that a destroyed key was still needed for: it is published again,
        and where the first one can be opened, the second is its duplicate.
        """
        resource = events[0].address.resource if events else None
        if self.keys is None or resource is None or events[0].address.facet == "erasure":
            return await self._publisher.publish(events, expected=expected, alone=alone)
        while True:
            key = self.keys.current(resource)
            closed = [sealed(event, key) for event in events]
            landed = await self._publisher.publish(closed, expected=expected, alone=alone)
            if self.keys.current(resource) == key:
                return landed
            expected = None if expected is None else landed.sequence

    async def close(self) -> None:
        """Wait for what is on its way, then close the connection."""
        await self.blobs.close()
        try:
            await self._publisher.drain()
        finally:
            await self._publisher.close()
            await self.connection.close()


def _message_id(type_: str, data: Mapping[str, Any]) -> str | None:
    """Return the message that an event brings or changes; a deleted one grounds nothing."""
    if type_ == "MessageAppended":
        found = data["message"].get("id")
    elif type_ == "MessageUpdated":
        found = data.get("id")
    else:
        return None
    return found if isinstance(found, str) else None
