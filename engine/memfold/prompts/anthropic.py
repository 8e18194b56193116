"""Steps as messages of Anthropic's API. Pure.

Here a user and an assistant take turns, the user begins, results are said by the user right after
the calls, and there are no system messages: those of the thread join the system text.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final

from memfold.prompts.pairing import Step
from memfold.prompts.parts import (
    IMAGE_TYPES,
    Media,
    Part,
    Text,
    ToolCall,
    ToolResult,
)
from memfold.prompts.rendering import described, result_parts, result_text, said, tool_name
from memfold.prompts.texts import EARLIER, FAILED

Block = dict[str, Any]

_LINKS: Final = ("https://", "http://")


def anthropic_system(steps: Sequence[Step]) -> list[str]:
    """Return what the thread's own system messages say, in order."""
    texts = ["\n".join(said(step.parts)) for step in steps if step.role == "system"]
    return [text for text in texts if text]


def anthropic_messages(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as messages; what the same side says in a row is one message."""
    turns: list[tuple[str, list[Block]]] = []
    for step in steps:
        if step.role == "system":
            continue
        own = [block for part in step.parts if (block := _block(part, step.role)) is not None]
        for role, blocks in (
            (step.role, own),
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
    """Return the block that carries one result; an error is text, and never none."""
    parts = result_parts(result.content)
    found: Block = {"type": "tool_result", "tool_use_id": result.id}
    if result.is_error:
        text = result_text(result.content) if parts is None else "\n".join(said(parts))
        return {**found, "content": text if text.strip() else FAILED, "is_error": True}
    if parts is None:
        return {**found, "content": result_text(result.content)}
    shown = [block for part in parts if (block := _block(part, "user")) is not None]
    return {**found, "content": shown or ""}


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
    """Return the block of what is taken here: some images, PDF and text; the rest is named."""
    kind, type_ = ("image" if media.kind == "image" else "document"), media.media_type
    taken = IMAGE_TYPES if kind == "image" else {"application/pdf"}
    text = _document_text(media)
    if text is not None and text.strip():
        source = {"type": "text", "media_type": "text/plain", "data": text}
        return {"type": "document", "source": source}
    if media.url is not None and media.url.startswith(_LINKS) and type_ in {*taken, None}:
        return {"type": kind, "source": {"type": "url", "url": media.url}}
    default = "image/png" if kind == "image" else "application/pdf"
    if not media.data or (type_ or default) not in taken:
        return _text(described(media))
    source = {"type": "base64", "media_type": type_ or default, "data": media.data}
    return {"type": kind, "source": source}


def _document_text(media: Media) -> str | None:
    """Return the text that a document is; None if it is none, or none that can be read."""
    if media.kind == "image" or media.data is None:
        return media.text
    if not (media.media_type or "").startswith("text/"):
        return None
    try:
        return b64decode(media.data).decode()
    except ValueError:
        return None


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
