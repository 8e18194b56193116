"""Events that say again what stood elsewhere: reverts, and the copies that make a clone. Pure.

What such an event would have said follows from what would have stood there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from memfold.audit.restoring import Restored, restored
from memfold.canonical import same
from memfold.definitions import Content, make_definition
from memfold.errors import InvalidRequest
from memfold.events import (
    CloneSource,
    Data,
    Erased,
    MemoryAppended,
    MemoryEdited,
    MemoryMerged,
    MemoryReplaced,
    MessageAppended,
    ThreadCloned,
    ThreadCreated,
    ThreadDeleted,
    WorkingMemoryDefined,
)
from memfold.gate import parse
from memfold.merge import merge_patch
from memfold.provenance import Position
from memfold.state import Memory, Message, State, Thread, ThreadKey
from memfold.steps import Outcome
from memfold.wire import Event, Unreadable

MemoryUpdate = MemoryMerged | MemoryReplaced | MemoryAppended | MemoryEdited
Entity = Memory | Message | Thread
CLONED: Final = "cloned from {thread}"
"""The reason of a clone's memory."""


@dataclass(frozen=True, slots=True)
class Original:
    """What an event says again: ``what`` of a thread, as it stood at a sequence.

    ``thread`` None is the resource's own memory. ``claimed``: the log says that it is said again;
    otherwise only its equal content tells.
    """

    why: Literal["revert", "clone"]
    what: Literal["memory", "message", "thread"]
    resource: str
    thread: str | None
    sequence: int
    message: str = ""
    path: str | None = None
    claimed: bool = True

    def subject(self) -> tuple[str | None, ...]:
        """Return what it is of: (resource, thread), and the message if it is one."""
        whose = self.resource, self.thread
        return (*whose, self.message) if self.what == "message" else whose

    def find(self, state: State) -> Entity | None:
        """Return it as it stands in a state."""
        if self.what == "memory":
            return state.memories.get((self.resource, self.thread))
        key = self.resource, str(self.thread)
        if self.what == "thread":
            thread = state.threads.get(key)
            return thread if thread is not None and thread.live else None
        return state.messages.get((*key, self.message))


@dataclass(frozen=True, slots=True)
class Found:
    """What an event found, and would have found: its original, and the memory that it changes."""

    was: Entity | None
    would: Entity | None
    now_was: Content | None = None
    now_would: Content | None = None


Restated = Data | Literal["falls", "nothing"]
"""What an event would have said; it falls where its original would never have been."""


def restated(data: Data, original: Original, found: Found) -> Restated:
    """Return what an event would have said, of an original that would have been another."""
    again: Restated = data
    match data:
        case MemoryMerged() | MemoryReplaced() | MemoryAppended() | MemoryEdited():
            if original.why == "revert":
                again = _reverted(data, original.path, found)
            else:
                again = _recopied(data, original, found)
        case WorkingMemoryDefined():
            again = _redefined(data, found)
        case MessageAppended():
            again = _copied(data, original, found)
        case ThreadCreated():
            again = _retitled(data, found)
        case _:
            pass
    return again


def content_of(entity: Entity | None) -> Content | None:
    """Return a memory's content, None where there is none."""
    if not isinstance(entity, Memory) or entity.document is None:
        return None
    return entity.document.content


def _reverted(data: MemoryUpdate, path: str | None, found: Found) -> Restated:
    then_was, then_would = content_of(found.was), content_of(found.would)
    if _alike(then_was, then_would) and _alike(found.now_was, found.now_would):
        return data
    try:
        if _is_revert(data, path, found.now_was, then_was):
            change = restored(found.now_would, then_would, path)
            return "nothing" if change is None else _update(data, change)
        # It is one in name alone, so nobody knows what it owes to the state that it names.
        return data if restored(then_was, then_would, path) is None else "falls"
    except InvalidRequest:
        return "falls"


def _is_revert(
    data: MemoryUpdate, path: str | None, now: Content | None, then: Content | None
) -> bool:
    """Tell whether an update did restore the state that it names."""
    if not isinstance(data, MemoryMerged | MemoryReplaced):
        return False
    change = restored(now, then, path)
    return _alike(_laid(now, data), now if change is None else _laid(now, change))


def _laid(content: Content | None, change: MemoryMerged | MemoryReplaced | Restored) -> Content:
    if isinstance(change, MemoryReplaced) or change.mode == "replace":
        return change.content
    patched: Content = merge_patch(content, change.content)
    return patched


def _update(data: MemoryUpdate, change: Restored) -> Data:
    kind = MemoryMerged if change.mode == "merge" else MemoryReplaced
    said: dict[str, Any] = {"scope": data.scope, "content": change.content, "reason": data.reason}
    return kind.model_construct(**said, evidence=data.evidence, reverts=data.reverts)


def _recopied(data: MemoryUpdate, original: Original, found: Found) -> Restated:
    old, new = content_of(found.was), content_of(found.would)
    if _alike(old, new):
        return data
    if isinstance(data, MemoryReplaced) and _alike(old, data.content):
        return "falls" if new is None else data.model_copy(update={"content": new})
    return "falls" if original.claimed else data


