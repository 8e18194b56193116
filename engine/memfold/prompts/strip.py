"""Takes out of messages what is the memory's own: its tool calls, their results, its tags.

Otherwise a model would be shown an old memory beside the present one. Pure; nothing that is given
is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memfold.canonical import is_array, is_object
from memfold.prompts.delimit import MEMORY_TAG
from memfold.prompts.incoming import AnyMessage, stored_messages
from memfold.prompts.parts import Text, ToolCall, ToolResult, read_part
from memfold.prompts.texts import TOOL_NAME


def strip_tags(text: str, tag: str = MEMORY_TAG) -> str:
    """Return a text without ``<tag>...</tag>``; what follows a tag that is never closed stays."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    kept: list[str] = []
    at = 0
    while (start := text.find(opening, at)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        kept.append(text[at:start])
        at = end + len(closing)
    kept.append(text[at:])
    return "".join(kept)


def strip_memory(
    messages: AnyMessage | Sequence[AnyMessage],
    *,
    tool_name: str = TOOL_NAME,
    tag: str = MEMORY_TAG,
) -> list[dict[str, Any]]:
    """Return messages as they are to be stored, without memory tool calls, results and tags.

    Calls that were cut off go, too. A message of which nothing is left is left out. Tags are looked
    for in what an assistant said alone.
    """
    return strip_more(messages, tool_name, set(), tag)


def strip_more(
    messages: AnyMessage | Sequence[AnyMessage],
    tool_name: str,
    gone: set[str],
    tag: str = MEMORY_TAG,
) -> list[dict[str, Any]]:
    """Return messages stripped; ``gone`` keeps the ids of calls whose results are yet to come."""
    stripper = _Stripper(tool_name, tag, gone)
    stripped: list[dict[str, Any]] = []
    for message in stored_messages(messages):
        content = stripper.content(message["content"], tags=message["role"] == "assistant")
        if content or content == message["content"]:
            stripped.append({**message, "content": content})
    return stripped


class _Stripper:
    """Goes through messages in their order: ids of calls may be used again from turn to turn."""

    def __init__(self, tool_name: str, tag: str, gone: set[str]) -> None:
        self._tool_name = tool_name
        self._tag = tag
        self._gone = gone

    def content(self, content: object, *, tags: bool) -> str | list[Any]:
        if isinstance(content, str):
            return strip_tags(content, self._tag) if tags else content
        parts: list[Any] = content if is_array(content) else []
        return [kept for part in parts if (kept := self._part(part, tags=tags)) is not None]

    def _part(self, part: Any, *, tags: bool) -> Any:  # noqa: ANN401  # any JSON value
        """Return what is left of a part, None if nothing is."""
        match read_part(part):
            case ToolCall() as call:
                if call.name == self._tool_name or call.partial:
                    self._gone.add(call.id)
                    return None
                self._gone.discard(call.id)
            case ToolResult() as result if result.id in self._gone:
                return None
            case Text(text) if tags and is_object(part) and part.get("text") == text:
                kept = strip_tags(text, self._tag)
                if kept != text:
                    return {**part, "text": kept} if kept else None
            case _:
                pass
        return part
