"""The events: facts in the past tense, as frozen models. Shapes only; rules live in the fold.

Unknown fields inside ``data`` are refused (a misspelt ``mode`` must not be ignored in silence);
unknown envelope attributes are kept in the log and otherwise ignored, as CloudEvents asks.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from memfold.subjects import Facet
from memfold.values import Id, Index, Model, Position, Range, Sequence, Time

Scope = Literal["resource", "thread"]
"""Which working memory is meant: the resource's or the thread's."""
Role = Literal["user", "assistant", "tool", "system"]
"""Who says a message."""
Content = str | list[dict[str, Any]]
"""A message's content: text, or a list of parts (each an object)."""
Metadata = dict[str, Any]
"""A JSON object; merges of it go one level deep, and ``None`` is stored."""


class Data(Model):
    """Base of every event's ``data``; its subclasses are the event types."""

    type: ClassVar[str]
    version: ClassVar[int] = 1
    facet: ClassVar[Facet]


class Evidence(Model):
    """A message that a memory update rests on, of the same resource."""

    thread: Id
    message: Id


class Edit(Model):
    """Replace the first occurrence of ``search``; append ``replacement`` if it is absent."""

    search: Annotated[str, Field(min_length=1)]
    replacement: str


class Reverts(Model):
    """The state that an update restores: that of a sequence, whole or at the JSON Pointer path."""

    sequence: Annotated[int, Field(ge=0)]
    path: str | None = None


class Scoped(Data):
    """Base of the events of a working memory; ``scope`` says of which, thread or resource."""

    facet: ClassVar[Facet] = "memory"

    scope: Scope


class _MemoryUpdate(Scoped):
    type: ClassVar[str] = "WorkingMemoryUpdated"

    reason: str | None = None
    evidence: list[Evidence] = Field(default_factory=list[Evidence])
    reverts: Reverts | None = None


class MemoryMerged(_MemoryUpdate):
    """``merge``: an RFC 7396 patch of a JSON document."""

    mode: Literal["merge"] = "merge"
    content: dict[str, Any]


class MemoryReplaced(_MemoryUpdate):
    """``replace``: the whole document, Markdown text or a JSON object."""

    mode: Literal["replace"] = "replace"
    content: str | dict[str, Any]


class MemoryAppended(_MemoryUpdate):
    """``append``: text added on a new line of a text document."""

    mode: Literal["append"] = "append"
    content: str


class MemoryEdited(_MemoryUpdate):
    """``edit``: the first occurrence of a text replaced in a text document."""

    mode: Literal["edit"] = "edit"
    content: Edit


WorkingMemoryUpdated = Annotated[
    MemoryMerged | MemoryReplaced | MemoryAppended | MemoryEdited, Field(discriminator="mode")
]


class WorkingMemoryDefined(Scoped):
    """The definition of a working memory now in force: a template, a JSON Schema, or none.

    ``scope`` says whose: the thread's own, or the resource's (of its own memory and the default of
    its threads). Published for the resource token ``_`` it is the namespace's default.
    """

    type: ClassVar[str] = "WorkingMemoryDefined"

    template: str | None = None
    json_schema: dict[str, Any] | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _never_both(self) -> WorkingMemoryDefined:
        if self.template is not None and self.json_schema is not None:
            message = "a definition has a template or a json_schema, never both"
            raise ValueError(message)
        return self


class MessageBody(Model):
    """A message as published."""

    id: Id
    role: Role
    content: Content
    created_at: Time | None = None
    metadata: Metadata = Field(default_factory=dict)


class MessageAppended(Data):
    """A message was added to a thread, or saved again under the same id."""

    type: ClassVar[str] = "MessageAppended"
    facet: ClassVar[Facet] = "messages"

    message: MessageBody


class MessagePatch(Model):
    """What changes in a message; metadata merges one level."""

    role: Role | None = None
    content: Content | None = None
    metadata: Metadata | None = None


class MessageUpdated(Data):
    """Some of a message's fields changed in place."""

    type: ClassVar[str] = "MessageUpdated"
    facet: ClassVar[Facet] = "messages"

    id: Id
    patch: MessagePatch


class MessageDeleted(Data):
    """A message was removed from its thread."""

    type: ClassVar[str] = "MessageDeleted"
    facet: ClassVar[Facet] = "messages"

    id: Id


class ThreadCreated(Data):
    """A thread was created with a title and metadata."""

    type: ClassVar[str] = "ThreadCreated"
    facet: ClassVar[Facet] = "thread"

    title: str = ""
    metadata: Metadata = Field(default_factory=dict)


class ThreadUpdated(Data):
    """A thread's title or metadata changed; metadata merges one level, ``null`` is stored."""

    type: ClassVar[str] = "ThreadUpdated"
    facet: ClassVar[Facet] = "thread"

    title: str | None = None
    metadata: Metadata | None = None


class ThreadDeleted(Data):
    """A thread ended with its messages and its own working memory; its history stays."""

    type: ClassVar[str] = "ThreadDeleted"
    facet: ClassVar[Facet] = "thread"


class ThreadArchived(Data):
    """A thread was put aside: lists can leave it out; nothing else about it changes."""

    type: ClassVar[str] = "ThreadArchived"
    facet: ClassVar[Facet] = "thread"


