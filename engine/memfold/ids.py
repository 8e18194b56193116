"""Ids as single subject tokens: any non-empty text up to 256 bytes, reversibly.

Bytes outside ``[A-Za-z0-9_-]`` become ``%XX`` in upper case, a lone ``_`` (which stands for "none"
in subjects) becomes ``%5F``. So distinct ids give distinct tokens, and no id can become a wildcard.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from memfold.errors import InvalidId
from memfold.limits import ID_BYTES_MAX

_SAFE: Final = re.compile(rb"[A-Za-z0-9_-]+")
_UNSAFE_BYTE: Final = re.compile(rb"[^A-Za-z0-9_-]")
_ESCAPE: Final = re.compile(rb"%([0-9A-F]{2})")


def check_id(value: object, what: str = "id") -> str:
    """Return ``value`` if it is a usable id.

    Raises:
        InvalidId: not text, empty, over 256 bytes of UTF-8, or holding a lone surrogate.
    """
    if not isinstance(value, str):
        message = f"{what} must be text, not {type(value).__name__}"
        raise InvalidId(message)
    if not value:
        message = f"{what} must not be empty"
        raise InvalidId(message)
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        message = f"{what} holds a lone surrogate, which has no UTF-8 form"
        raise InvalidId(message) from None
    if size > ID_BYTES_MAX:
        message = f"{what} is {size} bytes long, the limit is {ID_BYTES_MAX}"
        raise InvalidId(message)
    return value


@lru_cache(maxsize=65536)
def encode_token(value: str) -> str:
    """Return the one canonical subject token of an id.

    Raises:
        InvalidId: see :func:`check_id`.
    """
    raw = check_id(value).encode()
    if raw == b"_":
        return "%5F"
    if _SAFE.fullmatch(raw):
        return value
    return _UNSAFE_BYTE.sub(lambda match: b"%%%02X" % match.group()[0], raw).decode()


@lru_cache(maxsize=65536)
def decode_token(token: str) -> str:
    """Return the id of a token.

    Raises:
        InvalidId: the token is not the canonical form of any id.
    """
    try:
        raw = _ESCAPE.sub(lambda match: bytes([int(match.group(1), 16)]), token.encode())
        value = raw.decode()
    except UnicodeError:
        value = ""
    if not value or encode_token(value) != token:
        message = f"the token {token[:80]!r} is not the canonical form of an id"
        raise InvalidId(message)
    return value
