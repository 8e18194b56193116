"""Exports of one conversation at several times, ingested in any order: the newest is what counts.

An export says when the conversation last changed, and its thread keeps that beside its title. A
file with an earlier time adds messages that are missing and changes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from memfold.canonical import is_object
from memfold_consumers.cli.feeding import Feeder
from memfold_consumers.formats.conversations import IMPORTED, Conversation
from memfold_consumers.formats.stable import Item


class Newest:
    """Leaves out what an older export says of a conversation that a newer one has changed."""

    def __init__(self, feeder: Feeder, conversation: Conversation, min_sequence: int) -> None:
        self._feeder = feeder
        self._conversation = conversation
        self._min_sequence = max(min_sequence, feeder.began_at)
        pairs = zip(conversation.items, conversation.messages, strict=True)
        self._messages = {item.event.id: message for item, message in pairs}
        self._state: dict[str, Any] | None = None
        self._asked = False

    async def __call__(self, fresh: Sequence[Item], *, known: bool) -> Sequence[Item]:
        """Return what is to be published, and count what is not."""
        if not self._asked:
            self._state = await self._ask_state()
            self._asked = True
        if self._is_older():
            present = await self._ask_present()
            kept = [item for item in fresh if self._message(item) not in present]
            self._feeder.tally.skipped["older"] += len(fresh) - len(kept)
            return kept
        if self._is_gone(known=known) and all(self._message(item) is None for item in fresh):
            self._feeder.tally.skipped["thread_gone"] += len(fresh)
            return ()
        return fresh

    def _message(self, item: Item) -> str | None:
        return self._messages[item.event.id]

    def _is_gone(self, *, known: bool) -> bool:
        """Tell whether the thread was ingested before and has been deleted since."""
        return known and self._state is None and self._conversation.thread is not None

    def _is_older(self) -> bool:
        mine = self._conversation.updated_at
        metadata: object = (self._state or {}).get("metadata")
        imported: object = metadata.get(IMPORTED) if is_object(metadata) else None
        theirs: object = imported.get("updated_at") if is_object(imported) else None
        if mine is None or not isinstance(theirs, str):
            return False
        try:
            return datetime.fromisoformat(theirs) > mine
        except (ValueError, TypeError):
            # Whoever wrote that was not an ingest.
            return False

    async def _ask_state(self) -> dict[str, Any] | None:
        conversation = self._conversation
        if conversation.thread is None:
            answer, name = await self._ask("resource", {}), "resource"
        else:
            answer = await self._ask("thread", {"thread": conversation.thread})
            name = "thread_state"
        state: object = answer[name]
        return state if is_object(state) else None

    async def _ask_present(self) -> set[str | None]:
        """Return the messages that the thread has; None stands for what is not a message."""
        found: set[str | None] = {None}
        after: object = None
        while self._conversation.thread is not None:
            arguments = {"thread": self._conversation.thread}
            more = {} if after is None else {"after": after}
            answer = await self._ask("messages", {**arguments, **more})
            found |= {message["id"] for message in answer["messages"]}
            after = answer["next"]
            if after is None:
                break
        return found

    async def _ask(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        resource = self._conversation.resource
        return await self._feeder.ask(operation, arguments, self._min_sequence, resource)
