"""Lists that may not fit one reply: read page by page, as of one sequence, joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memfold.errors import InvalidRequest
from memfold.reads import Change, MessageView
from memfold.requests import PAGE_MAX, Queries

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Range:
    """Which messages are meant: the ``last`` ones [``before`` a place], or those ``after`` one."""

    last: int | None = None
    after: Position | None = None
    before: Position | None = None
    limit: int | None = None
    as_of: int | None = None


async def read_messages(
    queries: Queries, resource: str, thread: str | None, asked: Range, *, fresh: bool
) -> list[MessageView]:
    """Return messages of a thread, or of all threads of a resource, oldest first."""
    newest = asked.last is not None or asked.before is not None
    wanted = asked.last if newest else asked.limit
    if (newest and (asked.after is not None or asked.limit is not None)) or (wanted or 0) < 0:
        problem = "last= (with before=) and limit= (with after=) exclude each other, none below 0"
        raise InvalidRequest(problem)
    arguments: dict[str, Any] = {"thread": thread}
    if newest:
        arguments["newest"] = True
    if asked.as_of is not None:
        arguments["as_of"] = asked.as_of
    way = "before" if newest else "after"
    place = asked.before if newest else asked.after
    pages: list[list[MessageView]] = []
    missing = wanted
    while missing is None or missing > 0:
        if place is not None:
            arguments[way] = list(place)
        arguments["limit"] = PAGE_MAX if missing is None else min(missing, PAGE_MAX)
        # Another engine must first have come to where the first page was read.
        answer = await queries.ask(
            "messages",
            resource,
            arguments,
            fresh=fresh,
            min_sequence=arguments.get("as_of", 0),
        )
        page = [MessageView.from_json(item) for item in answer["messages"]]
        pages.append(page)
        # All pages show the state of the first one.
        arguments.setdefault("as_of", answer["sequence"])
        missing = None if missing is None else missing - len(page)
        place = answer.get("next")
        if place is None:
            break
    if newest:
        pages.reverse()
    return [message for page in pages for message in page]


async def read_history(
    queries: Queries,
    resource: str,
    thread: str | None,
    after: Position | None,
    limit: int | None,
    *,
    everything: bool,
    fresh: bool,
) -> list[Change]:
    """Return the events about a thread, or about a resource with all its threads, oldest first."""
    arguments: dict[str, Any] = {"everything": True} if everything else {}
    if thread is not None:
        arguments["thread"] = thread
    if after is not None:
        arguments["after"] = list(after)
    found, _ = await queries.pages(
        "history", resource, "changes", arguments, limit=limit, fresh=fresh
    )
    return [Change.from_json(item) for item in found]
