"""What the audit returns: small frozen values that also turn into plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from memfold.reads import Read

Since = Literal["unchanged", "changed", "deleted", "appended", "erased", "unknown"]
"""What became of a message since a change named it, up to now."""


@dataclass(frozen=True, slots=True)
class SourceMessage(Read):
    """A message that a change rests on, as it stood when the change came.

    ``since`` says what became of it up to now: "unchanged", "changed" or "deleted" (which it can
    have been before the change: it is shown as it last was); "appended": it came after the change,
    and is shown as it was then; "erased"; "unknown": there is none. ``text`` is what it says, its
    first 4,096 characters; ``cut`` tells that there is more. ``actor``, ``sequence`` and ``index``
    are those of the event that made it say so: of several about one message, not of the first.
    """

    thread: str
    message: str
    role: str | None
    actor: str | None
    created_at: datetime | None
    text: str | None
    cut: bool
    since: Since
    sequence: int | None
    index: int | None


@dataclass(frozen=True, slots=True)
class ChangeEvent(Read):
    """The event behind a part of a document: where, when, who, why.

    ``mode`` is that of an update of a working memory. ``evidence`` are the messages that it names,
    ``more_evidence`` how many more did not fit; ``cause`` is the message that the event in
    ``causation`` was about, if it was about one: the first event of that id in the resource, before
    this one. ``reverts`` says which state it restored.
    """

    sequence: int
    index: int
    time: datetime
    actor: str
    id: str
    type: str
    mode: str | None
    reason: str | None
    causation: str | None
    correlation: str | None
    reverts: dict[str, Any] | None
    evidence: tuple[SourceMessage, ...]
    more_evidence: int
    cause: SourceMessage | None

    @classmethod
    def _made(cls, values: dict[str, Any]) -> dict[str, Any]:
        cause = values["cause"]
        evidence = tuple(SourceMessage.from_json(each) for each in values["evidence"])
        made = None if cause is None else SourceMessage.from_json(cause)
        return {**values, "evidence": evidence, "cause": made}


@dataclass(frozen=True, slots=True)
class BlameEntry(Read):
    """A part of a document, and the event that set it to this value.

    ``path`` is the JSON Pointer of a scalar, an array or an empty object; ``line`` counts the lines
    of a text from 1.
    """

    path: str | None
    line: int | None
    value: Any
    event: ChangeEvent | None


@dataclass(frozen=True, slots=True)
class Blame(Read):
    """Who set each part of a document, as of ``sequence``.

    ``format`` is "json", "markdown", or None where there was no document. ``redacted`` says of a
    past one that something of the resource was erased since.
    """

    sequence: int
    format: str | None
    entries: tuple[BlameEntry, ...]
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class DiffEntry(Read):
    """A part of a document that differs, and the last event that made it so.

    ``kind`` is "added", "removed" or "changed". ``line`` is that of the later state, of a removed
    line that of the earlier one.
    """

    kind: str
    path: str | None
    line: int | None
    before: Any
    after: Any
    event: ChangeEvent | None


@dataclass(frozen=True, slots=True)
class Diff(Read):
    """What differs in a document between the sequences ``start`` and ``sequence``.

    ``redacted`` says that something of the resource was erased since ``start``: both states are
    what the rest makes of them.
    """

    start: int
    sequence: int
    format_before: str | None
    format: str | None
    entries: tuple[DiffEntry, ...]
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class Touched(Read):
    """A part of a document that one event changed.

    It is as large as can be: a whole object that was added or removed, neighbouring lines of a
    text together, beginning with ``line``.
    """

    kind: str
    path: str | None
    line: int | None
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class DocumentChange(Read):
    """One event of a document's history, with what it changed.

    ``definition`` is what a ``WorkingMemoryDefined`` set. ``before`` and ``after`` are the whole
    document, where that was asked for.
    """

    sequence: int
    index: int
    time: datetime
    actor: str
    id: str
    type: str
    mode: str | None
    reason: str | None
    causation: str | None
    correlation: str | None
    reverts: dict[str, Any] | None
    evidence: tuple[dict[str, str], ...]
    changes: tuple[Touched, ...]
    definition: dict[str, Any] | None = None
    before: Any = None
    after: Any = None

    @classmethod
    def _made(cls, values: dict[str, Any]) -> dict[str, Any]:
        changes = tuple(Touched.from_json(each) for each in values["changes"])
        return {**values, "evidence": tuple(values["evidence"]), "changes": changes}

    @property
    def position(self) -> tuple[int, int]:
        """The event's place in the log."""
        return self.sequence, self.index


def with_events(
    entries: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], ChangeEvent | None]]:
    """Return the entries of an answer, each with the event that it names."""
    known = {(each["sequence"], each["index"]): ChangeEvent.from_json(each) for each in events}
    return [
        (entry, None if entry["event"] is None else known.get(tuple(entry["event"])))
        for entry in entries
    ]
