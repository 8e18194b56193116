"""What a part of a message is: text, a tool call or its result, an image, a file, or unknown.

Messages are stored as they were given. So parts are understood here in several spellings: ours (as
in the documentation), those of OpenAI's and Anthropic's messages, and that of the AI SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from memfold.attachments import read_data_uri, read_reference
from memfold.canonical import is_array, is_object
from memfold.errors import InvalidEvent
from memfold.gate import check, parse
from memfold.prompts.texts import DENIED


@dataclass(frozen=True, slots=True)
class Text:
    """Something said."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the call ``id`` gave back: text, any other JSON value, or a list of parts."""

    id: str
    content: Any
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish that a tool be run. ``arguments`` is text where it was no JSON object.

    ``partial`` marks a call that was still being written when the model was cut off; ``result`` is
    there where call and result are one part.
    """

    id: str
    name: str
    arguments: dict[str, Any] | str
    partial: bool = False
    result: ToolResult | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a file: at a URL, as base64 ``data`` of a media type, or ``text``; or nothing."""

    kind: str
    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    name: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A part that no provider's prompt can show."""

    raw: Any


Part = Text | ToolCall | ToolResult | Media | Unknown

_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_TOOL: Final = "tool-"
_FAILED: Final = frozenset({"error-text", "error-json"})
_OUTPUTS: Final = frozenset({"text", "json", "content"}) | _FAILED
"""What the AI SDK says of a result's value, around it."""
_PARTIAL: Final = frozenset({"partial", "partial-call", "input-streaming"})

IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Images that every provider takes."""

_INNER: Final = ("source", "image_url", "image", "file", "experimental_attachment")
_TYPES: Final = ("media_type", "mediaType", "mimeType", "contentType")
_NAMES: Final = ("name", "title", "filename")
_ADDRESSES: Final = ("data:", "https://", "http://")
_ANY_BYTES: Final = "application/octet-stream"
_VAGUE: Final = frozenset({"", "image/*", _ANY_BYTES})
_ALSO: Final = {"image/jpg": "image/jpeg"}
_STARTS: Final = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": "application/pdf",
}
"""What files of these types begin with, in base64."""


def read_content(content: object) -> list[Part]:
    """Return a message's content as parts; text is one part, blank or missing content none."""
    if isinstance(content, str):
        return [Text(content)] if content.strip() else []
    if not is_array(content):
        return []
    return [read_part(part) for part in content if part is not None]


def read_part(raw: object) -> Part:
    """Return what a part is; one that is not shaped as it should be is unknown."""
    if isinstance(raw, str):
        return Text(raw)
    if not is_object(raw):
        return Unknown(raw)
    kind = raw.get("type")
    if kind in _TEXTS and isinstance(raw.get("text"), str):
        return Text(raw["text"])
    if kind == "refusal" and isinstance(raw.get("refusal"), str):
        return Text(raw["refusal"])
    if not isinstance(kind, str):
        return Unknown(raw)
    reader = _READERS.get(kind)
    found = None if reader is None else reader(raw)
    if found is None and kind.startswith(_TOOL):
        found = _shown_call(raw, kind.removeprefix(_TOOL))
    return Unknown(raw) if found is None else found


def read_call_arguments(given: object) -> dict[str, Any] | str:
    """Return a call's arguments as an object, or as the text they are if they are no object."""
    if isinstance(given, Mapping):
        return dict(cast("Mapping[str, Any]", given))
    if not isinstance(given, str) or not given:
        return {}
    try:
        value = parse(given.encode())
        check(value)
    except (InvalidEvent, UnicodeEncodeError):
        return given
    return cast("dict[str, Any]", value) if isinstance(value, dict) else given


def _call(raw: dict[str, Any]) -> Part | None:
    given = raw.get("arguments", raw.get("input"))
    return _made_call(raw.get("id"), raw.get("name"), given, raw.get("state"))


def read_openai_call(raw: dict[str, Any]) -> ToolCall | None:
    """Return an entry of ``tool_calls`` as OpenAI writes it; None if it is none."""
    function = raw.get("function")
    if not is_object(function):
        return None
    return _made_call(
        raw.get("id"), function.get("name"), function.get("arguments"), raw.get("state")
    )


def _sdk_call(raw: dict[str, Any]) -> Part | None:
    given = raw.get("input", raw.get("args"))
    return _made_call(raw.get("toolCallId"), raw.get("toolName"), given, raw.get("state"))


def _invocation(raw: dict[str, Any]) -> Part | None:
    inner = raw.get("toolInvocation")
    call = _sdk_call(inner) if is_object(inner) else None
    if not is_object(inner) or not isinstance(call, ToolCall) or inner.get("state") != "result":
        return call
    return replace(call, result=ToolResult(call.id, inner.get("result", "")))


