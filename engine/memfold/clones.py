"""Clones: a thread's messages copied into a new thread by ordinary messages, then told as such.

The copies keep their ids (a message's id is its thread's alone), their times and their order, so a
clone that was cut short is completed by making it again: what is there already is not sent twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from memfold.building import Context, Prepared, build
from memfold.canonical import same
from memfold.errors import NotFound, Rejected, RevisionConflict
from memfold.initial import put_initial
from memfold.limits import BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX
from memfold.lists import checked_time
from memfold.pages import Messages, Range
from memfold.reads import MessageView, Snapshot, ThreadLink, ThreadState
from memfold.working_memory import WorkingMemory

if TYPE_CHECKING:
    from memfold.client import Client
    from memfold.thread import Thread

MAP_BYTES_MAX: Final = 256 * 1024
"""Ids in one event's map, both sides, in bytes of UTF-8: with JSON's escapes it still fits."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which messages are copied: all, or the ``last`` ones of those that the other fields leave.

    ``upto``: up to and including that message. ``since`` and ``until`` bound ``created_at``, both
    included. ``ids``: these alone.
    """

    last: int | None = None
    upto: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: Sequence[str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the event; chosen ids are those of the event's map."""
        raw: dict[str, Any] = {"last": self.last, "upto": self.upto}
        for name, moment in (("since", self.since), ("until", self.until)):
            raw[name] = None if moment is None else checked_time(name, moment)
        raw["chosen"] = self.ids is not None or None
        return {key: value for key, value in raw.items() if value is not None}


EVERYTHING: Final = Cut()


