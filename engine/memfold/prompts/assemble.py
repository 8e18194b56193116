"""Reads a thread and a memory, and makes a prompt of them: the edge of ``compose``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from memfold.errors import AttachmentDamaged, NotFound
from memfold.events import Content
from memfold.prompts.budget import step_tokens
from memfold.prompts.compose import Draft, Prompt, PromptSettings, draft, finish
from memfold.prompts.incoming import stored_messages
from memfold.prompts.pairing import steps_of
from memfold.reads import MessageView

if TYPE_CHECKING:
    from memfold.thread import Thread
    from memfold.working_memory import WorkingMemory

PAGE: Final = 100
MARGIN: Final = 1.5
"""A thread is read back to so many times the budget: results look for their calls there."""

Resolve = Callable[[Content], Awaitable[Content]]
"""Puts the attachments of a resource back into a message's content."""


async def make_prompt(
    thread: Thread, memory: WorkingMemory | None, settings: PromptSettings, resolve: Resolve
) -> Prompt:
    """Return the prompt of a thread as it is, with what a memory holds."""
    message = None if memory is None else await memory.system_message()
    messages = await recent(thread, settings)
    return await show(draft(settings, message, messages), messages, resolve)


async def show(planned: Draft, messages: list[dict[str, Any]], resolve: Resolve) -> Prompt:
    """Return a prompt with the attachments of the messages that are shown, for providers.

    An attachment that is not there any more is named and not shown: the turn goes on without it.
    """
    if planned.settings.provider == "plain":
        return finish(planned, messages)
    whole = list(messages)
    for place in planned.places:
        try:
            content = await resolve(messages[place]["content"])
        except (NotFound, AttachmentDamaged):
            continue
        whole[place] = {**messages[place], "content": content}
    return finish(planned, whole)


async def read_thread(thread: Thread, settings: PromptSettings) -> list[dict[str, Any]]:
    """Return the last messages, and let the handle know in which life of the thread they are."""
    if settings.messages_max is None:
        await thread.get()
        return await recent(thread, settings)
    snapshot = await thread.snapshot(last=settings.messages_max)
    return stored_messages(snapshot.messages)


async def recent(thread: Thread, settings: PromptSettings) -> list[dict[str, Any]]:
    """Return the last messages of a thread as they are stored, the oldest first."""
    if settings.messages_max is not None:
        wanted = settings.messages_max
        return stored_messages(await thread.messages(last=wanted)) if wanted else []
    budget = settings.token_budget or 0
    found: list[MessageView] = []
    counted = 0
    while counted <= budget * MARGIN:
        before = found[0].position if found else None
        page = await thread.messages(last=PAGE, before=before)
        found = [*page, *found]
        if len(page) < PAGE:
            break
        counted += sum(
            step_tokens(step, settings.count) for step in steps_of(stored_messages(page))
        )
    return stored_messages(found)
