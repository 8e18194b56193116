"""Gives a thread without a title one that the caller's model makes up, and never takes one away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from memfold.errors import MemfoldError
from memfold.prompts.strip import strip_tags

if TYPE_CHECKING:
    from memfold.thread import Thread

TITLE_CHARS_MAX: Final = 200
PINNED: Final = "titlePinned"
"""Metadata of a thread that keeps its title, or its having none, when it is true."""

MakeTitle = Callable[[list[dict[str, Any]]], Awaitable[str]]
"""Makes a title of the messages of a turn."""

_log = structlog.get_logger(__name__)


def clean_title(text: str) -> str:
    """Return a title on one line, without what the model thought before it."""
    return " ".join(strip_tags(text, "think").split())[:TITLE_CHARS_MAX].strip()


async def give_title(
    thread: Thread, make: MakeTitle, messages: Sequence[dict[str, Any]], *, correlation: str
) -> None:
    """Set a title if the thread has none and nobody has pinned that; whatever fails is logged."""
    try:
        state = await thread.get()
        if state is None or state.title or state.metadata.get(PINNED) is True or not messages:
            return
        title = clean_title(await make(list(messages)))
        if title:
            # Somebody else's title, set meanwhile, is not overwritten.
            await thread.update(title=title, expected=state.revision, correlation=correlation)
    except MemfoldError as error:
        _log.warning("title_not_set", thread=thread.id, code=error.code)
    except Exception as error:  # noqa: BLE001  # whatever a caller's model raises
        _log.warning("title_not_made", thread=thread.id, error=type(error).__name__)
