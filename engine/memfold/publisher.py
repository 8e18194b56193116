"""Lanes: one publish in flight per subject and client; what arrives meanwhile travels together.

So a subject's events keep the order in which they were handed in, and many tasks writing at once
cost few messages. A lane knows nothing of how a message gets through: that is ``delivery``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from memfold.arguments import revision
from memfold.building import Prepared
from memfold.delivery import Delivery
from memfold.errors import BrokerUnavailable, InvalidEvent, TooLarge
from memfold.ids import encode_token
from memfold.landing import EngineReads, Landed, LogReader, Outgoing
from memfold.limits import (
    BATCH_EVENTS_MAX,
    HEADER_RESERVE_BYTES,
    MESSAGE_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
)
from memfold.sealed import KeyFinder
from memfold.subjects import Address, publish_subject

if TYPE_CHECKING:
    from memfold.connection import Connection

CONTROL_LINE_BYTES_MAX: Final = 4096
CONTROL_LINE_RESERVE_BYTES: Final = 256
"""Room on the protocol line for the verb, the inbox and the sizes."""


@dataclass(slots=True, eq=False)
class _Item:
    """Events that one caller published together, and the future that caller waits for."""

    events: Sequence[Prepared]
    size: int
    expected: int | None
    alone: bool
    deadline: float
    future: asyncio.Future[Landed]


class Publisher:
    """Publishes events in their order per subject; safe for any number of tasks."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        *,
        timeout_s: float = 30.0,
        engine: EngineReads | None = None,
        keys: KeyFinder | None = None,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._timeout_s = timeout_s
        self._log = LogReader(connection, namespace, engine, keys)
        self._lanes: dict[str, deque[_Item]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # A stream may take less than the server; then together travels what fits.
        self._together_max = PAYLOAD_BYTES_MAX

    async def publish(
        self, events: Sequence[Prepared], *, expected: int | None = None, alone: bool = False
    ) -> Landed:
        """Publish events of one address as one message, atomically, and return where it stands.

        ``expected`` is the revision after which nothing else may have been written; ``alone`` keeps
        other callers' events out of the message. A caller that
        is cancelled while it waits leaves what was sent in the log.

        Raises:
            InvalidRequest, InvalidEvent, TooLarge: nothing was sent.
            RevisionConflict, PublishDenied, StreamMissing, StreamFull: the stream refused it.
            BrokerUnavailable: not acknowledged in ``timeout_s`` seconds.
        """
        expected = revision(expected)
        self._connection.check_loop()
        address = _check_batch(events)
        subject = publish_subject(self._namespace, address)
        size = _payload_size(events)
        self._check_size(subject, size)
        loop = asyncio.get_running_loop()
        item = _Item(
            events=events,
            size=size,
            expected=expected,
            alone=alone or expected is not None,
            deadline=loop.time() + self._timeout_s,
            future=loop.create_future(),
        )
        lane = self._lanes.get(subject)
        if lane is not None:
            lane.append(item)
        else:
            self._lanes[subject] = deque([item])
            task = loop.create_task(self._run(address, subject), name="memfold-lane")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await item.future

    async def drain(self) -> None:
        """Wait until nothing is on its way, at most as long as a publish may take."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self._timeout_s)

    async def close(self) -> None:
        """Give up what is on its way; its callers get ``BrokerUnavailable``."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _check_size(self, subject: str, size: int) -> None:
        """Refuse what would make the server close the connection for good."""
        limit = min(PAYLOAD_BYTES_MAX, self._connection.client.max_payload - HEADER_RESERVE_BYTES)
        if size > limit:
            message = f"the message is {size} bytes large, the limit is {limit}"
            raise TooLarge(message, reason="message_too_large")
        if len(subject) + CONTROL_LINE_RESERVE_BYTES > CONTROL_LINE_BYTES_MAX:
            message = "the ids together make too long a subject"
            raise TooLarge(message, reason="subject_too_long")

    async def _run(self, address: Address, subject: str) -> None:
        """Send what waits in a lane, message by message, until it is empty."""
        lane = self._lanes[subject]
        items: list[_Item] = []
        try:
            while lane:
                items = self._take(lane)
                if items:
                    await self._send(address, subject, items, lane)
        finally:
            # No await since the lane was seen empty: a new caller begins a new one.
            del self._lanes[subject]
            for item in (*items, *lane):
                if not item.future.done():
                    item.future.set_exception(BrokerUnavailable("the client was closed"))

    async def _send(
        self, address: Address, subject: str, items: list[_Item], lane: deque[_Item]
    ) -> None:
        outgoing = self._outgoing(address, subject, items)
        deadline = min(item.deadline for item in items)
        delivery = Delivery(self._connection, self._namespace, self._log, outgoing, deadline)
        try:
            landed = await delivery.run()
        except TooLarge as error:
            if len(items) == 1:
                _fail(items, error)
                return
            # Refused only because it travelled together: back into the lane, in smaller parts.
            self._together_max = len(outgoing.payload) // 2
            lane.extendleft(reversed(items))
            items.clear()
        except Exception as error:  # noqa: BLE001 - each caller gets it.
            _fail(items, error)
        else:
            index = landed.index
            for item in items:
                if not item.future.done():
                    item.future.set_result(replace(landed, index=index))
                index += len(item.events)

    def _take(self, lane: deque[_Item]) -> list[_Item]:
        """Take the next items that may travel together, leaving out those given up meanwhile."""
        items: list[_Item] = []
        count = size = 0
        while lane:
            item = lane[0]
            if item.future.done():
                lane.popleft()
                continue
            size += item.size + 2
            count += len(item.events)
            if items and (item.alone or count > BATCH_EVENTS_MAX or size > self._together_max):
                break
            items.append(lane.popleft())
            if item.alone:
                break
        return items

    def _outgoing(self, address: Address, subject: str, items: list[_Item]) -> Outgoing:
        events = [event for item in items for event in item.events]
        payload = (
            events[0].payload
            if len(events) == 1
            else b"[" + b",".join(event.payload for event in events) + b"]"
        )
        resource = "_" if address.resource is None else encode_token(address.resource)
        return Outgoing(
            address=address,
            subject=subject,
            payload=payload,
            event_ids=tuple(event.id for event in events),
            msg_id=_msg_id(resource, events[0]),
            expected=items[0].expected,
        )


def _msg_id(resource: str, first: Prepared) -> str:
    # Sealed under another key it has to land again: the fold knows it for the same event.
    seal = f".{first.keyid}" if first.keyid else ""
    return f"{resource}.{encode_token(first.id)}{seal}"


def _fail(items: Sequence[_Item], error: Exception) -> None:
    for item in items:
        if not item.future.done():
            item.future.set_exception(error)


def _check_batch(events: Sequence[Prepared]) -> Address:
    if not events:
        message = "a batch holds at least one event"
        raise InvalidEvent(message, reason="batch_empty")
    if len(events) > BATCH_EVENTS_MAX:
        message = f"a batch holds at most {BATCH_EVENTS_MAX} events, this one {len(events)}"
        raise TooLarge(message, reason="batch_too_large")
    address = events[0].address
    if any(event.address != address for event in events):
        message = "a batch holds events of one resource, thread, facet and actor"
        raise InvalidEvent(message, reason="batch_mixed")
    return address


def _payload_size(events: Sequence[Prepared]) -> int:
    total = sum(len(event.payload) for event in events)
    return total if len(events) == 1 else total + len(events) + 1


assert PAYLOAD_BYTES_MAX + HEADER_RESERVE_BYTES <= MESSAGE_BYTES_MAX
