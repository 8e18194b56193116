"""Anthropic: the data export of Claude, and messages as the interface for messages takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

_BESIDE: Final = {"attachments": "attachment", "files": "file", "files_v2": "file"}
"""Lists beside the content of an exported message -> the type of the part that each becomes."""
_UNSHOWN: Final = "```\nThis block is not supported on your current device yet.\n```"
"""Stands in the text of an exported message for a block that is in its content."""
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


class AnthropicReader(ExportReader):
    """The export is a list of messages; where they fork, the newest branch is taken."""

    form: ClassVar[str] = "anthropic"
    own: ClassVar[str] = "chat_messages"
    apart: ClassVar[tuple[str, ...]] = ("system",)

    def exported(self, raw: Mapping[str, Any], place: str) -> Iterator[Found]:
        """Read a conversation; empty messages and those on other branches are left out."""
        thread = self.asked.thread or text_of(raw, "uuid")
        listed: object = raw["chat_messages"]
        if not thread or not is_array(listed):
            problem = "a conversation has a uuid, and a list of chat_messages"
            raise Misfit(problem)
        messages: list[Message] = []
        parents: dict[str, str | None] = {}
        for number, said in enumerate(listed, start=1):
            where = f"{place}, message {number}"
            try:
                message = _exported(said, where)
                parent = text_of(said, "parent_message_uuid")
            except Misfit as error:
                yield self.maker.fault(where, error)
                continue
            parents[message.id] = None if said.get("parent_message_uuid") is None else parent
            messages.append(message)
        messages.sort(key=lambda message: message.created_at or _EARLIEST)
        taken = _branch(messages, parents, raw.get("current_leaf_message_uuid"))
        if len(taken) < len(messages):
            yield Skipped("other_branch", len(messages) - len(taken))
        said_nothing = sum(not message.content for message in taken)
        if said_nothing:
            yield Skipped("empty", said_nothing)
        source = Source(
            self.resource,
            thread,
            place,
            title=text_of(raw, "name"),
            created_at=time_of(raw, "created_at"),
            updated_at=time_of(raw, "updated_at"),
            fields=beside(raw, "uuid", "name", "created_at", "updated_at", "chat_messages"),
        )
        yield from self.maker.make(source, [message for message in taken if message.content])

    def before(self, raw: Mapping[str, Any], place: str) -> Iterator[Message]:
        """Read the system prompt, which the interface takes beside the messages."""
        system: object = raw.get("system")
        if system:
            taken = [each.get("id") for each in raw["messages"] if is_object(each)]
            id_ = "system"
            while id_ in taken:
                id_ += "_"
            yield Message(id_, "system", _content(system), f"{place}, system")

    def message(self, raw: Mapping[str, Any], id_: str, place: str) -> Message:
        """Read a message; one of tool results alone has the role of a tool."""
        content = _content(raw.get("content"))
        role = role_of(raw.get("role"))
        fields = beside(raw, "role", "content", "id", "created_at")
        if is_array(content) and content and all(map(_is_result, content)):
            fields, role = {**fields, "role": role}, "tool"
        return Message(
            text_of(raw, "id") or id_,
            role,
            content,
            place,
            created_at=time_of(raw, "created_at"),
            fields=fields,
        )


def _exported(said: object, place: str) -> Message:
    """Read a message of an export; what stands beside its content becomes parts behind it."""
    if not is_object(said) or not isinstance(said.get("uuid"), str):
        problem = "a message is an object with a uuid"
        raise Misfit(problem)
    given: object = said.get("content")
    content = _content(given) if given else text_of(said, "text")
    taken = ["uuid", "sender", "content", "created_at", *_BESIDE]
    if not given or _repeats(text_of(said, "text"), content):
        taken.append("text")
    more: list[dict[str, Any]] = []
    for name, type_ in _BESIDE.items():
        listed: object = said.get(name)
        each_of = listed if is_array(listed) else [listed] if listed else []
        parts = [{"type": type_, type_: each} for each in each_of]
        # Both lists of files may be there, saying the same.
        more += [part for part in parts if part not in more]
    if more:
        content = [*as_parts(content), *more]
    created_at = time_of(said, "created_at")
    if time_of(said, "updated_at") == created_at:
        taken.append("updated_at")
    return Message(
        text_of(said, "uuid"),
        role_of(said.get("sender")),
        content,
        place,
        created_at=created_at,
        fields=beside(said, *taken),
    )


def _repeats(text: str, content: Content) -> bool:
    """Tell whether ``text`` says nothing that is not in the content, too."""
    blocks = [content] if isinstance(content, str) else [each.get("text") for each in content]
    for block in blocks:
        if isinstance(block, str) and block.strip():
            text = text.replace(block.strip(), "", 1)
    return not text.replace(_UNSHOWN, "").strip()


def _branch(
    messages: Sequence[Message], parents: Mapping[str, str | None], leaf: object
) -> Sequence[Message]:
    """Return the branch that ends at ``leaf``, else at the newest message.

    Older exports do not say which message answers which, and broken ones not of all: then all
    messages are of one branch.
    """
    roots = [parent for parent in parents.values() if parent not in parents]
    unsaid = roots.count(None) > 1
    if unsaid or len(set(roots)) != 1 or len(parents) < len(messages):
        return messages
    end = leaf if isinstance(leaf, str) and leaf in parents else messages[-1].id
    path = set(branch(parents, end))
    return [message for message in messages if message.id in path]


def _is_result(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "tool_result"


def _content(content: object) -> Content:
    """Return content as the interface has it: text, or a list of blocks."""
    if isinstance(content, str):
        return content
    if is_array(content) and all(map(is_object, content)):
        return content
    problem = "content is neither text nor a list of blocks"
    raise Misfit(problem)
