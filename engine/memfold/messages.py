"""Messages as callers give them: a ``Message``, a dictionary, or a list of either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import AwareDatetime, BaseModel, Field

from memfold.arguments import json_object, several
from memfold.building import new_id
from memfold.canonical import from_us, to_us
from memfold.events import Content, Metadata, Role


class Message(BaseModel, frozen=True, extra="forbid"):
    """A message to append, or to save again under its ``id``, a fresh one (UUID 7) if not given.

    Without ``created_at``, an aware time, it is as old as its event.
    """

    role: Role
    content: Content
    id: str = Field(default_factory=new_id)
    created_at: AwareDatetime | None = None
    metadata: Metadata = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in an event."""
        raw: dict[str, Any] = {"id": self.id, "role": self.role, "content": self.content}
        if self.created_at is not None:
            raw["created_at"] = from_us(to_us(self.created_at))
        if self.metadata:
            raw["metadata"] = self.metadata
        return raw


MessageLike = Message | Mapping[str, Any]
"""A message, or a dictionary with its fields."""


def message_list(given: MessageLike | Sequence[MessageLike]) -> list[dict[str, Any]]:
    """Return what was given as event data, with fresh ids where none are given.

    Raises:
        InvalidRequest: something else than messages, or none at all.
    """
    items = [given] if isinstance(given, Message | Mapping) else several(given, "a message")
    return [_raw(item) for item in items]


def _raw(given: MessageLike) -> dict[str, Any]:
    if isinstance(given, Message):
        return given.to_json()
    raw = json_object(given, "a message")
    raw.setdefault("id", new_id())
    return raw
