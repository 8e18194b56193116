"""The documents of one resource in a folded state, as plain JSON by their keys. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memfold.canonical import from_us
from memfold.state import definition_in_force

if TYPE_CHECKING:
    from memfold.audit.states import Key
    from memfold.definitions import Definition
    from memfold.state import Message, State, Thread, Whose

Shown = dict["Key", Any]


def contents(state: State, resource: str) -> Shown:
    """Return what users would read of a resource: no positions, no revisions, no log times."""
    found: Shown = {}
    for (owner, thread), memory in state.memories.items():
        if owner != resource:
            continue
        if memory.document is not None:
            found["working_memory", thread or "", ""] = memory.document.content
        if memory.definition is not None:
            found["definition", thread or "", ""] = _defined(memory.definition)
    for (owner, name), thread_ in state.threads.items():
        if owner == resource and thread_.live:
            found["thread", name, ""] = {
                "title": thread_.title,
                "metadata": thread_.metadata,
                "archived": thread_.archived_at_us is not None,
            }
    for (owner, name, id_), message in state.messages.items():
        if owner == resource:
            found["message", name, id_] = {
                "role": message.role,
                "content": message.content,
                "metadata": message.metadata,
                "created_at": from_us(message.created_at_us),
            }
    entity = state.resources.get(resource)
    if entity is not None and entity.live:
        found["resource", "", ""] = {"metadata": entity.metadata}
    return found


def served(state: State, resource: str) -> Shown:
    """Return what an engine serves of a resource that was folded to this state, all fields."""
    found: Shown = {}
    messages: dict[str, list[Message]] = {}
    for (owner, name, id_), message in state.messages.items():
        if owner == resource:
            messages.setdefault(name, []).append(message)
            found["message", name, id_] = _message(message)
    names: list[str | None] = [None]
    for (owner, name), thread in state.threads.items():
        if owner == resource and thread.live:
            names.append(name)
            found["thread", name, ""] = _thread(thread, messages.get(name, []))
    for each in names:
        memory = state.memories.get((resource, each))
        if memory is not None and memory.document is not None:
            document = memory.document
            found["working_memory", each or "", ""] = {
                "content": document.content,
                "format": document.format,
                "revision": memory.revision,
                "changed_at": from_us(document.changed_at_us),
            }
        in_force = definition_in_force(state.memories, (resource, each))
        if in_force is not None:
            found["definition", each or "", ""] = _in_force(in_force)
    entity = state.resources.get(resource)
    if entity is not None and entity.live:
        found["resource", "", ""] = {
            "metadata": entity.metadata,
            "revision": entity.revision,
            "created_at": from_us(entity.created_at_us),
            "updated_at": from_us(entity.updated_at_us),
        }
    return found


def _defined(definition: Definition) -> dict[str, Any]:
    return {"kind": definition.kind, "body": definition.body}


def _in_force(in_force: tuple[Definition, Whose]) -> dict[str, Any]:
    return {**_defined(in_force[0]), "scope": in_force[1]}


def _message(message: Message) -> dict[str, Any]:
    sequence, index = message.position
    return {
        "role": message.role,
        "content": message.content,
        "metadata": message.metadata,
        "created_at": from_us(message.created_at_us),
        "updated_at": from_us(message.updated_at_us),
        "sequence": sequence,
        "index": index,
    }


def _thread(thread: Thread, messages: list[Message]) -> dict[str, Any]:
    source = thread.source
    updated_us = max([thread.updated_at_us, *(each.updated_at_us for each in messages)])
    last_us = max((each.created_at_us for each in messages), default=None)
    archived_us = thread.archived_at_us
    return {
        "title": thread.title,
        "metadata": thread.metadata,
        "incarnation": thread.incarnation,
        "revision": thread.revision,
        "created_at": from_us(thread.created_at_us),
        "updated_at": from_us(updated_us),
        "last_message_at": None if last_us is None else from_us(last_us),
        "archived_at": None if archived_us is None else from_us(archived_us),
        "source": None
        if source is None
        else {
            "resource": source.resource,
            "thread": source.thread,
            "sequence": source.sequence,
            "messages": source.messages,
        },
    }
