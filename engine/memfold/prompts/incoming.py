"""Messages as agents have them, in any of three spellings, turned into messages to store.

Only what has no place in a stored message is moved: OpenAI's ``tool_calls`` and ``tool_call_id``
become parts. Parts themselves are kept as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from pydantic import BaseModel

from memfold.attachments import take_out
from memfold.canonical import is_array, is_object
from memfold.errors import InvalidRequest
from memfold.messages import Message
from memfold.prompts.parts import Text, ToolCall, ToolResult, read_openai_call, read_part
from memfold.reads import MessageView

ROLES: Final = {
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "system": "system",
    "developer": "system",
    "function": "tool",
}
"""Roles that are understood, and the ones they are stored as."""

_KEPT: Final = ("id", "created_at", "metadata")

AnyMessage = Message | MessageView | BaseModel | Mapping[str, Any]
"""A message of ours, one that was read, a dictionary, or an object of a provider's SDK."""


def stored_messages(given: AnyMessage | Sequence[AnyMessage]) -> list[dict[str, Any]]:
    """Return messages as they are stored; one without an id has none yet.

    Raises:
        InvalidRequest: something that is no message.
    """
    if isinstance(given, Message | MessageView | BaseModel | Mapping):
        return [_stored(given)]
    if not isinstance(cast("object", given), Iterable):
        plain(given)
    return [_stored(each) for each in given]


def _stored(given: AnyMessage) -> dict[str, Any]:
    if isinstance(given, MessageView):
        raw = given.to_json()
        return {key: raw[key] for key in ("id", "role", "content", "created_at", "metadata")}
    if isinstance(given, Message):
        raw = given.to_json()
        return {**raw, "content": take_out(raw["content"], sys.maxsize, {})}
    raw = _shown(plain(given))
    # Bytes are not JSON: as data URIs they are shown to a model, and stored as attachments.
    raw["content"] = take_out(raw.get("content"), sys.maxsize, {})
    role = raw.get("role")
    if not isinstance(role, str) or role not in ROLES:
        problem = f"a message has one of the roles {', '.join(ROLES)}"
        raise InvalidRequest(problem)
    found = {key: raw[key] for key in _KEPT if raw.get(key) is not None}
    return {**found, "role": _role(role, raw.get("content")), "content": _content(raw)}


def _shown(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a message as the AI SDK has it for a screen as one for a model.

    Its parts stand in ``parts``; its content, where it has one, is what they say as text. Older
    ones have calls and attachments beside the content.
    """
    parts, calls = raw.get("parts"), raw.get("toolInvocations")
    listed: list[Any] = list(parts) if is_array(parts) else []
    if is_array(calls) and not listed:
        listed += [{"type": "tool-invocation", "toolInvocation": each} for each in calls]
    attached = raw.get("experimental_attachments")
    if is_array(attached):
        kind = "experimental_attachment"
        listed += [{"type": kind, kind: each} for each in attached]
    content = raw.get("content")
    if not listed or is_array(content):
        return raw
    said = [part.text for each in listed if isinstance(part := read_part(each), Text)]
    if isinstance(content, str) and content and content not in {"".join(said), "\n".join(said)}:
        listed = [{"type": "text", "text": content}, *listed]
    elif content is not None and not isinstance(content, str):
        return raw
    return {**raw, "content": listed}


def plain(given: object) -> dict[str, Any]:
    """Return a dictionary, or an object of a provider's SDK as one.

    Raises:
        InvalidRequest: it is neither.
    """
    if isinstance(given, BaseModel):
        return given.model_dump(mode="json", exclude_none=True)
    if isinstance(given, Mapping):
        return dict(cast("Mapping[str, Any]", given))
    problem = f"a message is a Message or a dictionary, not {type(given).__name__}"
    raise InvalidRequest(problem)


def call_part(call: ToolCall) -> dict[str, Any]:
    """Return a tool call as a part in our own spelling."""
    found = {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
    return {**found, "state": "partial"} if call.partial else found


def result_part(result: ToolResult) -> dict[str, Any]:
    """Return a tool result as a part in our own spelling."""
    found: dict[str, Any] = {"type": "tool_result", "id": result.id, "content": result.content}
    return {**found, "is_error": True} if result.is_error else found


def _role(role: str, content: object) -> str:
    """Return the role to store: a user's message of nothing but results is a tool's."""
    parts = content if is_array(content) else []
    if role == "user" and parts and all(isinstance(read_part(each), ToolResult) for each in parts):
        return "tool"
    return ROLES[role]


def _content(raw: dict[str, Any]) -> str | list[Any]:
    content = raw.get("content")
    named = raw.get("tool_call_id")
    if isinstance(named, str):
        return [result_part(ToolResult(named, "" if content is None else content))]
    parts = _wishes(raw)
    kept: str | list[Any]
    if is_array(content):
        kept = [plain_part(each) for each in content]
    elif content is None or isinstance(content, str):
        kept = content or ""
    else:
        problem = f"a message's content is text or a list of parts, not {type(content).__name__}"
        raise InvalidRequest(problem)
    refusal = raw.get("refusal")
    if isinstance(refusal, str) and not kept:
        kept = refusal
    if not parts:
        return kept
    said = [{"type": "text", "text": kept}] if isinstance(kept, str) and kept else kept
    return [*(said or []), *parts]


def _wishes(raw: dict[str, Any]) -> list[Any]:
    """Return what OpenAI writes beside the content: calls as parts, what is none as it is."""
    calls = raw.get("tool_calls")
    found = [plain_part(each) for each in calls] if is_array(calls) else []
    read = [(each, read_openai_call(each) if is_object(each) else None) for each in found]
    parts = [each if call is None else call_part(call) for each, call in read]
    older = plain_part(raw.get("function_call"))
    return [*parts, {"type": "function_call", **older}] if is_object(older) else parts


def plain_part(part: object) -> object:
    """Return a part of a provider's SDK as a dictionary, anything else as it is."""
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json", exclude_none=True)
    return part