class ThreadUnarchived(Data):
    """An archived thread was taken up again."""

    type: ClassVar[str] = "ThreadUnarchived"
    facet: ClassVar[Facet] = "thread"


class CloneSource(Model):
    """The thread that a clone was made from, as it stood at ``sequence``."""

    resource: Id
    thread: Id
    sequence: Annotated[int, Field(ge=0)]


class CloneCut(Model):
    """Which messages of the source were copied; without any field, all.

    ``last``: the newest ones; ``upto``: up to and including that message; ``since`` and ``until``:
    those created within, both ends included; ``chosen``: those of the event's map, one by one.
    """

    last: Annotated[int, Field(ge=0)] | None = None
    upto: Id | None = None
    since: Time | None = None
    until: Time | None = None
    chosen: Literal[True] | None = None


class ThreadCloned(Data):
    """A thread is filled with copies of another one's messages, published as ordinary ones.

    ``messages`` maps each copied message's id to its copy's. Without any the event begins the
    thread, before its messages are copied: it is rejected if there is one. A map that does not fit
    one event goes on in further ones with the same source and cut.
    """

    type: ClassVar[str] = "ThreadCloned"
    facet: ClassVar[Facet] = "thread"

    source: CloneSource
    cut: CloneCut = Field(default_factory=CloneCut)
    messages: dict[Id, Id] = Field(default_factory=dict[str, str])


class ResourceUpdated(Data):
    """A resource's metadata changed; it merges one level, ``null`` is stored."""

    type: ClassVar[str] = "ResourceUpdated"
    facet: ClassVar[Facet] = "resource"

    metadata: Metadata


class Erased(Data):
    """A target below this event's own sequence is to be erased: everywhere, for good.

    ``target`` says what of the subject's resource or thread: the whole ``resource``, the whole
    ``thread``, one ``message`` of the thread with all that was ever said of it, or one ``event`` by
    its position.
    """

    type: ClassVar[str] = "Erased"
    facet: ClassVar[Facet] = "erasure"

    target: Literal["resource", "thread", "message", "event"]
    message: Id | None = None
    position: Position | None = None
    reason: str | None = None

    @model_validator(mode="after")
    def _fits_its_target(self) -> Erased:
        if (self.message is not None) != (self.target == "message"):
            message = "message goes with the target message"
            raise ValueError(message)
        if (self.position is not None) != (self.target == "event"):
            message = "position goes with the target event"
            raise ValueError(message)
        return self


class Redacted(Data):
    """Messages of the log that are about to be deleted from the stream for an erasure.

    ``erasure`` is the sequence of its ``Erased``; ``sequences`` are ranges, both ends included. It
    is what explains the holes to whoever reads the stream later.
    """

    type: ClassVar[str] = "Redacted"
    facet: ClassVar[Facet] = "erasure"

    erasure: Sequence
    sequences: Annotated[list[Range], Field(min_length=1)]


class Restated(Data):
    """One event that shares its message with erased ones, said again: it keeps its position.

    ``event`` is its JSON in base64; ``subject`` and ``time_ns`` are those of its first recording.
    It stands for that event once its message is gone, and says nothing before.
    """

    type: ClassVar[str] = "Restated"
    facet: ClassVar[Facet] = "erasure"

    erasure: Sequence
    position: Position
    subject: Annotated[str, Field(max_length=4096)]
    time_ns: Annotated[int, Field(ge=0)]
    event: Annotated[str, Field(pattern="^[A-Za-z0-9+/]+={0,2}$")]


class ErasureCompleted(Data):
    """An engine has dropped all its copies of what an ``Erased`` covers, and rewritten its files.

    ``stores`` counts what it dropped in each.
    """

    type: ClassVar[str] = "ErasureCompleted"
    facet: ClassVar[Facet] = "erasure"

    erasure: Sequence
    engine: Id
    stores: dict[str, int] = Field(default_factory=dict[str, int])


class ParkedDiscarded(Data):
    """A parked event was given up: it stays without effect, also for code that could read it.

    ``fold_version`` is that of the rules by which it was parked, as the engine tells it.
    """

    type: ClassVar[str] = "ParkedDiscarded"
    facet: ClassVar[Facet] = "erasure"

    sequence: Sequence
    index: Index
    fold_version: Annotated[int, Field(ge=1, lt=1 << 31)]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


EventData = (
    MemoryMerged
    | MemoryReplaced
    | MemoryAppended
    | MemoryEdited
    | WorkingMemoryDefined
    | MessageAppended
    | MessageUpdated
    | MessageDeleted
    | ThreadCreated
    | ThreadUpdated
    | ThreadDeleted
    | ThreadArchived
    | ThreadUnarchived
    | ThreadCloned
    | ResourceUpdated
    | Erased
    | Redacted
    | Restated
    | ErasureCompleted
    | ParkedDiscarded
)
DATA_TYPES: Final[tuple[type[Data], ...]] = (
    WorkingMemoryDefined,
    MessageAppended,
    MessageUpdated,
    MessageDeleted,
    ThreadCreated,
    ThreadUpdated,
    ThreadDeleted,
    ThreadArchived,
    ThreadUnarchived,
    ThreadCloned,
    ResourceUpdated,
    Erased,
    Redacted,
    Restated,
    ErasureCompleted,
    ParkedDiscarded,
)
