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
from memfold.errors import InvalidRequest, NotFound, Rejected, RevisionConflict
from memfold.limits import BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX
from memfold.lists import checked_time
from memfold.pages import Messages, Range
from memfold.reads import MessageView, Snapshot, ThreadLink
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


async def clone_thread(
    client: Client, source: Thread, target: Thread, cut: Cut, wanted: Wanted
) -> Clone:
    """Copy a thread as it stands now into a new one.

    Raises:
        NotFound: there is no such thread, or no message ``upto`` or of ``ids`` in it.
        Rejected: reason ``thread_exists``, the new thread is somebody's already.
    """
    there = await target.snapshot(last=0)
    begun = None if there.thread is None else there.thread.source
    if begun is not None and (begun.resource, begun.thread) != (source.resource_id, source.id):
        _exists(target)
    # One that was cut short goes on from the state that it began with.
    state = await _source_state(source)
    sequence = state.sequence if begun is None else begun.sequence
    messages = await _cut_messages(client, source, sequence, cut)
    done = 0 if begun is None else begun.messages
    held = await target.messages()
    if there.thread is not None and not (held and _is_part(held, messages, done)):
        _exists(target)
    copied = {message.id for message in held}
    await _copy(client, target, [each for each in messages if each.id not in copied], wanted)
    if wanted.working_memory:
        await _copy_memories(client, state, source, target)
    link = ThreadLink(source.resource_id, source.id, sequence, len(messages))
    await _tell(client, target, state, wanted, cut, link, [each.id for each in messages[done:]])
    return Clone(target, link, {message.id: message.id for message in messages})


async def _source_state(source: Thread) -> Snapshot:
    state = await source.snapshot(last=0)
    if state.thread is None:
        problem = f"there is no thread {source.id!r} of resource {source.resource_id!r} to clone"
        raise NotFound(problem)
    return state


async def _cut_messages(
    client: Client, source: Thread, sequence: int, cut: Cut
) -> list[MessageView]:
    filters = {"since": cut.since, "until": cut.until, "as_of": sequence}
    asked = Messages(client.queries, source.resource_id, source.id, filters)
    if cut.last is not None and cut.upto is None and cut.ids is None:
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
        if cut.last < 0:
            problem = "last= is not negative"
            raise InvalidRequest(problem)
        messages = messages[-cut.last :] if cut.last else []
    return messages


def _is_part(held: list[MessageView], messages: list[MessageView], done: int) -> bool:
    """Tell whether a thread is nothing but the beginning of this clone."""
    beginning = messages[: len(held)]
    return (
        done < len(messages)
        and all(
            one.id == other.id and one.role == other.role and same(one.content, other.content)
            for one, other in zip(held, beginning, strict=False)
        )
        and len(held) <= len(messages)
    )


async def _copy(
    client: Client, target: Thread, messages: list[MessageView], wanted: Wanted
) -> None:
    address = client.address(target.resource_id, target.id, "messages")
    context = Context(correlation=wanted.correlation)
    events = (
        build(address, "MessageAppended", {"message": _body(each)}, context) for each in messages
    )
    for batch in _batches(events):
        await client.publish(batch)


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


async def _copy_memories(client: Client, state: Snapshot, source: Thread, target: Thread) -> None:
    """Copy the thread's own memory; the resource's too if the clone is of another resource.

    A memory that is there already is never replaced.
    """
    pairs = [(state.thread_working_memory, target.working_memory)]
    if source.resource_id != target.resource_id:
        own = WorkingMemory(client, target.resource_id, None)
        pairs.append((state.working_memory, own))
    for memory, copy in pairs:
        if memory is not None and await copy.get() is None:
            await copy.replace(memory.content, reason=f"cloned from thread {source.id}")


async def _tell(
    client: Client,
    target: Thread,
    state: Snapshot,
    wanted: Wanted,
    cut: Cut,
    link: ThreadLink,
    ids: list[str],
) -> None:
    """Publish what the clone is: title, metadata, source and map; the first time all at once."""
    address = client.address(target.resource_id, target.id, "thread")
    context = Context(correlation=wanted.correlation)
    there = await client.queries.ask("thread", target.resource_id, {"thread": target.id})
    found = there["thread_state"]
    events: list[Prepared] = []
    if found is None or found["source"] is None:
        assert state.thread is not None
        title = state.thread.title if wanted.title is None else wanted.title
        metadata = {**state.thread.metadata, **(wanted.metadata or {})}
        created = {"title": title, "metadata": metadata}
        events.append(build(address, "ThreadCreated", created, context))
    origin = {"resource": link.resource, "thread": link.thread, "sequence": link.sequence}
    for part in _maps(ids):
        data = {"source": origin, "cut": cut.to_json(), "messages": part}
        events.append(build(address, "ThreadCloned", data, context))
    expected = int(there["revision"])
    try:
        for batch in _batches(iter(events)):
            receipt = await client.publish(batch, expected=expected)
            await receipt.applied()
            expected = receipt.sequence
    except RevisionConflict:
        _exists(target)


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


def _exists(target: Thread) -> NoReturn:
    problem = f"thread {target.id!r} of resource {target.resource_id!r} exists already"
    raise Rejected(problem, reason="thread_exists")
