"""Reads what a model sent to the memory tool: strict, and with an answer that it can act upon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from memfold.canonical import encode
from memfold.errors import InvalidEvent
from memfold.gate import check, parse
from memfold.limits import EVENT_BYTES_MAX
from memfold.prompts.form import MemoryForm, Mode

ARGUMENTS_BYTES_MAX: Final = EVENT_BYTES_MAX
"""Longest arguments that are looked at, in bytes of JSON."""

QUOTED_MAX: Final = 40
"""Longest piece of a model's own words that an answer quotes, in characters."""

_TYPES: Final[dict[type, str]] = {
    str: "text",
    dict: "an object",
    list: "a list",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class BadCallError(Exception):
    """The call cannot be carried out. ``text`` tells the model why, ``code`` its program."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class MergeCall:
    """A change of a JSON memory."""

    patch: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextCall:
    """A change of a text memory; ``search`` is empty but for an edit."""

    mode: Mode
    content: str
    search: str


Call = MergeCall | TextCall


def read_arguments(arguments: object) -> dict[str, Any]:
    """Return the arguments of a call: a JSON object, as text or parsed already.

    Raises:
        BadCallError: not JSON that every reader understands alike, not an object, too long.
    """
    try:
        if isinstance(arguments, str | bytes | bytearray):
            value = _parsed(arguments)
        else:
            value = _plain(arguments)
        check(value)
    except InvalidEvent as error:
        text = f"The arguments are not acceptable JSON ({error.reason})."
        raise BadCallError("invalid_json", f"{text} Send one JSON object.") from None
    except RecursionError:
        text = "The arguments are nested too deeply."
        raise BadCallError("invalid_json", text) from None
    if not isinstance(value, dict):
        text = f"The arguments must be a JSON object, not {_type(value)}."
        raise BadCallError("invalid_arguments", text)
    found = cast("dict[str, Any]", value)
    if not isinstance(arguments, str | bytes | bytearray):
        _check_size(len(encode(found)))
    return found


def read_call(arguments: Mapping[str, Any], form: MemoryForm) -> Call:
    """Return what a call asks for.

    Raises:
        BadCallError: unknown or missing arguments, or ones of another type.
    """
    if form.kind == "json":
        _check_names(arguments, ("memory",), ("memory",))
        patch = arguments["memory"]
        if not isinstance(patch, dict):
            text = f"memory must be an object, not {_type(patch)}."
            raise BadCallError("invalid_arguments", text)
        return MergeCall(cast("dict[str, Any]", patch))
    known = ("mode", "content", "search") if "edit" in form.modes else ("mode", "content")
    _check_names(arguments, known, ("mode", "content"))
    for name, value in arguments.items():
        if not isinstance(value, str) and not (name == "search" and value is None):
            text = f"{name} must be text, not {_type(value)}."
            raise BadCallError("invalid_arguments", text)
    mode, content = arguments["mode"], arguments["content"]
    search = arguments.get("search") or ""
    if mode not in form.modes:
        text = f"mode must be one of {', '.join(form.modes)}."
        raise BadCallError("invalid_arguments", text)
    if mode == "edit" and not search:
        text = "An edit needs search: the text to be replaced, as it stands in the document."
        raise BadCallError("invalid_arguments", text)
    if mode != "edit" and search:
        text = f"search goes with mode edit alone, not with {mode}."
        raise BadCallError("invalid_arguments", text)
    return TextCall(mode, content, search)


def _parsed(arguments: str | bytes | bytearray) -> object:
    try:
        raw = arguments.encode() if isinstance(arguments, str) else bytes(arguments)
    except UnicodeEncodeError:
        text = "The arguments are not acceptable JSON (lone_surrogate)."
        raise BadCallError("invalid_json", text) from None
    _check_size(len(raw))
    return parse(raw)


def _plain(value: object) -> object:
    """Return a mapping as the plain dictionary that the gate takes."""
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value


def _check_size(size: int) -> None:
    if size > ARGUMENTS_BYTES_MAX:
        text = f"The arguments are too long: {ARGUMENTS_BYTES_MAX // 1024} KiB at most."
        raise BadCallError("too_large", text)


def _check_names(
    arguments: Mapping[str, Any], known: tuple[str, ...], required: tuple[str, ...]
) -> None:
    listed = ", ".join(known)
    for name in arguments:
        if name not in known:
            shown = name if len(name) <= QUOTED_MAX else f"{name[:QUOTED_MAX]}..."
            text = f"There is no argument {shown!r}. The arguments are: {listed}."
            raise BadCallError("invalid_arguments", text)
    for name in required:
        if name not in arguments:
            text = f"The argument {name} is missing. The arguments are: {listed}."
            raise BadCallError("invalid_arguments", text)


def _type(value: object) -> str:
    return _TYPES.get(type(value), "something else")