def _shown_call(raw: dict[str, Any], name: object) -> Part | None:
    """Return a call of the AI SDK's messages for a screen, which has its result within it."""
    state = raw.get("state")
    call = _made_call(raw.get("toolCallId"), name, raw.get("input"), state)
    if call is None or not call.id or state is None:
        return None
    match state:
        case "output-available":
            return replace(call, result=ToolResult(call.id, raw.get("output", "")))
        case "output-error":
            return replace(
                call, result=ToolResult(call.id, raw.get("errorText", ""), is_error=True)
            )
        case "output-denied":
            return replace(call, result=ToolResult(call.id, DENIED, is_error=True))
        case _:
            return call


def _dynamic_call(raw: dict[str, Any]) -> Part | None:
    return _shown_call(raw, raw.get("toolName"))


def _made_call(id_: object, name: object, arguments: object, state: object) -> ToolCall | None:
    # Some models give their calls no id.
    if not isinstance(id_, str | None) or not isinstance(name, str):
        return None
    return ToolCall(id_ or "", name, read_call_arguments(arguments), partial=state in _PARTIAL)


def _result(raw: dict[str, Any]) -> Part | None:
    id_ = raw.get("id", raw.get("tool_use_id", raw.get("tool_call_id")))
    if not isinstance(id_, str):
        return None
    return ToolResult(id_, raw.get("content", ""), is_error=raw.get("is_error") is True)


def _sdk_result(raw: dict[str, Any]) -> Part | None:
    id_ = raw.get("toolCallId")
    if not isinstance(id_, str):
        return None
    failed = raw.get("isError") is True
    output: object = raw.get("output")
    kind = output.get("type") if is_object(output) else None
    if is_object(output) and kind == "execution-denied":
        return ToolResult(id_, output.get("reason") or DENIED, is_error=True)
    if is_object(output) and kind in _OUTPUTS and "value" in output:
        return ToolResult(id_, output["value"], is_error=failed or kind in _FAILED)
    return ToolResult(id_, raw.get("output", raw.get("result", "")), is_error=failed)


def _image(raw: dict[str, Any]) -> Part | None:
    return _media("image", raw)


def _file(raw: dict[str, Any]) -> Part | None:
    return _media("file", raw)


def _media(kind: str, raw: dict[str, Any]) -> Part | None:
    # Ours has it in the part itself, the others one level down.
    inner = next((raw[key] for key in _INNER if key in raw), raw)
    if isinstance(inner, str):
        inner = {"data" if "image" in raw else "url": inner}
    if not is_object(inner):
        return None
    url, data = _text(inner, "url"), _text(inner, "data", "file_data")
    media_type = _text(inner, *_TYPES) or _text(raw, *_TYPES) or _attached_type(inner)
    name = _text(raw, *_NAMES) or _text(inner, *_NAMES)
    if inner.get("type") == "text":
        return Media(kind, None, None, media_type, name, data)
    if url is None and data is not None and data.lower().startswith(_ADDRESSES):
        url, data = data, None
    uri = None if url is None else read_data_uri(url)
    if uri is not None:
        found, data = uri
        url = None
        # Bytes were made a data URI of a type that says nothing.
        media_type = (media_type or found) if found in {"", _ANY_BYTES} else found
    media_type = _plain_type(media_type, data)
    return Media("image" if media_type in IMAGE_TYPES else kind, url, data, media_type, name)


def _plain_type(media_type: str | None, data: str | None) -> str | None:
    """Return a media type as providers write it; one that says nothing is seen from the data."""
    found = (media_type or "").partition(";")[0].strip().lower()
    if found in _VAGUE and data is not None:
        return next((type_ for start, type_ in _STARTS.items() if data.startswith(start)), found)
    return _ALSO.get(found, found) or None


def _attached_type(raw: dict[str, Any]) -> str | None:
    """Return the media type of what is kept beside the event and was not put back."""
    found = map(read_reference, (raw, *raw.values()))
    return next((reference.media_type for reference in found if reference is not None), None)


def _text(raw: dict[str, Any], *keys: str) -> str | None:
    found = next((raw[key] for key in keys if isinstance(raw.get(key), str)), None)
    return found or None


_READERS: Final[dict[str, Callable[[dict[str, Any]], Part | None]]] = {
    "tool_call": _call,
    "tool_use": _call,
    "function": read_openai_call,
    "tool-call": _sdk_call,
    "tool-invocation": _invocation,
    "tool_result": _result,
    "tool-result": _sdk_result,
    "dynamic-tool": _dynamic_call,
    "image": _image,
    "image_url": _image,
    "file": _file,
    "document": _file,
    "media": _file,
    "experimental_attachment": _file,
}
"""How each type of part is read, text aside."""
