"""Mastra: threads, messages and working memory, out of its database or an export of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from memfold.canonical import is_array, is_object
from memfold.errors import InvalidEvent
from memfold.events import Content
from memfold_consumers.formats.conversations import (
    Conversations,
    Found,
    Message,
    Misfit,
    Skipped,
    Source,
    as_parts,
    beside,
    role_of,
    text_of,
    time_of,
)
from memfold_consumers.formats.exports import Asked
from memfold_consumers.formats.jsonb import read_jsonb
from memfold_consumers.formats.mastra_rows import Row, ThreadRows, open_rows
from memfold_consumers.formats.stable import Fault
from memfold_consumers.formats.values import Bytes, parse_value

_MS: Final = 1000
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


class MastraReader:
    """Resource and thread are Mastra's own; ``resource`` takes only what is of that one."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._maker = Conversations("mastra", asked.file, asked.salts)

    def read(self, stream: Bytes) -> Iterator[Found]:
        """Yield what the file holds.

        Raises:
            InvalidInput: it is neither a database nor an export of Mastra.
        """
        with open_rows(Path(self._asked.file), stream) as rows:
            yield from rows.problems()
            for row in rows.resources():
                yield from self._resource(row)
            for found in rows.threads():
                if isinstance(found, Fault):
                    yield found
                else:
                    yield from self._thread(found)

    def _resource(self, row: Row) -> Iterator[Found]:
        try:
            resource = text_of(row.cells, "id")
            if self._asked.resource not in (None, resource):
                yield Skipped("other_resource")
                return
            source = Source(
                resource,
                None,
                row.place,
                created_at=_time(row, "createdAt", "created_at"),
                updated_at=_time(row, "updatedAt", "updated_at"),
                metadata=_object(row, "metadata"),
                memory=_memory(_first(row.cells, "workingMemory", "working_memory")),
            )
        except Misfit as error:
            yield self._maker.fault(row.place, error)
            return
        yield from self._maker.make(source, [])

    def _thread(self, found: ThreadRows) -> Iterator[Found]:
        place = found.thread.place if found.thread else f"thread {found.id}"
        resource = _owner(found)
        if self._asked.resource not in (None, resource):
            yield Skipped("other_resource", max(1, len(found.messages)))
            return
        messages: list[Message] = []
        for row in found.messages:
            try:
                messages.append(_message(row, resource))
            except Misfit as error:
                yield self._maker.fault(row.place, error)
        # Sorting keeps the order of the file where times are equal.
        messages.sort(key=lambda message: message.created_at or _EARLIEST)
        if not resource:
            problem = "neither the thread nor its messages have a resourceId"
            yield self._maker.fault(place, problem)
            return
        try:
            source = _source(found, resource, place)
        except Misfit as error:
            yield self._maker.fault(place, error)
            return
        yield from self._maker.make(source, messages)


def _owner(found: ThreadRows) -> str:
    """Return the thread's resource: its own row's, else that of the first message with one."""
    rows = [*([found.thread] if found.thread else []), *found.messages]
    owners = (_first(row.cells, "resourceId", "resource_id") for row in rows)
    return next((owner for owner in owners if isinstance(owner, str) and owner), "")


def _source(found: ThreadRows, resource: str, place: str) -> Source:
    if found.thread is None:
        return Source(resource, found.id, place)
    row = found.thread
    metadata = _object(row, "metadata")
    memory = _memory(metadata.get("workingMemory"))
    if memory is not None:
        # It is the thread's working memory for us, and not its metadata.
        del metadata["workingMemory"]
    return Source(
        resource,
        found.id,
        place,
        title=text_of(row.cells, "title"),
        created_at=_time(row, "createdAt", "created_at"),
        updated_at=_time(row, "updatedAt", "updated_at"),
        metadata=metadata,
        memory=memory,
    )


def _message(row: Row, resource: str) -> Message:
    content, metadata, fields = _content(_said(row))
    owner = _first(row.cells, "resourceId", "resource_id")
    if owner not in (None, "", resource):
        fields = {**fields, "resourceId": owner}
    type_ = row.cells.get("type")
    if type_ not in (None, "v2", "text"):
        fields = {**fields, "type": type_}
    id_ = text_of(row.cells, "id")
    if not id_:
        problem = "a message has an id"
        raise Misfit(problem)
    return Message(
        id_,
        role_of(row.cells.get("role")),
        content,
        row.place,
        created_at=_time(row, "createdAt", "created_at"),
        metadata=metadata,
        fields=fields,
    )


