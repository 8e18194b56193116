"""Steps as messages of OpenAI's chat completions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memfold.canonical import encode_text
from memfold.prompts.pairing import Step
from memfold.prompts.parts import IMAGE_TYPES, Media, Part, Text, ToolCall, ToolResult
from memfold.prompts.rendering import described, result_parts, result_text, said, tool_name


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
    parts = result_parts(result.content)
    content = result_text(result.content) if parts is None else "\n".join(said(parts))
    return {"role": "tool", "tool_call_id": result.id, "content": content}


def _assistant(step: Step) -> dict[str, Any] | None:
    text = "\n".join(said(step.parts))
    calls = [_call(part) for part in step.parts if isinstance(part, ToolCall)]
    if calls:
        return {"role": "assistant", "content": text or None, "tool_calls": calls}
    return {"role": "assistant", "content": text} if text else None


def _plain(step: Step) -> dict[str, Any] | None:
    if step.role != "user" or not any(isinstance(part, Media) for part in step.parts):
        texts = said(step.parts)
        return {"role": step.role, "content": "\n".join(texts)} if texts else None
    content = [shown for part in step.parts if (shown := _part(part)) is not None]
    return {"role": step.role, "content": content}


def _part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text) if text.strip():
            return {"type": "text", "text": text}
        case Media("image", url=url) if url is not None:
            return {"type": "image_url", "image_url": {"url": url}}
        case Media("image", data=data, media_type=type_) if data and type_ in {*IMAGE_TYPES, None}:
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
