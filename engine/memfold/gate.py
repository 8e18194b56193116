"""The one gate for JSON, shared by client and fold: what passes here means the same everywhere.

JSON readers disagree on duplicate keys, on numbers beyond 64 bits, on NaN and on lone surrogates;
a value that two readers understand differently must not enter the log's projections. So one strict
parser reads (``jiter``), then one walk checks what no parser refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any, Final, NoReturn

import jiter

from memfold.errors import InvalidEvent
from memfold.limits import INTEGER_MAX, INTEGER_MIN, JSON_DEPTH_MAX


class GateError(InvalidEvent):
    """The text or value is not JSON that every reader understands alike."""

    code = "invalid_json"


def parse(payload: bytes) -> Any:  # noqa: ANN401  # any JSON value
    """Parse strict JSON without checking limits; see :func:`check` for those.

    Raises:
        GateError: reason ``not_utf8``, ``duplicate_key``, ``too_deep``, ``number_out_of_range``,
            ``lone_surrogate`` or ``not_json``.
    """
    try:
        return jiter.from_json(
            payload, allow_inf_nan=True, catch_duplicate_keys=True, cache_mode="keys"
        )
    except ValueError as error:
        reason = _reason(payload, str(error))
        message = f"not acceptable JSON ({reason})"
        # The parser's text may quote a key of the payload; contents stay out of messages and logs.
        raise GateError(message, reason=reason) from None


def check(value: Any, *, depth_max: int = JSON_DEPTH_MAX) -> None:  # noqa: ANN401  # any value
    """Check that a Python value is JSON within the limits: types, depth, numbers, text.

    Raises:
        GateError: reason ``too_deep``, ``number_out_of_range``, ``number_not_finite``,
            ``lone_surrogate`` or ``not_json`` (a type that JSON lacks).
    """
    _walk_items((value,), depth_max)


def _walk_items(items: Iterable[Any], depth: int) -> None:
    # One call for each container, none for most scalars: this walk is run over every event.
    for item in items:
        kind: Any = type(item)  # pyright: ignore[reportUnknownVariableType]
        if kind is str:
            if not item.isascii():
                _check_text(item)
        elif kind is dict or kind is list:
            if depth == 0:
                _fail("too_deep", "nested deeper than allowed")
            if kind is list:
                _walk_items(item, depth - 1)
            else:
                _check_keys(item)
                _walk_items(item.values(), depth - 1)
        elif item is not None and kind is not bool:
            _check_number(item)


def _check_keys(value: dict[Any, Any]) -> None:
    for key in value:
        if type(key) is not str:
            _fail("not_json", f"an object key is {type(key).__name__}, not text")
        if not key.isascii():
            _check_text(key)


def _check_number(value: Any) -> None:  # noqa: ANN401  # any value
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            _fail("number_out_of_range", "an integer does not fit 64 bits")
    elif kind is not float:
        _fail("not_json", f"{kind.__name__} is not a JSON type")
    elif not isfinite(value):
        _fail("number_not_finite", "a number is NaN or infinite")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        _fail("lone_surrogate", "text holds a lone surrogate, which has no UTF-8 form")


def _fail(reason: str, message: str) -> NoReturn:
    raise GateError(message, reason=reason)


_REASONS: Final = {
    "Detected duplicate key": "duplicate_key",
    "recursion limit exceeded": "too_deep",
    "number out of range": "number_out_of_range",
    "lone leading surrogate": "lone_surrogate",
    # Said where a high surrogate is not followed by another escape; an escape cut short has an EOF.
    "unexpected end of hex escape": "lone_surrogate",
}
"""How the parser's errors begin -> our reasons; what is not here is not JSON at all."""


def _reason(payload: bytes, error: str) -> str:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    return next((code for text, code in _REASONS.items() if error.startswith(text)), "not_json")
