"""The documents of threads and resources as JSON objects, and what their events do to them. Pure.

A thread's is ``{"title", "archived", "metadata"}``, a resource's ``{"metadata"}``. What is as it
was at the beginning (no title, not archived, no metadata) is left out: no event has set it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]


def fields(title: str, metadata: Mapping[str, Any], *, archived: bool = False) -> Fields:
    """Return the document of a thread or resource."""
    found: Fields = {}
    if title:
        found["title"] = title
    if archived:
        found["archived"] = True
    if metadata:
        found["metadata"] = dict(metadata)
    return found


def changed_fields(document: Fields | None, type_: str, data: Mapping[str, Any]) -> Fields | None:
    """Return a document after an applied event; None where that ended its thread."""
    old = document or {}
    title, archived = old.get("title", ""), old.get("archived", False)
    metadata: dict[str, Any] = old.get("metadata", {})
    match type_:
        case "ThreadDeleted" | "Erased":
            return None
        case "ThreadCreated":
            title, metadata = data["title"], data["metadata"]
        case "ThreadUpdated" | "ResourceUpdated":
            given = data.get("title")
            title = title if given is None else given
            metadata = {**metadata, **(data["metadata"] or {})}
        case "ThreadArchived" | "ThreadUnarchived":
            archived = type_ == "ThreadArchived"
        case _:
            pass
    return fields(title, metadata, archived=archived)
