"""The JSON shapes of what is read: entities as bytes, made once and served many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from memfold.canonical import encode, from_us
from memfold.definitions import conforms

if TYPE_CHECKING:
    from memfold.definitions import Definition
    from memfold.state import Memory, Message, Resource, Thread, Whose


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


def definition_json(in_force: tuple[Definition, Whose] | None, memory: Memory | None) -> bytes:
    """Return the definition in force for a working memory, or ``null``."""
    if in_force is None:
        return b"null"
    definition, scope = in_force
    document = None if memory is None else memory.document
    is_schema = definition.kind == "schema"
    return encode(
        {
            "kind": definition.kind,
            "template": None if is_schema else definition.body,
            "json_schema": orjson.loads(definition.body) if is_schema else None,
            "scope": scope,
            "conforms": document is None or conforms(definition, document.content),
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


@dataclass(frozen=True, slots=True)
class Activity:
    """What a thread's messages say of it: the newest ``created_at``, and the last change."""

    last_message_at_us: int | None = None
    changed_at_us: int = 0

    def and_of(self, message: Message) -> Activity:
        """Return it with one more message."""
        newest = self.last_message_at_us
        created = message.created_at_us
        return Activity(
            created if newest is None else max(newest, created),
            max(self.changed_at_us, message.updated_at_us),
        )


NO_ACTIVITY: Final = Activity()


def thread_json(resource: str, name: str, thread: Thread | None, activity: Activity) -> bytes:
    """Return a live thread, or ``null``; whoever serves it counts what is parked of it."""
    if thread is None or not thread.live:
        return b"null"
    source = thread.source
    return encode(
        {
            "id": name,
            "resource": resource,
            "title": thread.title,
            "metadata": thread.metadata,
            "incarnation": thread.incarnation,
            "revision": thread.revision,
            "created_at": from_us(thread.created_at_us),
            "updated_at": from_us(max(thread.updated_at_us, activity.changed_at_us)),
            "last_message_at": _time(activity.last_message_at_us),
            "archived_at": _time(thread.archived_at_us),
            "parked": 0,
            "source": None
            if source is None
            else {
                "resource": source.resource,
                "thread": source.thread,
                "sequence": source.sequence,
                "messages": source.messages,
                "cut": orjson.loads(source.cut),
            },
        }
    )


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else from_us(time_us)


def resource_view(name: str, resource: Resource) -> dict[str, Any]:
    """Return a resource as a JSON object."""
    return {
        "id": name,
        "metadata": resource.metadata,
        "revision": resource.revision,
        "created_at": from_us(resource.created_at_us),
        "updated_at": from_us(resource.updated_at_us),
    }
