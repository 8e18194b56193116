"""Steps as messages of OpenAI's chat completions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memfold.canonical import encode_text, is_array, is_object
from memfold.prompts.pairing import Step
from memfold.prompts.parts import Media, Part, Text, ToolCall, ToolResult, read_part
from memfold.prompts.rendering import described, result_text, tool_name


def openai_system(text: str) -> dict[str, Any]:
    """Return a system message."""
    return {"role": "system", "content": text}


def openai_messages(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return steps as messages; the results of a step's calls follow it at once."""
    found: list[dict[str, Any]] = []
    for step in steps:
        message = _assistant(step) if step.role == "assistant" else _plain(step)
        found += [] if message is None else [message]
        found += [openai_result(result) for result in step.results]
    return found


def openai_result(result: ToolResult) -> dict[str, Any]:
    """Return the message that carries one result."""
    items: list[Any] = result.content if is_array(result.content) else []
    parts = [read_part(item) for item in items if is_object(item)]
    texts = [described(part) for part in parts if isinstance(part, Text | Media)]
    # A list with anything else in it is a tool's data, and no list of parts.
    shown = "\n".join(texts) if len(texts) == len(items) else ""
    content = shown or result_text(result.content)
    return {"role": "tool", "tool_call_id": result.id, "content": content}


def _assistant(step: Step) -> dict[str, Any] | None:
    said = "\n".join(described(part) for part in step.parts if isinstance(part, Text | Media))
    calls = [_call(part) for part in step.parts if isinstance(part, ToolCall)]
    if calls:
        return {"role": "assistant", "content": said or None, "tool_calls": calls}
    return {"role": "assistant", "content": said} if said else None


def _plain(step: Step) -> dict[str, Any] | None:
    texts = [part.text for part in step.parts if isinstance(part, Text) and part.text.strip()]
    if step.role != "user" or not any(isinstance(part, Media) for part in step.parts):
        return {"role": step.role, "content": "\n".join(texts)} if texts else None
    content = [shown for part in step.parts if (shown := _part(part)) is not None]
    return {"role": step.role, "content": content}


def _part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text) if text.strip():
            return {"type": "text", "text": text}
        case Media("image", url=url) if url is not None:
            return {"type": "image_url", "image_url": {"url": url}}
        case Media("image", data=data) if data is not None:
            return {"type": "image_url", "image_url": {"url": _data_uri(part)}}
        case Media("file", data=data) if data is not None:
            file = {"filename": part.name or "file", "file_data": _data_uri(part)}
            return {"type": "file", "file": file}
        case Media():
            return {"type": "text", "text": described(part)}
        case _:
            return None


def _data_uri(media: Media) -> str:
    default = "image/png" if media.kind == "image" else "application/octet-stream"
    return f"data:{media.media_type or default};base64,{media.data}"


def _call(call: ToolCall) -> dict[str, Any]:
    written = call.arguments if isinstance(call.arguments, str) else encode_text(call.arguments)
    function = {"name": tool_name(call.name), "arguments": written}
    return {"id": call.id, "type": "function", "function": function}
