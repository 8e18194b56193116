"""Clones: a thread's messages copied into a new thread by ordinary messages, and told as such.

First the new thread is claimed: an event that begins it, names its source, the source's state and
the cut, and has no effect on a thread that is there. Then come the messages and the memory, then
title, metadata and the map of ids. The copies keep their ids (a message's id is its thread's
alone), times and order. So a clone that was cut short anywhere is completed by asking for it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from memfold.audit.restating import CLONED
from memfold.building import Context, Prepared, build
from memfold.canonical import encode
from memfold.errors import InvalidRequest, NotFound, Rejected, RevisionConflict, TooLarge
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
"""One event's map of ids, in bytes of JSON."""


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

    def __post_init__(self) -> None:
        """Refuse what no list of messages can be cut by.

        Raises:
            InvalidRequest: a negative ``last``, a time without a zone, ``ids`` that is one text.
        """
        if self.last is not None and self.last < 0:
            message = "last= is not negative"
            raise InvalidRequest(message)
        if isinstance(self.ids, str):
            message = "ids= takes a list of ids, as in ['m1']"
            raise InvalidRequest(message)
        self.to_json()

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
class _Found:
    """The target as it is: its state, None if it does not live, and its revision."""

    state: Mapping[str, Any] | None
    revision: int


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
            InvalidRequest: a thread cannot be its own clone.
            NotFound: there is no such thread, or no message ``upto`` or of ``ids`` in it.
            Rejected: reason ``thread_exists``, the new thread is somebody's already, or what the
                fold says of a memory that the target's definition does not allow.
            TooLarge: a message that grew by updates does not fit one event any more.
        """
        self.client.check_writable()
        source, target = self.source, self.target
        if (source.resource_id, source.id) == (target.resource_id, target.id):
            problem = "a thread cannot be cloned into itself: give another id"
            raise InvalidRequest(problem)
        found = await self._find_target()
        begun = None if found.state is None else ThreadState.from_json(found.state).source
        if found.state is not None and not self._goes_on(begun):
            self._exists()
        state = await source.snapshot(last=0)
        if state.thread is None:
            problem = f"there is no thread {source.id!r} of resource {source.resource_id!r}"
            raise NotFound(problem)
        # One that was cut short goes on from the state that it began with.
        sequence = state.sequence if begun is None else begun.sequence
        messages = await self._messages(sequence)
        done = 0 if begun is None else begun.messages
        if messages and done >= len(messages):
            self._exists()
        # All is built before anything is published: what cannot be copied is said before.
        copies = [(message, list(self._copies(message))) for message in messages]
        revision = found.revision
        if begun is None:
            revision = await self._publish(self._told([], sequence), revision)
        await self._copy(copies)
        if self.wanted.working_memory:
            await self._copy_memories(state)
        ids = [message.id for message in messages[done:]]
        last = self._told(ids, sequence, created=None if done else state.thread)
        for batch in _batches(last, self.client.bytes_of):
            revision = await self._publish(batch, revision)
        link = ThreadLink(
            source.resource_id, source.id, sequence, len(messages), self.cut.to_json()
        )
        return Clone(target, link, {message.id: message.id for message in messages})

    async def _find_target(self) -> _Found:
        asked = {"thread": self.target.id}
        answer = await self.client.queries.ask("thread", self.target.resource_id, asked)
        return _Found(answer["thread_state"], int(answer["revision"]))

    def _goes_on(self, begun: ThreadLink | None) -> bool:
        """Tell whether a thread is this very clone, begun before."""
        wanted = (self.source.resource_id, self.source.id, self.cut.to_json())
        return begun is not None and (begun.resource, begun.thread, begun.cut) == wanted

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

    def _copies(self, message: MessageView) -> Iterator[Prepared]:
        """Make the events that copy one message: one, or two for one that grew by updates."""
        address = self.client.address(self.target.resource_id, self.target.id, "messages")
        context = Context(correlation=self.wanted.correlation)
        raw = message.to_json()
        body = {key: raw[key] for key in ("id", "role", "content", "created_at", "metadata")}
        try:
            yield build(address, "MessageAppended", {"message": body}, context)
        except TooLarge:
            metadata = body.pop("metadata")
            yield build(address, "MessageAppended", {"message": body}, context)
            patch = {"id": message.id, "patch": {"metadata": metadata}}
            yield build(address, "MessageUpdated", patch, context)

    async def _copy(self, copies: list[tuple[MessageView, list[Prepared]]]) -> None:
        """Publish the copies that are not there yet, behind what they have attached."""
        known = {message.id for message in await self.target.messages()}
        missing = [(message, events) for message, events in copies if message.id not in known]
        contents = [message.content for message, _ in missing]
        source, target = self.source.resource_id, self.target.resource_id
        async with self.client.blobs.carried(source, target, contents):
            events = (event for _, events in missing for event in events)
            for batch in _batches(events, self.client.bytes_of):
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
                why = CLONED.format(thread=self.source.id)
                receipt = await put_initial(copy, memory.content, reason=why)
                if receipt is not None:
                    await receipt.applied()

    def _told(
        self, ids: list[str], sequence: int, *, created: ThreadState | None = None
    ) -> Iterator[Prepared]:
        """Make the events that say what the clone is; without ids, the one that claims it."""
        address = self.client.address(self.target.resource_id, self.target.id, "thread")
        context = Context(correlation=self.wanted.correlation)
        if created is not None:
            title = created.title if self.wanted.title is None else self.wanted.title
            metadata = {**created.metadata, **(self.wanted.metadata or {})}
            yield build(address, "ThreadCreated", {"title": title, "metadata": metadata}, context)
            if not ids:
                return
        source = self.source
        origin = {"resource": source.resource_id, "thread": source.id, "sequence": sequence}
        for part in _maps(ids):
            data = {"source": origin, "cut": self.cut.to_json(), "messages": part}
            yield build(address, "ThreadCloned", data, context)

    async def _publish(self, events: Iterable[Prepared], expected: int) -> int:
        """Publish what tells of the clone if nobody has told of the thread since."""
        try:
            receipt = await self.client.publish(list(events), expected=expected)
        except RevisionConflict:
            self._exists()
        await receipt.applied()
        return receipt.sequence

    def _exists(self) -> NoReturn:
        target = self.target
        problem = f"thread {target.id!r} of resource {target.resource_id!r} exists already"
        raise Rejected(problem, reason="thread_exists")


def _batches(
    events: Iterable[Prepared], bytes_of: Callable[[Prepared], int]
) -> Iterator[list[Prepared]]:
    """Split into what fits one NATS message each."""
    batch: list[Prepared] = []
    size = 2
    for event in events:
        more = bytes_of(event) + 1
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
        more = len(encode({name: name}))
        if part and size + more > MAP_BYTES_MAX:
            yield part
            part, size = {}, 0
        part[name] = name
        size += more
    yield part
