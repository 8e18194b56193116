"""What the providers' spellings have in common: names, results and media as text. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from memfold.canonical import encode_text
from memfold.prompts.parts import Media, Text

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
NAME_MAX: Final = 64


def tool_name(name: str) -> str:
    """Return a tool's name with the characters and the length that every provider takes."""
    return _NOT_IN_NAMES.sub("_", name)[:NAME_MAX] or "_"


def result_text(content: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return a tool's result as text; one that is not text as JSON."""
    return content if isinstance(content, str) else encode_text(content)


def described(part: Text | Media) -> str:
    """Return a text, or words that stand for what a place in the prompt cannot show."""
    if isinstance(part, Text):
        return part.text
    what = part.name or part.url or part.media_type or "not shown"
    return f"[{part.kind}: {what}]"
