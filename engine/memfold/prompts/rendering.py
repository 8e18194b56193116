"""What the providers' spellings have in common: names, results and media as text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from memfold.canonical import encode_text, is_array, is_object
from memfold.prompts.parts import Media, Part, Text, read_part

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
NAME_MAX: Final = 64
URL_CHARS_MAX: Final = 2048
"""A longer one is not named: it may be the data itself."""


def tool_name(name: str) -> str:
    """Return a tool's name with the characters and the length that every provider takes."""
    return _NOT_IN_NAMES.sub("_", name)[:NAME_MAX] or "_"


def result_text(content: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return a tool's result as text; one that is not text as JSON."""
    return content if isinstance(content, str) else encode_text(content)


def result_parts(content: Any) -> list[Part] | None:  # noqa: ANN401  # any JSON value
    """Return the parts that a tool's result is made of, None if it is anything else."""
    items: list[Any] = content if is_array(content) else []
    parts = [read_part(item) for item in items if is_object(item)]
    readable = [part for part in parts if isinstance(part, Text | Media)]
    # A list with anything else in it is a tool's data, and no list of parts.
    return list(readable) if items and len(readable) == len(items) else None


def said(parts: Iterable[Part]) -> list[str]:
    """Return the texts of parts, blank ones left out, and words that stand for their media."""
    texts = [described(part) for part in parts if isinstance(part, Text | Media)]
    return [text for text in texts if text.strip()]


def described(part: Text | Media) -> str:
    """Return a text, or words that stand for what a place in the prompt cannot show."""
    if isinstance(part, Text):
        return part.text
    url = part.url if part.url is None or len(part.url) <= URL_CHARS_MAX else None
    what = f"[{part.kind}: {part.name or url or part.media_type or 'not shown'}]"
    if not part.text or not part.text.strip():
        return what
    return f"{what}\n{part.text}" if part.name else part.text
