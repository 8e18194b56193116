"""OpenAI: the data export of ChatGPT, and messages as the interface for completions takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from memfold.canonical import is_array, is_object
from memfold.events import Content
from memfold_consumers.formats.branches import branch
from memfold_consumers.formats.conversations import (
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
from memfold_consumers.formats.exports import ExportReader

_USUAL: Final = {"recipient": "all", "status": "finished_successfully", "weight": 1.0}
"""What nearly every exported message says of itself, so that it says nothing."""
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


class OpenAIReader(ExportReader):
    """The export is a tree; its branch that ends at ``current_node``, else the newest, is taken."""

    form: ClassVar[str] = "openai"
    own: ClassVar[str] = "mapping"

    def exported(self, raw: Mapping[str, Any], place: str) -> Iterator[Found]:
        """Read a conversation; empty messages and those on other branches are left out."""
        thread = self.asked.thread or text_of(raw, "id", "conversation_id")
        nodes = raw["mapping"]
        if not thread or not is_object(nodes) or not all(map(is_object, nodes.values())):
            problem = "a conversation has an id, and a mapping of nodes"
            raise Misfit(problem)
        if not nodes:
            yield Skipped("empty")
            return
        parents = {id_: text_of(node, "parent") or None for id_, node in nodes.items()}
        path = branch(parents, text_of(raw, "current_node") or _newest(nodes, parents))
        others = sum(_says(nodes[id_].get("message")) for id_ in nodes.keys() - set(path))
        if others:
            yield Skipped("other_branch", others)
        messages: list[Message] = []
        for number, id_ in enumerate(path, start=1):
            said: object = nodes[id_].get("message")
            if said is None:
                continue
            where = f"{place}, message {number} ({id_})"
            if is_object(said) and not _says(said):
                yield Skipped("empty")
                continue
            try:
                messages.append(_exported(said, id_, where))
            except Misfit as error:
                yield self.maker.fault(where, error)
        taken = ("id", "conversation_id", "title", "create_time", "update_time", "mapping")
        source = Source(
            self.resource,
            thread,
            place,
            title=text_of(raw, "title"),
            created_at=time_of(raw, "create_time"),
            updated_at=time_of(raw, "update_time"),
            fields=beside(raw, *taken, "current_node"),
        )
        yield from self.maker.make(source, messages)

    def message(self, raw: Mapping[str, Any], id_: str, place: str) -> Message:
        """Read a message; calls of tools become parts behind its content, as they are."""
        content = _content(raw.get("content"))
        calls: object = raw.get("tool_calls")
        call: object = raw.get("function_call")
        taken = ["role", "content", "id", "created_at"]
        parts: list[dict[str, Any]] = []
        if is_array(calls) and all(map(is_object, calls)):
            parts += calls
            taken.append("tool_calls")
        if is_object(call):
            parts.append({"type": "function_call", "function_call": call})
            taken.append("function_call")
        if parts:
            content = [*as_parts(content), *parts]
        return Message(
            text_of(raw, "id") or id_,
            role_of(raw.get("role")),
            content,
            place,
            created_at=time_of(raw, "created_at"),
            fields=beside(raw, *taken),
        )


def _newest(nodes: Mapping[str, Any], parents: Mapping[str, str | None]) -> str:
    """Return where the branch with the newest message ends; what has no time is never the newest.

    Where nothing tells them apart, the last one in the file is taken.
    """
    newest, found = _EARLIEST, list(parents)[-1]
    for id_, node in nodes.items():
        said: object = node.get("message")
        time = _time(said) if is_object(said) else None
        if time is not None and time >= newest:
            newest, found = time, id_
    below = {parent: id_ for id_, parent in parents.items() if parent is not None}
    passed = {found}
    while found in below and below[found] not in passed:
        found = below[found]
        passed.add(found)
    return found


def _time(said: Mapping[str, Any]) -> datetime | None:
    try:
        return time_of(said, "create_time")
    except Misfit:
        # The message itself will fail, if it is taken.
        return None


def _says(said: object) -> bool:
    """Tell whether a message of an export holds anything."""
    if not is_object(said):
        return False
    content: object = said.get("content")
    if not is_object(content):
        return bool(content) or _attached(said)
    if content.get("content_type") == "text":
        parts: object = content.get("parts")
        has_text = any(parts) if is_array(parts) else bool(parts)
        return has_text or bool(_beside_parts(content)) or _attached(said)
    return True


def _attached(said: Mapping[str, Any]) -> bool:
    metadata: object = said.get("metadata")
    return is_object(metadata) and bool(metadata.get("attachments"))


def _beside_parts(content: Mapping[str, Any]) -> dict[str, Any]:
    return beside(content, "content_type", "parts")


def _exported(said: object, node: str, place: str) -> Message:
    """Read a message of an export."""
    author = said.get("author") if is_object(said) else None
    if not is_object(said) or not is_object(author):
        problem = "a message is an object with an author"
        raise Misfit(problem)
    fields = beside(said, "id", "author", "content", "create_time")
    usual = {name: value for name, value in _USUAL.items() if fields.get(name) == value}
    fields = {name: value for name, value in fields.items() if name not in usual}
    more = beside(author, "role")
    given: object = said.get("content")
    content = _parts(given)
    # What is not a part by itself has lost what stands beside its parts.
    left = _beside_parts(given) if is_object(given) and content != [given] else {}
    return Message(
        text_of(said, "id") or node,
        role_of(author.get("role")),
        content,
        place,
        created_at=time_of(said, "create_time"),
        fields={
            **fields,
            **({"author": more} if more else {}),
            **({"content": left} if left else {}),
        },
    )


def _parts(content: object) -> Content:
    """Return the content of an exported message.

    One text is text, several texts and whatever stands between them are parts; what has neither is
    a part by itself, as it is.
    """
    if not is_object(content):
        return _content(content)
    parts: object = content.get("parts")
    if content.get("content_type") not in ("text", "multimodal_text") or not is_array(parts):
        return [content]
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    if not all(isinstance(part, str) or is_object(part) for part in parts):
        return [content]
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]


def _content(content: object) -> Content:
    """Return the content of a message as the interface has it: text, a list of parts, or none."""
    if content is None:
        return []
    if isinstance(content, str):
        return content
    if is_array(content) and all(map(is_object, content)):
        return content
    problem = "content is neither text nor a list of objects"
    raise Misfit(problem)
