"""SQLite's binary JSON (JSONB), as it stands in database files, back to JSON.

SQLite says that its layout is stable; older versions of its library cannot read it themselves.
"""

from __future__ import annotations

import json
from typing import Any, Final

from memfold.gate import parse

_SIZES: Final = {12: 1, 13: 2, 14: 4, 15: 8}
"""The upper half of the first byte -> how many bytes after it give the size."""
_WORDS: Final = {0: "null", 1: "true", 2: "false"}
_NUMBERS: Final = frozenset({3, 5})
_TEXT: Final = frozenset({7, 10})
"""Text without anything to escape, and text as it is."""
_ESCAPED_TEXT: Final = 8
_ARRAY: Final = 11
_OBJECT: Final = 12
_DEPTH_MAX: Final = 200


def read_jsonb(blob: bytes) -> Any:  # noqa: ANN401 - any JSON value.
    """Return the value of a blob.

    Raises:
        ValueError: it is not JSONB, or holds what only JSON5 can say.
        InvalidEvent: it is not strict JSON.
    """
    text, end = _read(blob, 0, 0)
    if end != len(blob):
        message = "not JSONB"
        raise ValueError(message)
    return parse(text.encode())


def _read(blob: bytes, at: int, depth: int) -> tuple[str, int]:
    """Return the element at a place as JSON text, and where it ends."""
    kind, start, end = _header(blob, at)
    content = blob[start:end]
    if kind in _WORDS:
        return _WORDS[kind], end
    if kind in _NUMBERS:
        return content.decode("ascii"), end
    if kind in _TEXT:
        return json.dumps(content.decode()), end
    if kind == _ESCAPED_TEXT:
        return f'"{content.decode()}"', end
    if kind not in (_ARRAY, _OBJECT) or depth == _DEPTH_MAX:
        message = "not JSONB that stands for JSON"
        raise ValueError(message)
    found: list[str] = []
    while start < end:
        text, start = _read(blob, start, depth + 1)
        found.append(text)
    if start != end or (kind == _OBJECT and len(found) % 2):
        message = "not JSONB"
        raise ValueError(message)
    if kind == _ARRAY:
        return f"[{','.join(found)}]", end
    pairs = zip(found[::2], found[1::2], strict=True)
    return f"{{{','.join(f'{name}:{value}' for name, value in pairs)}}}", end


def _header(blob: bytes, at: int) -> tuple[int, int, int]:
    """Return an element's kind, where its content begins, and where it ends."""
    if at >= len(blob):
        message = "JSONB that ends too early"
        raise ValueError(message)
    kind, size = blob[at] & 15, blob[at] >> 4
    start = at + 1
    if size in _SIZES:
        start += _SIZES[size]
        size = int.from_bytes(blob[at + 1 : start])
    if start + size > len(blob):
        message = "JSONB that ends too early"
        raise ValueError(message)
    return kind, start, start + size
