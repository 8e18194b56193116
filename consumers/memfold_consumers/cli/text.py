"""Text of others made safe to show: a terminal must not obey what a message contains."""

from __future__ import annotations

import unicodedata
from typing import Final

_UNSAFE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, surrogates, separators of lines and paragraphs."""
_DIRECTIONS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def printable(text: str, *, keep: str = "") -> str:
    r"""Return text with control characters as ``\n`` or ``\x1b``; those of ``keep`` stay.

    Characters that turn the direction of writing are escaped as well: they can disguise text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or _is_safe(char) else _escape(char) for char in text)


def _is_safe(char: str) -> bool:
    return unicodedata.category(char) not in _UNSAFE and char not in _DIRECTIONS


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
