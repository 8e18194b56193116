"""Answers that account for a document: its history, who set each part, what differs.

A part names its event by position; the events stand beside the parts, each once in an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from memfold.audit.differences import (
    Difference,
    below,
    differences,
    traced_differences,
    update_differences,
    within,
)
from memfold.audit.fields import changed_fields
from memfold.audit.redo import redone
from memfold.canonical import encode, from_us, is_array, is_object
from memfold.errors import InvalidRequest
from memfold.provenance import Lines, Pointers, Position, leaves
from memfold_consumers.lists import BYTES_MAX, answer, as_of
from memfold_projections.past import LAST
from memfold_projections.said import TEXT_MAX
from memfold_projections.sources import Sources
from memfold_projections.tracing import (
    START,
    Changed,
    Subject,
    content_at,
    find_subject,
    named_changes,
    read_changes,
    trace_at,
    trace_between,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from memfold.definitions import Content
    from memfold_consumers.requests import (
        BlameRequest,
        DiffRequest,
        DocumentHistoryRequest,
        DocumentRequest,
    )
    from memfold_projections.log import Log
    from memfold_projections.reader import Reader

SCANNED_MAX: Final = 5000
"""Changes that are looked through for those of one part, in one answer."""
PARTS_AT_ONCE: Final = 1000
"""Parts whose events are read at once: where these have long texts, no more of them fit."""
DEFINED: Final = "WorkingMemoryDefined"
Part = tuple[dict[str, Any], Position | None]
"""A part of an answer, and the position of the event behind it."""


class Asked:
    """One question about one document, and the reads that answer it."""

    def __init__(self, log: Log, reader: Reader, resource: str, request: DocumentRequest) -> None:
        self.log = log
        self.reader = reader
        self.sequence = as_of(reader, request)
        self.end: Position = (self.sequence, LAST)
        memory = request.document == "working_memory"
        self.subject: Subject = find_subject(reader, resource, request.thread, memory=memory)


def blame(asked: Asked, request: BlameRequest) -> bytes:
    """Return the parts of a document, each with the event that set it."""
    trace = trace_at(asked.reader, asked.subject, asked.end)
    content = trace.content
    _check_path(content, request.path)
    if isinstance(content, str):
        whose = cast("Lines", trace.provenance)
        parts: list[Part] = [
            ({"path": None, "line": number, "value": line}, position)
            for number, (line, position) in enumerate(
                zip(content.split("\n"), whose, strict=True), start=1
            )
        ]
    else:
        known = cast("Pointers", trace.provenance)
        found = {} if content is None else dict(leaves(content))
        parts = [
            ({"path": at, "line": None, "value": found[at]}, known[at])
            for at in sorted(found)
            if below(at, request.path)
        ]
    head = {"format": _format(content)}
    return _page(asked, head, parts[request.after :], request.after, request.limit)


def diff(asked: Asked, request: DiffRequest) -> bytes:
    """Return what differs in a document between two moments, each with its event."""
    start = request.past("start") or 0
    if start > asked.sequence:
        message = f"start {start} is behind {asked.sequence}, where the difference ends"
        raise InvalidRequest(message)
    first: Position = (start, LAST)
    old = content_at(asked.reader, asked.subject, first)
    trace = trace_between(asked.reader, asked.subject, first, asked.end)
    if not isinstance(old, str) or not isinstance(trace.content, str):
        _check_path(old, request.path)
        _check_path(trace.content, request.path)
    elif request.path is not None:
        _check_path(old, request.path)
    parts = [
        (_difference(each), each.position)
        for each in traced_differences(old, trace)
        if below(each.path, request.path)
    ]
    head = {"start": start, "format_before": _format(old), "format": _format(trace.content)}
    return _page(asked, head, parts[request.after :], request.after, request.limit)


def history(asked: Asked, request: DocumentHistoryRequest) -> bytes:
    """Return a page of the changes of a document, oldest first, each with before and after."""
    after = max(request.after, START)
    if request.path is not None:
        _check_pointer(request.path)
    found: list[bytes] = []
    size = 0
    last: Position | None = None
    limit = request.limit + 1 if request.path is None else SCANNED_MAX
    read = 0
    for position, shown in _changes(asked, after, request, limit):
        read += 1
        if request.path is not None and not shown["changes"]:
            last = position
            continue
        encoded = encode(shown)
        if len(found) == request.limit or (found and size + len(encoded) > BYTES_MAX):
            return answer(asked.sequence, "changes", found, last)
        found.append(encoded)
        size += len(encoded) + 1
        last = position
    return answer(asked.sequence, "changes", found, last if read == limit else None)


def _changes(
    asked: Asked, after: Position, request: DocumentHistoryRequest, limit: int
) -> Iterator[tuple[Position, dict[str, Any]]]:
    """Yield the changes behind a position, each with what it did; to be encoded at once."""
    subject = asked.subject
    content = content_at(asked.reader, subject, after)
    part = request.path

    def shown_parts(touched: Iterable[Difference]) -> list[dict[str, Any]]:
        return [_difference(each) for each in (touched if part is None else within(touched, part))]

    for change in read_changes(asked.reader, subject, after, asked.end, limit=limit):
        data = change.data
        shown = _head(change)
        if request.whole:
            # Encoded before the next step, which changes it in place.
            shown["before"] = _copy(content)
        if subject.is_memory:
            if change.type == "WorkingMemoryUpdated":
                touched = update_differences(content, data["mode"], data["content"])
                shown["changes"] = _copy(shown_parts(touched))
                content = redone(content, data["mode"], data["content"])
            elif change.type == DEFINED:
                names = ("template", "json_schema")
                shown["definition"] = {name: data[name] for name in names}
            else:
                shown["changes"] = shown_parts(differences(content, None))
                content = None
        else:
            old = content if isinstance(content, dict) else None
            fields = changed_fields(old, change.type, data)
            if fields is not None or old is not None:
                shown["changes"] = shown_parts(differences(old or {}, fields or {}))
            content = fields
        if request.whole:
            shown["after"] = content
        yield change.position, shown


def _head(change: Changed) -> dict[str, Any]:
    data = change.data
    return {
        "sequence": change.position[0],
        "index": change.position[1],
        "time": from_us(change.time_us),
        "actor": change.actor,
        "id": change.id,
        "type": change.type,
        "mode": data.get("mode"),
        "reason": None if data.get("reason") is None else data["reason"][:TEXT_MAX],
        "causation": change.causation,
        "correlation": change.correlation,
        "reverts": data.get("reverts"),
        "evidence": data.get("evidence") or [],
        "changes": [],
        "definition": None,
    }


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "path": each.path,
        "line": each.line,
        "before": each.before,
        "after": each.after,
    }


def _page(
    asked: Asked, head: dict[str, Any], parts: Sequence[Part], skipped: int, limit: int
) -> bytes:
    """Answer with as many parts as fit, and with the events that they name."""
    entries: list[bytes] = []
    events: list[bytes] = []
    size = 0
    for entry, event in _encoded(asked, parts[:limit]):
        if entries and size + len(entry) + len(event) > BYTES_MAX:
            break
        size += len(entry) + len(event) + 2
        entries.append(entry)
        if event:
            events.append(event)
    after = skipped + len(entries) if len(entries) < len(parts) else None
    body = answer(asked.sequence, "entries", entries, after)
    return b'%b,"events":[%b],%b' % (body[:-1], b",".join(events), encode(head)[1:])


def _encoded(asked: Asked, parts: Sequence[Part]) -> Iterator[tuple[bytes, bytes]]:
    """Yield parts, each with the event behind it if no part before it has named that one."""
    told: set[Position] = set()
    for first in range(0, len(parts), PARTS_AT_ONCE):
        some = parts[first : first + PARTS_AT_ONCE]
        positions = {position for _, position in some if position is not None} - told
        changes = named_changes(asked.reader, asked.subject, positions) if positions else {}
        named = [changes[position] for position in sorted(positions & changes.keys())]
        sources = Sources(asked.log, asked.reader, asked.subject.resource, named)
        for part, position in some:
            event = b""
            if position in changes and position not in told:
                told.add(position)
                event = encode(sources.describe(changes[position]))
            yield encode(part | {"event": position}), event


def _copy(value: object) -> Any:  # noqa: ANN401  # any JSON value
    """Return a JSON value as it stands now, whatever becomes of its objects."""
    if is_object(value):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if is_array(value) else value


def _format(content: Content | None) -> str | None:
    if content is None:
        return None
    return "markdown" if isinstance(content, str) else "json"


def _check_path(content: Content | None, path: str | None) -> None:
    if path is None:
        return
    if isinstance(content, str):
        message = "a text has lines and no paths: leave out path"
        raise InvalidRequest(message)
    _check_pointer(path)


def _check_pointer(path: str) -> None:
    if path and not path.startswith("/"):
        message = "path is a JSON Pointer, as in /address/city"
        raise InvalidRequest(message)
