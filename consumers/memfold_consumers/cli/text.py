"""Text of others made safe to show: a terminal must not obey what a message contains."""

from __future__ import annotations

import unicodedata
from typing import Final

_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control and format characters, surrogates, separators of lines."""
_JOINERS: Final = frozenset("\u200c\u200d")
"""Format characters that scripts and emoji need."""


def printable(text: str, *, keep: str = "") -> str:
    r"""Return text with control characters as ``\n`` or ``\x1b``; those of ``keep`` stay.

    Invisible characters, and those that turn the direction of writing, are escaped as well: they
    can disguise text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char in keep or _is_safe(char) else _escape(char) for char in text)


def _is_safe(char: str) -> bool:
    return unicodedata.category(char) not in _UNSAFE or char in _JOINERS


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
