"""The rules of each event type: what it does to the entities, or why it is rejected.

Each rule is a pure function ``(state, event, data) -> Step`` and raises only ``Rejected`` or
``InvalidEvent``, which the fold turns into outcomes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NoReturn

from memfold import documents
from memfold.canonical import encode, encode_text, same, to_us
from memfold.definitions import make_definition
from memfold.erasure_rules import erased, recorded_only
from memfold.errors import Rejected
from memfold.events import (
    Data,
    Erased,
    ErasureCompleted,
    MemoryAppended,
    MemoryEdited,
    MemoryMerged,
    MemoryReplaced,
    MessageAppended,
    MessageDeleted,
    MessageUpdated,
    ParkedDiscarded,
    Redacted,
    ResourceUpdated,
    Restated,
    ThreadArchived,
    ThreadCloned,
    ThreadCreated,
    ThreadDeleted,
    ThreadUnarchived,
    ThreadUpdated,
    WorkingMemoryDefined,
)
from memfold.limits import KEYFRAME_BYTES_PER_STEP, KEYFRAME_STEPS_MIN, METADATA_BYTES_MAX
from memfold.state import (
    Memory,
    Message,
    Resource,
    Source,
    State,
    Thread,
    ThreadKey,
    definition_in_force,
)
from memfold.steps import APPLIED, UNCHANGED, Keyframe, Step
from memfold.wire import Event


def _live_thread(state: State, event: Event) -> tuple[ThreadKey, Thread, bool]:
    """Return the event's thread, begun anew (True) if it is not alive."""
    key = _thread_key(event)
    thread = state.threads.get(key)
    if thread is not None and thread.live:
        return key, thread, False
    begun = Thread(
        incarnation=_last_life(state, key, thread) + 1,
        live=True,
        explicit=False,
        title="",
        metadata={},
        began=(event.sequence, event.index),
        created_at_us=event.time_us,
        updated_at_us=event.time_us,
        revision=0 if thread is None else thread.revision,
    )
    return key, begun, True


def _last_life(state: State, key: ThreadKey, thread: Thread | None) -> int:
    """Return the highest incarnation that anybody may have read, also of what was erased."""
    resource = state.resources.get(key[0])
    return max(
        0 if thread is None else thread.incarnation, 0 if resource is None else resource.erased
    )


def _thread_key(event: Event) -> ThreadKey:
    resource, thread = event.address.resource, event.address.thread
    if resource is None or thread is None:
        # The reader has checked the subject's tokens against the event's scope.
        message = "an event of a thread has a resource and a thread"
        raise AssertionError(message)
    return resource, thread


