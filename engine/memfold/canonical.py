"""The one JSON writer: canonical bytes, the same for equal values on every machine.

Keys are sorted, nothing is indented. Values must have passed the gate (``memfold.gate``): the
writer itself would turn NaN into ``null`` without a word. Times on the wire are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

import orjson

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def encode(value: Any) -> bytes:  # noqa: ANN401  # any JSON value
    """Return the canonical JSON bytes of a gated value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def encode_text(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return the canonical JSON text of a gated value."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def same(left: Any, right: Any) -> bool:  # noqa: ANN401  # any JSON values
    """Tell whether two values have equal canonical bytes (in Python, ``1 == True == 1.0``)."""
    if type(left) is str and type(right) is str:
        return left == right
    return left is right or encode(left) == encode(right)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether a gated value is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Tell whether a gated value is a JSON array."""
    return isinstance(value, list)


def to_us(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(moment_us: int) -> str:
    """Return microseconds since 1970 as RFC 3339 text in UTC."""
    moment = _EPOCH + timedelta(microseconds=moment_us)
    return moment.replace(tzinfo=None).isoformat() + "Z"
