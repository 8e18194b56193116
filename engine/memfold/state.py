"""What the fold knows: frozen entities in plain dictionaries. No rules and no storage here.

An entity that is not in the dictionaries does not exist: whoever folds on stored state loads what
a batch of events can touch before folding it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from memfold.definitions import Content, Definition, Format
from memfold.provenance import Position, Provenance

MemoryKey = tuple[str | None, str | None]
"""(resource, thread): (r, None) is the resource's own, (None, None) holds the namespace default."""
ThreadKey = tuple[str, str]
MessageKey = tuple[str, str, str]
EventKey = tuple[str, str]
"""(source, event id)."""
Whose = Literal["thread", "resource", "namespace"]
"""Where a definition in force was set."""


@dataclass(frozen=True, slots=True)
class Document:
    """A working memory's content with its provenance. ``size_max`` bounds its canonical bytes."""

    content: Content
    format: Format
    changed: Position
    changed_at_us: int
    provenance: Provenance
    size_max: int
    steps: int


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory facet of one resource or thread.

    ``revision`` is the highest sequence on its subject, whatever became of the event there: that is
    what the stream compares an expected revision with.
    """

    revision: int = 0
    document: Document | None = None
    definition: Definition | None = None


def definition_places(key: MemoryKey) -> tuple[MemoryKey, ...]:
    """Return the memories on which a memory's definition may be set, the one that wins first."""
    return key, (key[0], None), (None, None)


def definition_in_force(
    memories: Mapping[MemoryKey, Memory], key: MemoryKey
) -> tuple[Definition, Whose] | None:
    """Return the definition in force: the thread's, else the resource's, else the namespace's."""
    for place in definition_places(key):
        memory = memories.get(place)
        if memory is not None and memory.definition is not None:
            if place[1] is not None:
                return memory.definition, "thread"
            return memory.definition, "namespace" if place[0] is None else "resource"
    return None


@dataclass(frozen=True, slots=True)
class Source:
    """What a thread was cloned from: a thread as it stood at ``sequence``, so many messages.

    ``cut`` is canonical JSON: which of them were wanted.
    """

    resource: str
    thread: str
    sequence: int
    messages: int
    cut: str


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread; ``incarnation`` counts its lives, ``live`` is False between two of them.

    ``updated_at_us`` counts its title, its metadata and its deleted messages. Messages that are
    there carry their own times, so that an append does not change its thread's row.
    """

    incarnation: int
    live: bool
    explicit: bool
    title: str
    metadata: dict[str, Any]
    began: Position
    created_at_us: int
    updated_at_us: int
    revision: int = 0
    archived_at_us: int | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource and its metadata.

    ``began`` is (0, 0) where only events without effect have named it: it has a revision, no more.
    ``erased`` is the sequence of its last erasure as a whole: lives of its threads count on from
    there, so that none that was read before comes again.
    """

    metadata: dict[str, Any]
    began: Position
    created_at_us: int
    updated_at_us: int
    revision: int = 0
    erased: int = 0

    @property
    def live(self) -> bool:
        """Tell whether anything was ever applied to the resource."""
        return self.began != (0, 0)


@dataclass(frozen=True, slots=True)
class Message:
    """One message; ``position`` is where it first appeared and stays its place in the order."""

    id: str
    position: Position
    role: str
    content: Any
    metadata: dict[str, Any]
    created_at_us: int
    updated_at_us: int


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """A parked event: whose subject it came on, if that names anybody, and whether it was given up.

    Both ids are None for a subject that is not canonical, and for the namespace's defaults.
    """

    resource: str | None
    thread: str | None
    discarded: bool = False


@dataclass(slots=True)
class State:
    """All that the fold reads. Changed only by :func:`memfold.fold.apply`."""

    memories: dict[MemoryKey, Memory] = field(default_factory=dict[MemoryKey, Memory])
    threads: dict[ThreadKey, Thread] = field(default_factory=dict[ThreadKey, Thread])
    resources: dict[str, Resource] = field(default_factory=dict[str, Resource])
    messages: dict[MessageKey, Message] = field(default_factory=dict[MessageKey, Message])
    seen: dict[EventKey, tuple[bytes, Position]] = field(
        default_factory=dict[EventKey, tuple[bytes, Position]]
    )
    parked: dict[Position, ParkedEvent] = field(default_factory=dict[Position, ParkedEvent])