def _redefined(data: WorkingMemoryDefined, found: Found) -> Restated:
    was = found.was.definition if isinstance(found.was, Memory) else None
    would = found.would.definition if isinstance(found.would, Memory) else None
    if was is None or was == would or make_definition(data.template, data.json_schema) != was:
        return data
    if would is None:
        return "falls"
    if would.kind == "template":
        return data.model_copy(update={"template": would.body, "json_schema": None})
    return data.model_copy(update={"template": None, "json_schema": parse(would.body.encode())})


def _copied(data: MessageAppended, original: Original, found: Found) -> Restated:
    was, would, body = found.was, found.would, data.message
    if not isinstance(was, Message):
        return data
    is_copy = body.role == was.role and same(body.content, was.content)
    if not isinstance(would, Message):
        return "falls" if is_copy or original.claimed else data
    if is_copy:
        update: dict[str, Any] = {"role": would.role, "content": would.content}
        if same(body.metadata, was.metadata):
            update["metadata"] = would.metadata
        return data.model_copy(update={"message": body.model_copy(update=update)})
    alike = was.role == would.role and same(was.content, would.content)
    return data if alike or not original.claimed else "falls"


def _retitled(data: ThreadCreated, found: Found) -> Restated:
    """Give the thread what it would have had of its original; a clone may have a title of its own.

    It does not fall: the thread itself began with its clone's first event.
    """
    was = found.was
    if not isinstance(was, Thread) or was == found.would:
        return data
    title, metadata = "", dict[str, Any]()
    if isinstance(found.would, Thread):
        title, metadata = found.would.title, found.would.metadata
    own = {
        key: value
        for key, value in data.metadata.items()
        if key not in was.metadata or not same(value, was.metadata[key])
    }
    copied = {key: value for key, value in metadata.items() if key in data.metadata}
    fresh = {key: value for key, value in metadata.items() if key not in was.metadata}
    return data.model_copy(
        update={
            "title": title if data.title == was.title else data.title,
            "metadata": {**fresh, **copied, **own},
        }
    )


def _alike(one: Content | None, other: Content | None) -> bool:
    if one is None or other is None:
        return one is other
    return same(one, other)


@dataclass(slots=True)
class _Life:
    """What one life of a thread began with, and which thread it was cloned from."""

    source: CloneSource | None = None
    originals: dict[str, str] = field(default_factory=dict[str, str])
    messages: dict[str, Position] = field(default_factory=dict[str, Position])
    memory: tuple[Position, MemoryUpdate] | None = None
    definition: Position | None = None
    created: Position | None = None


def originals(
    events: Iterable[Event | Unreadable], outcomes: Iterable[Outcome]
) -> dict[Position, Original]:
    """Return for each event that says something again what that is; it stood there before it."""
    found: dict[Position, Original] = {}
    lives: dict[ThreadKey, _Life] = {}
    for event, outcome in zip(events, outcomes, strict=True):
        if not isinstance(event, Event) or event.address.resource is None:
            continue
        place, data = (event.sequence, event.index), event.data
        resource, thread = event.address.resource, event.address.thread
        if isinstance(data, MemoryUpdate) and data.reverts is not None:
            then = data.reverts
            if then.sequence < event.sequence:
                found[place] = Original(
                    "revert", "memory", resource, thread, then.sequence, path=then.path
                )
        elif outcome.kind == "applied" and _ends(data):
            ended = [key for key in lives if key[0] == resource and thread in {None, key[1]}]
            for key in ended:
                found.update(_copies(key, lives.pop(key)))
        elif outcome.kind == "applied" and thread is not None:
            _note(lives.setdefault((resource, thread), _Life()), place, data)
    for key, life in lives.items():
        found.update(_copies(key, life))
    return found


def _ends(data: Data) -> bool:
    return isinstance(data, ThreadDeleted) or (
        isinstance(data, Erased) and data.target in {"thread", "resource"}
    )


def _note(life: _Life, place: Position, data: Data) -> None:
    match data:
        case ThreadCloned():
            life.source = life.source or data.source
            life.originals.update((copy, original) for original, copy in data.messages.items())
        case MessageAppended():
            # Whatever is said later under the same id is the clone's own.
            life.messages.setdefault(data.message.id, place)
        case MemoryMerged() | MemoryReplaced() | MemoryAppended() | MemoryEdited():
            life.memory = life.memory or (place, data)
        case WorkingMemoryDefined():
            life.definition = life.definition or place
        case ThreadCreated():
            life.created = place
        case _:
            pass


def _copies(key: ThreadKey, life: _Life) -> Iterator[tuple[Position, Original]]:
    """Yield the events of one life that copy from another thread of the same resource."""
    source = life.source
    if source is None or source.resource != key[0]:
        return
    thread, at = source.thread, source.sequence
    if life.memory is not None and life.memory[0][0] > at:
        place, update = life.memory
        claimed = update.reason == CLONED.format(thread=thread)
        yield place, Original("clone", "memory", key[0], thread, at, claimed=claimed)
    if life.definition is not None and life.definition[0] > at:
        yield life.definition, Original("clone", "memory", key[0], thread, at, claimed=False)
    if life.created is not None and life.created[0] > at:
        yield life.created, Original("clone", "thread", key[0], thread, at, claimed=False)
    for name, place in life.messages.items():
        if place[0] > at:
            original = life.originals.get(name, name)
            claimed = name in life.originals
            yield place, Original("clone", "message", key[0], thread, at, original, None, claimed)
