"""What one event does: its outcome and the entities it puts into a new state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from memfold.provenance import Position
from memfold.state import (
    Document,
    EventKey,
    Memory,
    MemoryKey,
    Message,
    MessageKey,
    ParkedEvent,
    Resource,
    Thread,
    ThreadKey,
)

OutcomeKind = Literal["applied", "unchanged", "rejected", "parked", "duplicate"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event. ``of`` is the first position of a duplicate."""

    kind: OutcomeKind
    reason: str = ""
    detail: str = ""
    of: Position | None = None


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A stored document state, from which later states are folded."""

    key: MemoryKey
    document: Document


@dataclass(slots=True)
class Step:
    """The outcome of one event and every entity it puts in a new state (None: it is gone)."""

    outcome: Outcome
    memories: dict[MemoryKey, Memory] | None = None
    threads: dict[ThreadKey, Thread] | None = None
    resources: dict[str, Resource] | None = None
    messages: dict[MessageKey, Message | None] | None = None
    seen: tuple[EventKey, bytes, Position] | None = None
    keyframe: Keyframe | None = None
    parked: tuple[Position, ParkedEvent] | None = None


APPLIED: Final = Outcome("applied")
UNCHANGED: Final = Outcome("unchanged")
