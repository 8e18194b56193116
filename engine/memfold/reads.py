"""What reads return: small frozen values that also turn into plain JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Self, cast

from memfold.canonical import from_us, to_us
from memfold.events import Content, Metadata, Role


class Read:
    """Base of what is read: made from an engine's JSON, and plain JSON again."""

    __slots__ = ()

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], **more: object) -> Self:
        """Make it from an engine's JSON; unknown fields of a newer engine are left out."""
        values = cls._made({**raw, **more})
        given: dict[str, Any] = {}
        for each in fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            if each.name not in values:
                continue
            value = values[each.name]
            kind = str(each.type)
            if kind.startswith("datetime") and isinstance(value, str):
                value = datetime.fromisoformat(value)
            elif kind.startswith("ThreadLink") and value is not None:
                value = ThreadLink.from_json(value)
            given[each.name] = value
        return cls(**given)

    @classmethod
    def _made(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values with those made that are values of such classes themselves."""
        return values

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON: objects, lists, text, numbers."""
        return {
            each.name: _plain(getattr(self, each.name))
            for each in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        }


@dataclass(frozen=True, slots=True)
class WorkingMemoryState(Read):
    """A working memory at ``sequence``. ``revision`` is what ``expected=`` takes.

    ``format`` is "markdown" or "json".
    """

    content: str | dict[str, Any]
    format: str
    revision: int
    changed_at: datetime
    sequence: int


@dataclass(frozen=True, slots=True)
class ThreadLink(Read):
    """The other thread of a clone, its source or its copy.

    So many ``messages`` of the source were copied, as it stood at ``sequence``; ``cut`` says which
    were wanted (of a copy it is not listed).
    """

    resource: str
    thread: str
    sequence: int
    messages: int
    cut: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class DefinitionState(Read):
    """The definition in force: ``kind`` says which of ``template`` and ``json_schema`` is there.

    ``scope`` is whose it is: "thread", "resource" or "namespace". ``conforms`` says whether the
    working memory it was read for keeps to it; one without a document does.
    """

    kind: str
    template: str | None
    json_schema: dict[str, Any] | None
    scope: str
    conforms: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class MemoryRead(Read):
    """A working memory and its definition in force, both at one ``sequence``.

    ``revision`` is what ``expected=`` takes, also where there is no document. ``redacted`` says of
    a past one that something of the resource was erased since.
    """

    state: WorkingMemoryState | None
    definition: DefinitionState | None
    revision: int
    sequence: int
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class ThreadState(Read):
    """A live thread. ``incarnation`` counts its lives, ``revision`` is what ``expected=`` takes.

    ``updated_at`` counts its title, its metadata and its messages; ``last_message_at`` is the
    newest ``created_at`` of them, None without any. ``source`` is set where it is a clone.
    ``parked`` counts its events that could not be understood.
    """

    id: str
    resource: str
    title: str
    metadata: dict[str, Any]
    incarnation: int
    revision: int
    created_at: datetime
    updated_at: datetime
    last_message_at: datetime | None = None
    archived_at: datetime | None = None
    source: ThreadLink | None = None
    parked: int = 0


@dataclass(frozen=True, slots=True)
class ResourceState(Read):
    """A resource and its metadata. ``revision`` is what ``expected=`` takes."""

    id: str
    metadata: dict[str, Any]
    revision: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessageView(Read):
    """A message of a thread; its position in the log is (``sequence``, ``index``)."""

    id: str
    thread: str
    role: Role
    content: Content
    metadata: Metadata
    created_at: datetime
    updated_at: datetime
    sequence: int
    index: int

    @property
    def position(self) -> tuple[int, int]:
        """The message's place in the order of its thread."""
        return self.sequence, self.index


@dataclass(frozen=True, slots=True)
class Change(Read):
    """One event of a history, with what became of it.

    ``causation`` is the id of the event that led to it, ``correlation`` that of a run. ``outcome``
    is applied, unchanged, duplicate or rejected.
    """

    sequence: int
    index: int
    time: datetime
    actor: str
    type: str
    thread: str | None
    id: str
    causation: str | None
    correlation: str | None
    data: dict[str, Any]
    outcome: str


@dataclass(frozen=True, slots=True)
class Snapshot(Read):
    """A thread, its last messages and both working memories, all at one ``sequence``.

    ``lag`` is how many messages of the log the engine had still to fold. ``redacted`` says of a
    past one that something of the resource was erased since: it is what the rest makes of it.
    ``parked`` counts events of the thread and of its resource that could not be understood, so that
    something may be missing here: see ``Memory.parked()``.
    """

    sequence: int
    lag: int
    resource: str
    thread: ThreadState | None
    working_memory: WorkingMemoryState | None
    thread_working_memory: WorkingMemoryState | None
    messages: tuple[MessageView, ...]
    redacted: bool = False
    parked: int = 0


def memory_state(raw: Mapping[str, Any] | None, sequence: int) -> WorkingMemoryState | None:
    """Return a working memory as read at a sequence."""
    return None if raw is None else WorkingMemoryState.from_json(raw, sequence=sequence)


def memory_read(answer: Mapping[str, Any]) -> MemoryRead:
    """Return an answer about a working memory as one value."""
    sequence: int = answer["sequence"]
    definition = answer["definition"]
    return MemoryRead(
        state=memory_state(answer["working_memory"], sequence),
        definition=None
        if definition is None
        else DefinitionState.from_json(definition, sequence=sequence),
        revision=answer["revision"],
        sequence=sequence,
        redacted=answer.get("redacted", False),
    )


def snapshot_read(
    answer: Mapping[str, Any],
    resource: str,
    thread: ThreadState | None,
    messages: Iterable[MessageView],
) -> Snapshot:
    """Return an answer about a thread and its memories as one value."""
    sequence: int = answer["sequence"]
    memories: Mapping[str, Any] = answer["working_memory"]
    return Snapshot(
        sequence=sequence,
        lag=answer.get("lag", 0),
        resource=resource,
        thread=thread,
        working_memory=memory_state(memories["resource"], sequence),
        thread_working_memory=memory_state(memories["thread"], sequence),
        messages=tuple(messages),
        redacted=answer.get("redacted", False),
        parked=answer.get("parked", 0),
    )


def _plain(value: Any) -> Any:  # noqa: ANN401  # any field
    if isinstance(value, Read):
        return value.to_json()
    if isinstance(value, datetime):
        return from_us(to_us(value))
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return value
