"""Between entities and table rows: the one place that knows the columns' order."""

from __future__ import annotations

from typing import Any, cast

from memfold.canonical import encode_text
from memfold.definitions import Definition
from memfold.gate import parse
from memfold.provenance import Provenance
from memfold.state import Document, Memory, Message, Resource, Source, Thread

Row = tuple[Any, ...]

RESOURCE_COLUMNS = (
    "id, metadata, began, began_index, created_at_us, updated_at_us, revision, erased, "
    "valid_from, valid_to"
)
THREAD_COLUMNS = (
    "key, resource, id, incarnation, live, explicit, title, metadata, began, began_index, "
    "created_at_us, updated_at_us, revision, archived_at_us, source_resource, source_thread, "
    "source_sequence, source_messages, source_cut, valid_from, valid_to"
)
MESSAGE_COLUMNS = (
    "thread, id, sequence, index, role, content, metadata, created_at_us, updated_at_us, "
    "valid_from, valid_to"
)
MEMORY_COLUMNS = (
    "key, resource, thread, revision, content, format, changed, changed_index, changed_at_us, "
    "provenance, size_max, steps"
)


def resource_row(name: str, resource: Resource) -> Row:
    """Return a resource's columns up to ``erased``."""
    return (
        name,
        encode_text(resource.metadata),
        *resource.began,
        resource.created_at_us,
        resource.updated_at_us,
        resource.revision,
        resource.erased,
    )


def resource_from(row: Row) -> Resource:
    """Return the entity of a row in ``RESOURCE_COLUMNS``."""
    return Resource(
        metadata=decode(row[1]),
        began=(row[2], row[3]),
        created_at_us=row[4],
        updated_at_us=row[5],
        revision=row[6],
        erased=row[7],
    )


def thread_row(key: int, resource: str, name: str, thread: Thread) -> Row:
    """Return a thread's columns up to ``source_cut``."""
    source = thread.source
    return (
        key,
        resource,
        name,
        thread.incarnation,
        thread.live,
        thread.explicit,
        thread.title,
        encode_text(thread.metadata),
        *thread.began,
        thread.created_at_us,
        thread.updated_at_us,
        thread.revision,
        thread.archived_at_us,
        *(
            (None, None, None, None, None)
            if source is None
            else (source.resource, source.thread, source.sequence, source.messages, source.cut)
        ),
    )


def thread_from(row: Row) -> Thread:
    """Return the entity of a row in ``THREAD_COLUMNS``."""
    return Thread(
        incarnation=row[3],
        live=row[4],
        explicit=row[5],
        title=row[6],
        metadata=decode(row[7]),
        began=(row[8], row[9]),
        created_at_us=row[10],
        updated_at_us=row[11],
        revision=row[12],
        archived_at_us=row[13],
        source=None if row[14] is None else Source(*row[14:19]),
    )


def message_row(thread: int, message: Message) -> Row:
    """Return a message's columns up to ``updated_at_us``."""
    return (
        thread,
        message.id,
        *message.position,
        message.role,
        encode_text(message.content),
        encode_text(message.metadata) if message.metadata else "{}",
        message.created_at_us,
        message.updated_at_us,
    )


def message_from(row: Row) -> Message:
    """Return the entity of a row in ``MESSAGE_COLUMNS``."""
    return Message(
        id=row[1],
        position=(row[2], row[3]),
        role=row[4],
        content=decode(row[5]),
        metadata=decode(row[6]),
        created_at_us=row[7],
        updated_at_us=row[8],
    )


def memory_row(key: int, resource: str | None, thread: str | None, memory: Memory) -> Row:
    """Return a working memory's columns."""
    document = memory.document
    head = (key, resource or "", thread or "", memory.revision)
    if document is None:
        return (*head, None, None, None, None, None, None, None, None)
    return (
        *head,
        encode_text(document.content),
        document.format,
        *document.changed,
        document.changed_at_us,
        encode_text(document.provenance),
        document.size_max,
        document.steps,
    )


def memory_from(row: Row, definition: Definition | None) -> Memory:
    """Return the entity of a row in ``MEMORY_COLUMNS``."""
    if row[4] is None:
        return Memory(revision=row[3], definition=definition)
    provenance = decode(row[9])
    document = Document(
        content=decode(row[4]),
        format=row[5],
        changed=(row[6], row[7]),
        changed_at_us=row[8],
        provenance=positions(provenance),
        size_max=row[10],
        steps=row[11],
    )
    return Memory(revision=row[3], document=document, definition=definition)


def decode(text: str) -> Any:  # noqa: ANN401  # any JSON value
    """Return the value of canonical JSON that we wrote ourselves."""
    return parse(text.encode())


def positions(stored: Any) -> Provenance:  # noqa: ANN401  # decoded JSON
    """Return the provenance that canonical JSON holds."""
    if isinstance(stored, list):
        lines = cast("list[list[int]]", stored)
        return [(line[0], line[1]) for line in lines]
    pointers = cast("dict[str, list[int]]", stored)
    return {place: (position[0], position[1]) for place, position in pointers.items()}
