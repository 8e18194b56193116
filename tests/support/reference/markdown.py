"""Docstrings as Markdown, headings with the anchors that renderers give them."""

from __future__ import annotations

import re
from collections.abc import Mapping

RAISES = re.compile(r"^Raises:\n((?:    .*\n?|\n)+)", re.MULTILINE)


def anchor(heading: str) -> str:
    """Return a heading's anchor."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def text(doc: str, known: Mapping[str, str]) -> str:
    """Return a docstring as Markdown: what it names is linked, what it raises is a list."""
    raises = RAISES.search(doc)
    if raises is None:
        return _inline(doc, known)
    before, behind = doc[: raises.start()].strip(), doc[raises.end() :].strip()
    listed = "\n".join(f"- {each}" for each in _raised(raises.group(1), known))
    parts = [_inline(before, known), f"Raises:\n\n{listed}", _inline(behind, known)]
    return "\n\n".join(part for part in parts if part)


def line(doc: str, known: Mapping[str, str]) -> str:
    """Return a docstring as one line."""
    return " ".join(text(doc, known).split())


def fence(code: str, language: str = "python") -> str:
    """Return a block of code."""
    return f"```{language}\n{code}\n```"


def cell(words: str) -> str:
    """Return text for a table's cell."""
    return words.replace("|", "\\|")


def _inline(doc: str, known: Mapping[str, str]) -> str:
    def code(match: re.Match[str]) -> str:
        name = match.group(1).removesuffix("()")
        place = known.get(name) if name[:1].isupper() else None
        return f"`{match.group(1)}`" if place is None else f"[`{match.group(1)}`](#{place})"

    return re.sub(r"(?<!`)``([^`]+)``(?!`)", code, doc.strip())


def _raised(block: str, known: Mapping[str, str]) -> list[str]:
    """Return the errors of a ``Raises`` section, each with what it says of them."""
    items: list[str] = []
    for each in block.splitlines():
        if each.startswith("     ") or (items and items[-1].endswith(",")):
            items[-1] += f" {each.strip()}"
        elif each.strip():
            items.append(each.strip())
    return [_error(item, known) for item in items]


def _error(item: str, known: Mapping[str, str]) -> str:
    listed, colon, meaning = item.partition(":")
    shown = re.sub(r"[\w.]*[A-Z]\w+", r"`\g<0>`", listed)
    return f"{shown}: {_inline(meaning, known)}" if colon else shown