@dataclass(frozen=True, slots=True)
class Clone:
    """What ``Thread.clone`` made: the new thread, its source, and each source message's copy."""

    thread: Thread
    source: ThreadLink
    messages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the clone is to be besides its messages."""

    title: str | None = None
    metadata: Mapping[str, Any] | None = None
    working_memory: bool = True
    correlation: str | None = None


@dataclass(frozen=True, slots=True)
class Cloning:
    """One clone on its way from source to target."""

    client: Client
    source: Thread
    target: Thread
    cut: Cut
    wanted: Wanted

    async def run(self) -> Clone:
        """Copy the thread as it stands now into a new one.

        Raises:
            NotFound: there is no such thread, or no message ``upto`` or of ``ids`` in it.
            Rejected: reason ``thread_exists``, the new thread is somebody's already.
        """
        self.client.check_writable()
        source, target = self.source, self.target
        there = (await target.snapshot(last=0)).thread
        begun = None if there is None else there.source
        if begun is not None and (begun.resource, begun.thread) != (source.resource_id, source.id):
            self._exists()
        state = await source.snapshot(last=0)
        if state.thread is None:
            problem = f"there is no thread {source.id!r} of resource {source.resource_id!r}"
            raise NotFound(problem)
        # One that was cut short goes on from the state that it began with.
        sequence = state.sequence if begun is None else begun.sequence
        messages = await self._messages(sequence)
        done = 0 if begun is None else begun.messages
        held = await target.messages()
        if there is not None and (done >= len(messages) or not _is_beginning(held, messages)):
            self._exists()
        await self._copy(messages[len(held) :])
        if self.wanted.working_memory:
            await self._copy_memories(state)
        link = ThreadLink(source.resource_id, source.id, sequence, len(messages))
        events = self._told(state.thread, link, [each.id for each in messages[done:]], begun)
        await self._tell(events, begun)
        return Clone(target, link, {message.id: message.id for message in messages})

    async def _messages(self, sequence: int) -> list[MessageView]:
        """Return what the cut leaves of the source as it stood at a sequence."""
        cut, source = self.cut, self.source
        filters = {"since": cut.since, "until": cut.until, "as_of": sequence}
        asked = Messages(self.client.queries, source.resource_id, source.id, filters)
        if cut.upto is None and cut.ids is None:
            return await asked.range(Range(last=cut.last))
        messages = await asked.range(Range())
        known = [message.id for message in messages]
        for name in (*(cut.ids or ()), *(() if cut.upto is None else (cut.upto,))):
            if name not in known:
                problem = f"there is no message {name!r} among those of thread {source.id!r}"
                raise NotFound(problem)
        if cut.upto is not None:
            messages = messages[: known.index(cut.upto) + 1]
        if cut.ids is not None:
            chosen = set(cut.ids)
            messages = [message for message in messages if message.id in chosen]
        if cut.last is not None:
            messages = messages[max(0, len(messages) - cut.last) :]
        return messages

    async def _copy(self, messages: list[MessageView]) -> None:
        address = self.client.address(self.target.resource_id, self.target.id, "messages")
        context = Context(correlation=self.wanted.correlation)
        bodies = map(_body, messages)
        events = (build(address, "MessageAppended", {"message": body}, context) for body in bodies)
        source, target = self.source.resource_id, self.target.resource_id
        contents = [message.content for message in messages]
        async with self.client.blobs.carried(source, target, contents):
            for batch in _batches(events):
                await self.client.publish(batch)

    async def _copy_memories(self, state: Snapshot) -> None:
        """Copy the thread's own memory and definition; of another resource, its memory as well.

        What is there already is never replaced.
        """
        own = await self.source.working_memory.definition()
        if own is not None and own.scope == "thread":
            now = await self.target.working_memory.definition()
            if now is None or now.scope != "thread":
                await self.target.working_memory.define(
                    template=own.template, schema=own.json_schema
                )
        pairs = [(state.thread_working_memory, self.target.working_memory)]
        if self.source.resource_id != self.target.resource_id:
            other = WorkingMemory(self.client, self.target.resource_id, None)
            pairs.append((state.working_memory, other))
        for memory, copy in pairs:
            if memory is not None:
                await put_initial(copy, memory.content, reason=f"cloned from {self.source.id}")

    def _told(
        self, thread: ThreadState, link: ThreadLink, ids: list[str], begun: ThreadLink | None
    ) -> Iterator[Prepared]:
        """Make the events that say what the clone is: title and metadata once, source and map."""
        address = self.client.address(self.target.resource_id, self.target.id, "thread")
        context = Context(correlation=self.wanted.correlation)
        if begun is None:
            title = thread.title if self.wanted.title is None else self.wanted.title
            metadata = {**thread.metadata, **(self.wanted.metadata or {})}
            yield build(address, "ThreadCreated", {"title": title, "metadata": metadata}, context)
        origin = {"resource": link.resource, "thread": link.thread, "sequence": link.sequence}
        for part in _maps(ids):
            data = {"source": origin, "cut": self.cut.to_json(), "messages": part}
            yield build(address, "ThreadCloned", data, context)

    async def _tell(self, events: Iterator[Prepared], begun: ThreadLink | None) -> None:
        there = await self.client.queries.ask(
            "thread", self.target.resource_id, {"thread": self.target.id}
        )
        found: dict[str, Any] = there["thread_state"] or {}
        told = found.get("source")
        if told != (None if begun is None else begun.to_json()):
            # Somebody else has told of it since it was looked at.
            self._exists()
        expected = int(there["revision"])
        try:
            for batch in _batches(events):
                receipt = await self.client.publish(batch, expected=expected)
                await receipt.applied()
                expected = receipt.sequence
        except RevisionConflict:
            self._exists()

    def _exists(self) -> NoReturn:
        target = self.target
        problem = f"thread {target.id!r} of resource {target.resource_id!r} exists already"
        raise Rejected(problem, reason="thread_exists")


def _is_beginning(held: list[MessageView], messages: list[MessageView]) -> bool:
    """Tell whether a thread's messages are the first of these copies, and nothing else."""
    return 0 < len(held) <= len(messages) and all(
        one.id == other.id and one.role == other.role and same(one.content, other.content)
        for one, other in zip(held, messages, strict=False)
    )


def _body(message: MessageView) -> dict[str, Any]:
    raw = message.to_json()
    return {key: raw[key] for key in ("id", "role", "content", "created_at", "metadata")}


def _batches(events: Iterator[Prepared]) -> Iterator[list[Prepared]]:
    """Split into what fits one NATS message each."""
    batch: list[Prepared] = []
    size = 2
    for event in events:
        more = len(event.payload) + 1
        if batch and (len(batch) == BATCH_EVENTS_MAX or size + more > PAYLOAD_BYTES_MAX):
            yield batch
            batch, size = [], 2
        batch.append(event)
        size += more
    if batch:
        yield batch


def _maps(ids: list[str]) -> Iterator[dict[str, str]]:
    part: dict[str, str] = {}
    size = 0
    for name in ids:
        more = 2 * len(name.encode())
        if part and size + more > MAP_BYTES_MAX:
            yield part
            part, size = {}, 0
        part[name] = name
        size += more
    yield part