def _said(row: Row) -> object:
    """Return what a message says; text that only looks like JSON stays text."""
    said = _json(row, "content")
    is_text = isinstance(row.cells.get("content"), str)
    return row.cells["content"] if is_text and is_object(said) and "parts" not in said else said


def _content(content: object) -> tuple[Content, Mapping[str, Any], Mapping[str, Any]]:
    """Return a message's content, its metadata, and what else stands with it.

    The parts are kept as they are; what Mastra keeps beside them for its older readers is left out
    where it says the same again.
    """
    if isinstance(content, str):
        return content, {}, {}
    if is_array(content) and all(map(is_object, content)):
        return content, {}, {}
    if not is_object(content):
        problem = "content is neither text nor parts"
        raise Misfit(problem)
    parts: object = content.get("parts")
    metadata: object = content.get("metadata")
    taken = ["parts", *(("metadata",) if is_object(metadata) else ())]
    if content.get("format") == 2:  # noqa: PLR2004 - the name of the form, not an amount.
        taken.append("format")
    found: Content
    if is_array(parts) and all(map(is_object, parts)):
        found = list(parts)
        taken += _repeated(content, parts)
    elif parts is None and isinstance(content.get("content"), str):
        found = str(content["content"])
        taken.append("content")
    else:
        problem = "content has no list of parts"
        raise Misfit(problem)
    attached: object = content.get("experimental_attachments")
    if is_array(attached) and attached:
        taken.append("experimental_attachments")
        name = "experimental_attachment"
        found = [*as_parts(found), *({"type": name, name: each} for each in attached)]
    return found, metadata if is_object(metadata) else {}, beside(content, *taken)


def _repeated(content: Mapping[str, Any], parts: list[dict[str, Any]]) -> list[str]:
    """Return the fields that say again what the parts say."""
    texts = [str(part.get("text")) for part in parts if part.get("type") == "text"]
    found: list[str] = []
    if content.get("content") in [*texts, *(glue.join(texts) for glue in ("", " ", "\n"))]:
        found.append("content")
    calls: object = content.get("toolInvocations")
    known = [part.get("toolInvocation") for part in parts]
    if is_array(calls) and all(call in known for call in calls):
        found.append("toolInvocations")
    if content.get("reasoning") in [part.get("reasoning", "") for part in parts]:
        found.append("reasoning")
    return found


def _memory(value: object) -> str | dict[str, Any] | None:
    """Return a working memory: a JSON object if it is one or its text, else text; or none."""
    if is_object(value):
        return value
    if not isinstance(value, str) or not value.strip():
        return None
    parsed = _parsed(value)
    return parsed if is_object(parsed) else value


def _object(row: Row, name: str) -> dict[str, Any]:
    value = _json(row, name)
    if value is None or value == "":
        return {}
    if not is_object(value):
        problem = f"{name} is not an object"
        raise Misfit(problem)
    return dict(value)


def _json(row: Row, name: str) -> Any:  # noqa: ANN401 - any JSON value.
    """Return a cell that may be JSON as text or in SQLite's binary form; other text is itself."""
    value: object = row.cells.get(name)
    if isinstance(value, bytes):
        try:
            return read_jsonb(value)
        except (ValueError, InvalidEvent):
            problem = f"{name} is not JSON"
            raise Misfit(problem) from None
    if isinstance(value, str):
        parsed = _parsed(value)
        is_parts = is_array(parsed) and all(is_object(part) and "type" in part for part in parsed)
        return parsed if is_object(parsed) or (is_parts and parsed) else value
    return value


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON value, None if it is none.
    try:
        return parse_value(text.encode(errors="surrogatepass"))
    except InvalidEvent:
        return None


def _time(row: Row, *names: str) -> datetime | None:
    return time_of(row.cells, *names, units_per_s=_MS, utc=True)


def _first(cells: Mapping[str, Any], *names: str) -> object:
    return next((cells[name] for name in names if cells.get(name) is not None), None)
