"""Documents with their history: traces of working memories and of metadata, rows of changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from memfold.audit.fields import changed_fields
from memfold.audit.redo import Trace, traced
from memfold.canonical import is_object
from memfold.definitions import Content
from memfold.provenance import Position
from memfold_projections.documents import MEMORY, RESOURCE, THREAD
from memfold_projections.past import memory_key, stored_as_of, trace_as_of
from memfold_projections.rows import decode

if TYPE_CHECKING:
    from memfold_projections.reader import Reader

_THREAD_KEYS: Final = "SELECT DISTINCT key FROM thread WHERE resource = $resource AND id = $thread"
_RESOURCE_KEYS: Final = (
    "SELECT DISTINCT began FROM resource WHERE id = $resource AND began > 0 AND $thread IS NULL"
)
_COLUMNS: Final = "sequence, index, time_us, actor, id, type, causation, correlation, data"
_CHANGES: Final = f"""
SELECT {_COLUMNS} FROM change
WHERE kind = $kind AND key IN (SELECT unnest($keys::BIGINT[])) AND applied
  AND sequence BETWEEN $first AND $sequence AND (sequence > $first OR index > $first_index)
  AND (sequence < $sequence OR index <= $index)
ORDER BY sequence, index LIMIT $limit
"""  # noqa: S608  # constants only
_NAMED: Final = f"""
SELECT {_COLUMNS} FROM change
WHERE kind = $kind AND key IN (SELECT unnest($keys::BIGINT[])) AND applied
  AND sequence IN (SELECT unnest($sequences::BIGINT[]))
"""  # noqa: S608  # constants only
NO_LIMIT: Final = 1 << 62
START: Final = (0, -1)
"""A position before every event."""


@dataclass(frozen=True, slots=True)
class Changed:
    """One event that changed a document."""

    position: Position
    time_us: int
    actor: str
    id: str
    type: str
    causation: str | None
    correlation: str | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """A document: a working memory, or the metadata of a thread (all its lives) or resource."""

    resource: str
    thread: str | None
    kind: int
    keys: tuple[int, ...]

    @property
    def is_memory(self) -> bool:
        """Tell a working memory from metadata."""
        return self.kind == MEMORY


def find_subject(reader: Reader, resource: str, thread: str | None, *, memory: bool) -> Subject:
    """Return a document by its name, whether anything is known of it or not."""
    if memory:
        key = memory_key(reader, resource, thread)
        return Subject(resource, thread, MEMORY, () if key is None else (key,))
    statement = _RESOURCE_KEYS if thread is None else _THREAD_KEYS
    asked = {"resource": resource, "thread": thread}
    keys = tuple(sorted(row[0] for row in reader.rows(statement, asked)))
    return Subject(resource, thread, RESOURCE if thread is None else THREAD, keys)


def read_changes(
    reader: Reader, subject: Subject, after: Position, upto: Position, *, limit: int = NO_LIMIT
) -> Iterator[Changed]:
    """Yield what changed a document behind one position, up to another; read nothing meanwhile."""
    asked = {
        "kind": subject.kind,
        "keys": list(subject.keys),
        "first": after[0],
        "first_index": after[1],
        "sequence": upto[0],
        "index": upto[1],
        "limit": limit,
    }
    return map(_changed, reader.rows(_CHANGES, asked))


def named_changes(
    reader: Reader, subject: Subject, wanted: Iterable[Position]
) -> dict[Position, Changed]:
    """Return the changes at some positions."""
    sequences = sorted({position[0] for position in wanted})
    asked = {"kind": subject.kind, "keys": list(subject.keys), "sequences": sequences}
    return {each.position: each for each in map(_changed, reader.rows(_NAMED, asked))}


def content_at(reader: Reader, subject: Subject, at: Position) -> Content | None:
    """Return a document as it stood behind a position."""
    if subject.is_memory:
        document = stored_as_of(reader, subject.keys[0], at).document if subject.keys else None
        return None if document is None else document.content
    content: dict[str, Any] | None = None
    for change in read_changes(reader, subject, START, at):
        content = changed_fields(content, change.type, change.data)
    return content


def trace_at(reader: Reader, subject: Subject, at: Position) -> Trace:
    """Return a document with its provenance as it stood behind a position."""
    if subject.is_memory:
        return trace_as_of(reader, subject.keys[0], at) if subject.keys else Trace(None, None)
    return _retraced(Trace(None, None), subject, read_changes(reader, subject, START, at))


def trace_between(reader: Reader, subject: Subject, start: Position, end: Position) -> Trace:
    """Return a document's trace from one position to another, its first state as sequence 0."""
    trace = traced(content_at(reader, subject, start))
    return _retraced(trace, subject, read_changes(reader, subject, start, end))


def _retraced(trace: Trace, subject: Subject, changes: Iterator[Changed]) -> Trace:
    for change in changes:
        if subject.is_memory:
            if change.type == "WorkingMemoryUpdated":
                trace.update(change.data["mode"], change.data["content"], change.position)
            elif change.type != "WorkingMemoryDefined":
                trace.end(change.position)
            continue
        content = trace.content if is_object(trace.content) else None
        fields = changed_fields(content, change.type, change.data)
        if fields is None:
            trace.end(change.position)
        else:
            trace.put(fields, change.position)
    return trace


def _changed(row: tuple[Any, ...]) -> Changed:
    sequence, index, time_us, actor, id_, type_, causation, correlation, data = row
    position = (sequence, index)
    return Changed(position, time_us, actor, id_, type_, causation, correlation, decode(data))
