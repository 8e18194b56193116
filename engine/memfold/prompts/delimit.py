"""Puts stored data between tags that nothing within it can close.

Whatever stands in a memory was written by someone, perhaps to be taken for an instruction. So each
place that looks like one of our tags is written in another way: as an entity in text, as an escape
in JSON, where it still means the same.
"""

from __future__ import annotations

import re
from typing import Any, Final

from memfold.canonical import encode_text

MEMORY_TAG: Final = "working_memory"
TEMPLATE_TAG: Final = "working_memory_template"
SCHEMA_TAG: Final = "working_memory_schema"

# A model may read tags loosely, and does not see what has no width (Unicode's default ignorables).
_UNSEEN: Final = (
    "\\x00-\\x1f\\x7f-\\x9f\\xad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\U000e0000-\\U000e0fff"
)
_WORDS: Final = [f"[{_UNSEEN}]*".join(word) for word in ("working", "memory")]
# Begins like the shortest of the tags, so it finds all three.
_TAG_LIKE: Final = re.compile(
    rf"<(?=[\s/\\{_UNSEEN}]*{_WORDS[0]}[\s_{_UNSEEN}-]*{_WORDS[1]})", re.IGNORECASE
)


def enclose_text(tag: str, text: str) -> str:
    """Return text between tags, each on a line of its own."""
    return _between(tag, _TAG_LIKE.sub("&lt;", text.strip("\n")))


def enclose_json(tag: str, value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return a value as canonical JSON between tags."""
    # In JSON this sign stands only within text, where the escape is the same sign.
    return _between(tag, _TAG_LIKE.sub(r"\\u003c", encode_text(value)))


def _between(tag: str, content: str) -> str:
    return f"<{tag}>\n{content}\n</{tag}>"
