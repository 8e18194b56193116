"""Which steps go when a prompt is too long: the oldest, and never what is being answered. Pure.

The cut depends on the messages alone, so every process finds the same one and nothing is stored.
It stands only before certain steps, told by their ids, and so stays in place while several
messages come in: as long as it does, a prompt begins with the same bytes. When messages are
appended it moves forward and never back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Final
from zlib import crc32

from memfold.canonical import encode_text, is_array
from memfold.prompts.pairing import Step
from memfold.prompts.parts import Media, Part, Text, ToolCall, ToolResult, Unknown, read_content

MESSAGE_TOKENS: Final = 4
"""What a message costs beside its content."""
MEDIA_TOKENS: Final = 1000
"""What an image or a file is taken for; how large it is says little about that."""
ASCII_PER_TOKEN: Final = 4
PLACES_EVERY: Final = 8
"""One step in so many, on average, is a place where the cut may stand."""
FREED_SHARE_MAX: Final = 0.25
"""More than this share of the budget is not freed for the sake of such a place."""

CountTokens = Callable[[str], int]
"""Tells how many tokens a text is."""


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a text is: one for four ASCII characters, one for any other.

    Within a third of what tokenizers count for English; more than they count for most languages.
    """
    ascii_only = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return ceil(ascii_only / ASCII_PER_TOKEN) + len(text) - ascii_only


def step_tokens(step: Step, count: CountTokens) -> int:
    """Return what a step costs: its own message and one for each result."""
    total = MESSAGE_TOKENS + sum(_part_tokens(part, count) for part in step.parts)
    return total + sum(MESSAGE_TOKENS + _part_tokens(each, count) for each in step.results)


def first_kept(steps: Sequence[Step], tokens: Sequence[int], room: int | None) -> int:
    """Return the place of the first step that stays, for ``room`` tokens; None is no limit.

    The last turn stays, too large or not: from the last thing a user said on.
    """
    if room is None or sum(tokens) <= room:
        return 0
    needed = last_turn(steps)
    total = sum(tokens[needed:])
    while needed > 0 and total + tokens[needed - 1] <= room:
        needed -= 1
        total += tokens[needed]
    freed = 0
    for place in range(needed, last_turn(steps) + 1):
        if _may_cut_before(steps[place]):
            return place
        freed += tokens[place]
        if freed > room * FREED_SHARE_MAX:
            break
    return needed


def last_turn(steps: Sequence[Step]) -> int:
    """Return where the last turn begins: at a user's words, else at the last step."""
    users = [place for place, step in enumerate(steps) if step.role == "user"]
    return users[-1] if users else max(len(steps) - 1, 0)


def _may_cut_before(step: Step) -> bool:
    return crc32(step.key.encode("utf-8", "replace")) % PLACES_EVERY == 0


def _part_tokens(part: Part, count: CountTokens) -> int:
    match part:
        case Text(text):
            return count(text)
        case ToolCall(_, name, arguments):
            return count(name) + count(_written(arguments))
        case ToolResult(_, content):
            inner = read_content(content) if is_array(content) else None
            if inner is None or any(isinstance(each, Unknown) for each in inner):
                return count(_written(content))
            return sum(_part_tokens(each, count) for each in inner)
        case Media(text=text):
            return MEDIA_TOKENS if text is None else count(text)
        case Unknown():
            return 0


def _written(value: Any) -> str:  # noqa: ANN401  # any JSON value
    return value if isinstance(value, str) else encode_text(value)