def _memory_updated(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, MemoryMerged | MemoryReplaced | MemoryAppended | MemoryEdited)
    key = (event.address.resource, event.address.thread)
    memory = state.memories.get(key) or Memory()
    in_force = definition_in_force(state.memories, key)
    updated = documents.update(
        memory.document,
        None if in_force is None else in_force[0],
        data,
        (event.sequence, event.index),
        event.time_us,
    )
    if updated.document is None:
        return Step(replace(UNCHANGED, detail=updated.note) if updated.note else UNCHANGED)
    step = Step(replace(APPLIED, detail=updated.note) if updated.note else APPLIED)
    document = updated.document
    steps_max = max(KEYFRAME_STEPS_MIN, document.size_max // KEYFRAME_BYTES_PER_STEP)
    if memory.document is None or document.steps >= steps_max:
        document = replace(document, steps=0)
        step.keyframe = Keyframe(key, document)
    step.memories = {key: Memory(memory.revision, document, memory.definition)}
    if event.address.thread is not None:
        thread_key, thread, begun = _live_thread(state, event)
        if begun:
            step.threads = {thread_key: thread}
    return step


def _memory_defined(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, WorkingMemoryDefined)
    key = (event.address.resource, event.address.thread)
    memory = state.memories.get(key) or Memory()
    definition = make_definition(data.template, data.json_schema)
    if definition == memory.definition:
        return Step(UNCHANGED)
    step = Step(APPLIED, memories={key: replace(memory, definition=definition)})
    if event.address.thread is not None:
        thread_key, thread, begun = _live_thread(state, event)
        if begun:
            step.threads = {thread_key: thread}
    return step


def _message_appended(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, MessageAppended)
    body = data.message
    _check_metadata(body.metadata)
    thread_key, thread, begun = _live_thread(state, event)
    key = (*thread_key, body.id)
    old = None if begun else state.messages.get(key)
    if old is not None:
        created_at_us = old.created_at_us
    else:
        created_at = body.created_at or event.envelope.time
        created_at_us = event.time_us if created_at is None else to_us(created_at)
    message = Message(
        id=body.id,
        position=(event.sequence, event.index) if old is None else old.position,
        role=body.role,
        content=body.content,
        metadata=body.metadata,
        created_at_us=created_at_us,
        updated_at_us=event.time_us,
    )
    if old is not None and _same_message(old, message):
        return Step(UNCHANGED)
    step = Step(APPLIED, messages={key: message})
    if begun:
        step.threads = {thread_key: thread}
    return step


def _message_updated(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, MessageUpdated)
    key = (*_require_thread(state, event), data.id)
    old = state.messages.get(key)
    if old is None:
        _reject("message_unknown", "the thread has no such message")
    metadata = old.metadata
    if data.patch.metadata is not None:
        metadata = {**old.metadata, **data.patch.metadata}
        _check_metadata(metadata)
    message = replace(
        old,
        role=data.patch.role or old.role,
        content=old.content if data.patch.content is None else data.patch.content,
        metadata=metadata,
        updated_at_us=event.time_us,
    )
    if _same_message(old, message):
        return Step(UNCHANGED)
    return Step(APPLIED, messages={key: message})


def _message_deleted(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, MessageDeleted)
    thread_key = _thread_key(event)
    key = (*thread_key, data.id)
    if key not in state.messages:
        return Step(UNCHANGED)
    # The message takes its own times with it, so the thread notes when that was.
    touched = replace(state.threads[thread_key], updated_at_us=event.time_us)
    return Step(APPLIED, messages={key: None}, threads={thread_key: touched})


def _thread_created(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, ThreadCreated)
    _check_metadata(data.metadata, data.title)
    key, thread, _ = _live_thread(state, event)
    if thread.explicit:
        _reject("thread_exists", "the thread exists already")
    # A thread that began with its first message takes the title and metadata that come later.
    created = replace(
        thread,
        explicit=True,
        title=data.title,
        metadata=data.metadata,
        updated_at_us=event.time_us,
    )
    return Step(APPLIED, threads={key: created})


def _thread_updated(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, ThreadUpdated)
    key = _require_thread(state, event)
    old = state.threads[key]
    metadata = old.metadata
    if data.metadata is not None:
        metadata = {**old.metadata, **data.metadata}
    title = old.title if data.title is None else data.title
    _check_metadata(metadata, title)
    if title == old.title and same(metadata, old.metadata):
        return Step(UNCHANGED)
    updated = replace(old, title=title, metadata=metadata, updated_at_us=event.time_us)
    return Step(APPLIED, threads={key: updated})


def _thread_deleted(state: State, event: Event, data: Data) -> Step:
    del data
    key = _thread_key(event)
    thread = state.threads.get(key)
    if thread is None or not thread.live:
        return Step(UNCHANGED)
    ended = replace(
        thread,
        live=False,
        explicit=False,
        title="",
        metadata={},
        updated_at_us=event.time_us,
        archived_at_us=None,
        source=None,
    )
    step = Step(APPLIED, threads={key: ended})
    step.messages = {place: None for place in state.messages if place[:2] == key}
    memory = state.memories.get(key)
    if memory is not None:
        step.memories = {key: Memory(revision=memory.revision)}
    return step


def _thread_archived(state: State, event: Event, data: Data) -> Step:
    archived = isinstance(data, ThreadArchived)
    key = _require_thread(state, event)
    thread = state.threads[key]
    if archived == (thread.archived_at_us is not None):
        return Step(UNCHANGED)
    moved = replace(thread, archived_at_us=event.time_us if archived else None)
    return Step(APPLIED, threads={key: moved})


def _thread_cloned(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, ThreadCloned)
    key, thread, begun = _live_thread(state, event)
    given, known = data.source, thread.source
    if key == (given.resource, given.thread):
        _reject("clone_conflict", "a thread is not a clone of itself")
    if not data.messages and not begun:
        # Without a map the event claims a thread that is to be: it must not take one that is.
        _reject("thread_exists", "the thread exists already")
    cut = encode_text(data.cut.model_dump(mode="json", exclude_none=True))
    count = len(data.messages) + (0 if known is None else known.messages)
    source = Source(given.resource, given.thread, given.sequence, count, cut)
    if known is not None and replace(known, messages=count) != source:
        _reject("clone_conflict", "the thread is a clone of another thread or state already")
    cloned = replace(thread, source=source, updated_at_us=event.time_us)
    return Step(APPLIED, threads={key: cloned})


def _resource_updated(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, ResourceUpdated)
    name = event.address.resource
    old = state.resources.get(str(name)) or Resource({}, (0, 0), 0, 0)
    metadata = {**old.metadata, **data.metadata}
    _check_metadata(metadata)
    if old.live and same(old.metadata, metadata):
        return Step(UNCHANGED)
    updated = replace(
        old,
        metadata=metadata,
        began=old.began if old.live else (event.sequence, event.index),
        created_at_us=old.created_at_us if old.live else event.time_us,
        updated_at_us=event.time_us,
    )
    return Step(APPLIED, resources={str(name): updated})


def _parked_discarded(state: State, event: Event, data: Data) -> Step:
    assert isinstance(data, ParkedDiscarded)
    place = (data.sequence, data.index)
    parked = state.parked.get(place)
    whose = (event.address.resource, event.address.thread)
    if parked is None or (parked.resource, parked.thread) != whose:
        _reject("not_parked", "no parked event of this resource and thread stands there")
    if parked.discarded:
        return Step(UNCHANGED)
    return Step(APPLIED, parked=(place, replace(parked, discarded=True)))


def _require_thread(state: State, event: Event) -> ThreadKey:
    key = _thread_key(event)
    thread = state.threads.get(key)
    if thread is None or not thread.live:
        _reject("thread_unknown", "there is no such thread")
    return key


def _same_message(old: Message, new: Message) -> bool:
    return (
        old.role == new.role and same(old.content, new.content) and same(old.metadata, new.metadata)
    )


def _check_metadata(metadata: dict[str, Any], title: str = "") -> None:
    if not metadata and not title:
        return
    if len(encode(metadata)) + len(encode(title)) - len('""') > METADATA_BYTES_MAX:
        _reject("metadata_too_large", f"metadata is at most {METADATA_BYTES_MAX} bytes")


def _reject(reason: str, message: str) -> NoReturn:
    raise Rejected(message, reason=reason)


Rule = Callable[[State, Event, Data], Step]

RULES: Final[dict[type[Data], Rule]] = {
    MemoryMerged: _memory_updated,
    MemoryReplaced: _memory_updated,
    MemoryAppended: _memory_updated,
    MemoryEdited: _memory_updated,
    WorkingMemoryDefined: _memory_defined,
    MessageAppended: _message_appended,
    MessageUpdated: _message_updated,
    MessageDeleted: _message_deleted,
    ThreadCreated: _thread_created,
    ThreadUpdated: _thread_updated,
    ThreadDeleted: _thread_deleted,
    ThreadArchived: _thread_archived,
    ThreadUnarchived: _thread_archived,
    ThreadCloned: _thread_cloned,
    ResourceUpdated: _resource_updated,
    Erased: erased,
    Redacted: recorded_only,
    Restated: recorded_only,
    ErasureCompleted: recorded_only,
    ParkedDiscarded: _parked_discarded,
}
