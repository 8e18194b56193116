"""Steps as messages of Anthropic's API. Pure.

Here a user and an assistant take turns, the user begins, results are said by the user right after
the calls, and there are no system messages: those of the thread join the system text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memfold.canonical import is_array
from memfold.prompts.pairing import Step
from memfold.prompts.parts import Media, Part, Text, ToolCall, ToolResult, read_content
from memfold.prompts.rendering import described, result_text, tool_name
from memfold.prompts.texts import EARLIER

Block = dict[str, Any]


def anthropic_system(steps: Sequence[Step]) -> list[str]:
    """Return what the thread's own system messages say, in order."""
    return [
        "\n".join(part.text for part in step.parts if isinstance(part, Text))
        for step in steps
        if step.role == "system"
    ]


def anthropic_messages(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as messages; what the same side says in a row is one message."""
    turns: list[tuple[str, list[Block]]] = []
    for step in steps:
        if step.role == "system":
            continue
        said = [block for part in step.parts if (block := _block(part, step.role)) is not None]
        for role, blocks in (
            (step.role, said),
            ("user", [anthropic_result(result) for result in step.results]),
        ):
            if blocks and turns and turns[-1][0] == role:
                turns[-1][1].extend(blocks)
            elif blocks:
                turns.append((role, blocks))
    if turns and turns[0][0] != "user":
        turns.insert(0, ("user", [_text(EARLIER)]))
    return [{"role": role, "content": _content(blocks)} for role, blocks in turns]


def anthropic_result(result: ToolResult) -> Block:
    """Return the block that carries one result."""
    parts = read_content(result.content) if is_array(result.content) else []
    shown = [block for part in parts if (block := _block(part, "user")) is not None]
    content = shown if shown and len(shown) == len(parts) else result_text(result.content)
    found: Block = {"type": "tool_result", "tool_use_id": result.id, "content": content}
    return {**found, "is_error": True} if result.is_error else found


def _content(blocks: list[Block]) -> str | list[Block]:
    """Return the shorter spelling for what is one text alone."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _block(part: Part, role: str) -> Block | None:
    match part:
        case Text(text):
            return _text(text) if text.strip() else None
        case ToolCall(id_, name, arguments):
            given = arguments if isinstance(arguments, dict) else {"arguments": arguments}
            return {"type": "tool_use", "id": id_, "name": tool_name(name), "input": given}
        case Media() if role == "user":
            return _media(part)
        case Media():
            return _text(described(part))
        case _:
            return None


def _media(media: Media) -> Block:
    kind = "image" if media.kind == "image" else "document"
    if media.url is not None:
        return {"type": kind, "source": {"type": "url", "url": media.url}}
    if media.data is None:
        return _text(described(media))
    media_type = media.media_type or ("image/png" if kind == "image" else "application/pdf")
    source = {"type": "base64", "media_type": media_type, "data": media.data}
    return {"type": kind, "source": source}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
