"""The JSON shapes of what is read: entities as bytes, made once and served many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memfold.canonical import encode, from_us

if TYPE_CHECKING:
    from memfold.state import Memory, Message, Resource, Thread


def memory_json(memory: Memory | None) -> bytes:
    """Return a working memory as {content, format, revision, changed_at}, or ``null``."""
    if memory is None or memory.document is None:
        return b"null"
    document = memory.document
    return encode(
        {
            "content": document.content,
            "format": document.format,
            "revision": memory.revision,
            "changed_at": from_us(document.changed_at_us),
        }
    )


def message_json(thread: str, message: Message) -> bytes:
    """Return a message with its thread and its position."""
    sequence, index = message.position
    return encode(
        {
            "id": message.id,
            "thread": thread,
            "role": message.role,
            "content": message.content,
            "metadata": message.metadata,
            "created_at": from_us(message.created_at_us),
            "updated_at": from_us(message.updated_at_us),
            "sequence": sequence,
            "index": index,
        }
    )


def thread_json(resource: str, name: str, thread: Thread | None) -> bytes:
    """Return a live thread, or ``null``."""
    if thread is None or not thread.live:
        return b"null"
    return encode(
        {
            "id": name,
            "resource": resource,
            "title": thread.title,
            "metadata": thread.metadata,
            "incarnation": thread.incarnation,
            "revision": thread.revision,
            "created_at": from_us(thread.created_at_us),
            "updated_at": from_us(thread.updated_at_us),
        }
    )


def resource_view(name: str, resource: Resource) -> dict[str, Any]:
    """Return a resource as a JSON object."""
    return {
        "id": name,
        "metadata": resource.metadata,
        "revision": resource.revision,
        "created_at": from_us(resource.created_at_us),
        "updated_at": from_us(resource.updated_at_us),
    }
