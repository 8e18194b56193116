"""Reads as of an earlier sequence: exact, and as quick for a long history as for a short one.

Threads, resources, messages and definitions are rows valid in [from, to). A working memory is the
nearest keyframe at or before, and the changes since, of which there are at most 256.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from memfold.audit.redo import Trace, redone
from memfold.definitions import Content, Definition, Format
from memfold.provenance import Position
from memfold.state import Document, Memory, MemoryKey, definition_in_force
from memfold_projections.documents import MEMORY
from memfold_projections.recent import Hit, Shown
from memfold_projections.rows import (
    RESOURCE_COLUMNS,
    THREAD_COLUMNS,
    decode,
    positions,
    resource_from,
    thread_from,
)
from memfold_projections.views import NO_ACTIVITY, Activity, memory_json, thread_json

if TYPE_CHECKING:
    from memfold.state import Resource, Whose
    from memfold_projections.log import Log
    from memfold_projections.reader import Reader

LAST: Final = 1 << 30
"""An index behind all those of a batch."""

_KEY: Final = "SELECT key FROM working_memory WHERE resource = $resource AND thread = $thread"
_DEFINITIONS: Final = """
SELECT resource, thread, kind, body FROM definition JOIN working_memory
    ON definition.memory = working_memory.key
WHERE resource IN ($resource, '') AND thread IN ($thread, '')
  AND valid_from <= $as_of AND valid_to > $as_of
"""
# Keyframes are appended in the log's order, so the last row is the newest.
_NEWEST: Final = """
SELECT sequence, index FROM keyframe WHERE rowid = (
    SELECT max(rowid) FROM keyframe
    WHERE memory = $key AND sequence <= $sequence AND (sequence < $sequence OR index <= $index)
)
"""
# By the index on sequence, which takes a known one and nothing beside it: else all documents near
# it are read as well. A message is of one resource, so there are few.
_KEYFRAME: Final = """
SELECT memory, index, content, changed_at_us, CASE WHEN $traced THEN provenance END FROM keyframe
WHERE sequence = $sequence
"""
# DuckDB cannot take two comparisons of one (sequence, index).
_MEANT: Final = f"""
FROM change
WHERE kind = {MEMORY} AND key = $key AND applied AND type = 'WorkingMemoryUpdated'
  AND sequence BETWEEN $first AND $sequence AND (sequence > $first OR index > $first_index)
  AND (sequence < $sequence OR index <= $index)
"""  # constants only
_STEPS: Final = f"SELECT sequence, index, time_us, data {_MEANT} ORDER BY sequence, index"
# Nothing before a whole document counts, so its steps are not read.
_REVISION: Final = f"""
SELECT max(CASE WHEN type NOT IN ('ThreadDeleted', 'Erased') THEN sequence END),
    max(CASE WHEN whole AND (sequence < $sequence OR index <= $index) THEN sequence END),
    max(CASE WHEN type = 'Erased' THEN sequence END)
FROM change WHERE kind = {MEMORY} AND key = $key AND sequence <= $sequence
"""  # noqa: S608  # constants only
_THREAD: Final = f"""
SELECT {THREAD_COLUMNS} FROM thread WHERE resource = $resource AND id = $thread
  AND valid_from <= $as_of AND valid_to > $as_of
"""  # noqa: S608  # constants only
_ACTIVITY: Final = """
SELECT max(created_at_us), max(updated_at_us) FROM message
WHERE thread = $key AND valid_from <= $as_of AND valid_to > $as_of
"""
_RESOURCE: Final = f"""
SELECT {RESOURCE_COLUMNS} FROM resource
WHERE id = $resource AND valid_from <= $as_of AND valid_to > $as_of
"""  # noqa: S608  # constants only
_AT: Final = "SELECT max(sequence) FROM event WHERE time_us <= ?"


@dataclass(frozen=True, slots=True)
class Base:
    """The keyframe that a past state is worked out from."""

    position: Position
    content: Content | None
    changed_at_us: int
    provenance: Any


def sequence_at(log: Log, time_us: int) -> int:
    """Return the last sequence that was recorded at a time or before it, 0 if none was."""
    for rows in log.pages(_AT, [time_us], 1):
        return int(rows[0][0] or 0)
    return 0


def memory_key(reader: Reader, resource: str | None, thread: str | None) -> int | None:
    """Return the number that a working memory goes by, None if nothing ever named it."""
    found = list(reader.rows(_KEY, {"resource": resource or "", "thread": thread or ""}))
    return found[0][0] if found else None


def keyframe(reader: Reader, key: int, at: Position, *, traced: bool) -> Base | None:
    """Return the newest keyframe of a working memory up to a position."""
    asked: dict[str, Any] = {"key": key, "sequence": at[0], "index": at[1]}
    for sequence, index in list(reader.rows(_NEWEST, asked)):
        found = reader.rows(_KEYFRAME, {"sequence": sequence, "traced": traced})
        [(content, time_us, known)] = [row[2:] for row in found if row[:2] == (key, index)]
        return Base(
            (sequence, index),
            None if content is None else cast("Content", decode(content)),
            time_us or 0,
            None if known is None else positions(decode(known)),
        )
    return None


def stored_as_of(reader: Reader, key: int, at: Position) -> Memory:
    """Return a working memory as it stood behind a position, without provenance and definition."""
    asked = {"key": key, "sequence": at[0], "index": at[1]}
    [(revision, whole, erased)] = reader.rows(_REVISION, asked)
    if revision is None or revision < (erased or 0):
        return Memory()
    base = keyframe(reader, key, at, traced=False)
    if base is None:
        return Memory(revision)
    content, changed, time_us = base.content, base.position, base.changed_at_us
    asked = _between(key, base, at)
    if whole is not None and whole > base.position[0]:
        asked |= {"first": whole, "first_index": -1}
    for sequence, index, moment_us, data in reader.rows(_STEPS, asked):
        change = decode(data)
        content = redone(content, change["mode"], change["content"])
        changed, time_us = (sequence, index), moment_us
    if content is None:
        return Memory(revision)
    form: Format = "markdown" if isinstance(content, str) else "json"
    return Memory(revision, Document(content, form, changed, time_us, {}, 0, 0))


def trace_as_of(reader: Reader, key: int, at: Position) -> Trace:
    """Return a working memory with its provenance as it stood behind a position."""
    base = keyframe(reader, key, at, traced=True)
    if base is None:
        return Trace(None, None)
    trace = Trace(base.content, base.provenance)
    for sequence, index, _, data in reader.rows(_STEPS, _between(key, base, at)):
        change = decode(data)
        trace.update(change["mode"], change["content"], (sequence, index))
    return trace


def _between(key: int, base: Base, at: Position) -> dict[str, Any]:
    first, first_index = base.position
    return {
        "key": key,
        "first": first,
        "first_index": first_index,
        "sequence": at[0],
        "index": at[1],
    }


def memory_as_of(reader: Reader, resource: str | None, thread: str | None, as_of: int) -> Memory:
    """Return one working memory as of a sequence, its own definition left out."""
    key = memory_key(reader, resource, thread)
    return Memory() if key is None else stored_as_of(reader, key, (as_of, LAST))


def definition_as_of(
    reader: Reader, resource: str | None, thread: str | None, as_of: int
) -> tuple[Definition, Whose] | None:
    """Return the definition that was in force for a working memory, with whose that was."""
    asked = {"resource": resource or "", "thread": thread or "", "as_of": as_of}
    places: dict[MemoryKey, Memory] = {
        (row[0] or None, row[1] or None): Memory(definition=Definition(row[2], row[3]))
        for row in reader.rows(_DEFINITIONS, asked)
    }
    return definition_in_force(places, (resource, thread))


def thread_as_of(reader: Reader, resource: str, thread: str, as_of: int) -> Shown:
    """Return one thread as of a sequence, live or not, with what its messages said of it."""
    asked = {"resource": resource, "thread": thread, "as_of": as_of}
    rows = list(reader.rows(_THREAD, asked))
    if not rows:
        return Shown(None, NO_ACTIVITY, thread_json(resource, thread, None, NO_ACTIVITY))
    found = thread_from(rows[0])
    [(last_us, changed_us)] = reader.rows(_ACTIVITY, {"key": rows[0][0], "as_of": as_of})
    activity = Activity(last_us, changed_us or 0)
    return Shown(found, activity, thread_json(resource, thread, found, activity))


def resource_as_of(reader: Reader, name: str, as_of: int) -> Resource | None:
    """Return one resource as of a sequence, live or not."""
    rows = list(reader.rows(_RESOURCE, {"resource": name, "as_of": as_of}))
    return resource_from(rows[0]) if rows else None


def snapshot_as_of(
    reader: Reader, resource: str, thread: str | None, as_of: int, messages: list[bytes]
) -> Hit:
    """Return a snapshot as of a sequence; its messages are read by the caller."""
    own = memory_json(memory_as_of(reader, resource, None, as_of))
    if thread is None:
        return Hit(as_of, own, b"null", b"null", messages)
    of_thread = memory_json(memory_as_of(reader, resource, thread, as_of))
    shown = thread_as_of(reader, resource, thread, as_of)
    return Hit(as_of, own, of_thread, shown.encoded, messages)
