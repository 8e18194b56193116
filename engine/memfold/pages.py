"""Lists of messages and of changes: which ones are meant, and how their parts are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypedDict, cast

from memfold.arguments import Moment, count, count_or_none, ids, position_or_none
from memfold.errors import InvalidId, InvalidRequest
from memfold.ids import check_id
from memfold.lists import (
    Listing,
    Page,
    Part,
    checked_time,
    listing,
    read_all,
    read_page,
)
from memfold.reads import Change, MessageView
from memfold.requests import Queries

Position = tuple[int, int]
WINDOW_MAX: Final = 1000
"""Neighbours of an included message on either side, at most."""


@dataclass(frozen=True, slots=True)
class Include:
    """A message wanted beside a list, with so many neighbours of its own thread on either side.

    ``thread`` is the thread that is read if not given; where all of a resource are read, any one
    that has the message. Unknown messages are left out.
    """

    message: str
    thread: str | None = None
    before: int = 0
    after: int = 0


class MessageFilter(TypedDict, total=False):
    """Which messages a list holds.

    ``since`` and ``until`` bound ``created_at``, both included. ``metadata``: entries that must be
    there, each with exactly this JSON value. ``include``: messages wanted in any case. ``as_of``:
    the state at an earlier sequence or time. ``fresh``: False to take any engine's answer, however
    old.
    """

    since: datetime | None
    until: datetime | None
    metadata: Mapping[str, Any] | None
    include: Sequence[Include]
    as_of: Moment | None
    fresh: bool


class ResourceMessageFilter(MessageFilter, total=False):
    """The same for a resource; ``threads``: of these threads alone."""

    threads: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Range:
    """Which messages are meant: the ``last`` ones [``before`` a place], or those ``after`` one."""

    last: int | None = None
    after: Position | None = None
    before: Position | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of a thread, or of a resource, that keyword arguments ask for."""

    queries: Queries
    resource: str
    thread: str | None
    filters: Mapping[str, Any]

    async def range(self, asked: Range) -> list[MessageView]:
        """Return the messages of a range, oldest first."""
        for number, name in ((asked.last, "last="), (asked.limit, "limit=")):
            count_or_none(number, name)
        for place, name in ((asked.after, "after="), (asked.before, "before=")):
            position_or_none(place, name)
        newest = asked.last is not None or asked.before is not None
        wanted = asked.last if newest else asked.limit
        if newest and (asked.after is not None or asked.limit is not None):
            problem = "last= (with before=) and limit= (with after=) exclude each other"
            raise InvalidRequest(problem)
        messages = self._listing(newest=newest)
        place = asked.before if newest else asked.after
        if not self._included():
            return await read_all(self.queries, messages, limit=wanted, place=place)
        # The windows are read as of where the list was read.
        part = Part(0)
        sequence = (await read_page(self.queries, messages, part)).sequence
        messages = replace(messages, as_of=sequence)
        found = await read_all(self.queries, messages, limit=wanted, place=place)
        return await self._with_included(found, sequence)

    async def page(self, part: Part, *, descending: bool) -> Page[MessageView]:
        """Return one page, oldest or newest first; what is included comes with each page."""
        self._included()
        page = await read_page(self.queries, self._listing(newest=descending), part)
        items = await self._with_included(list(page.items), page.sequence)
        return replace(page, items=tuple(reversed(items) if descending else items))

    def _included(self) -> list[Include]:
        given: object = self.filters.get("include")
        if given is None:
            return []
        listed = list(cast("Sequence[object]", given)) if isinstance(given, Sequence) else [None]
        return [_checked_include(each) for each in listed]

    def _listing(self, *, newest: bool) -> Listing[MessageView]:
        given = {key: value for key, value in self.filters.items() if key != "include"}
        for name in ("since", "until"):
            if given.get(name) is not None:
                given[name] = checked_time(name, given[name])
        if given.get("threads") is not None:
            given["threads"] = ids(given["threads"], "threads=")
        known = ResourceMessageFilter if self.thread is None else MessageFilter
        found = listing("messages", self.resource, MessageView.from_json, given, known)
        arguments = {**found.arguments}
        if self.thread is not None:
            arguments["thread"] = self.thread
        if not newest:
            return replace(found, arguments=arguments)
        return replace(found, arguments={**arguments, "newest": True}, way="before")

    async def _with_included(self, messages: list[MessageView], sequence: int) -> list[MessageView]:
        """Return the messages with the windows around included ones, each once, oldest first."""
        found = {message.position: message for message in messages}
        for include in self._included():
            for message in await self._windows(include, sequence):
                found[message.position] = message
        return [found[position] for position in sorted(found)]

    async def _windows(self, include: Include, sequence: int) -> list[MessageView]:
        """Return an included message with its neighbours, of each thread that has it."""
        found: list[MessageView] = []
        asked = {
            "thread": include.thread or self.thread,
            "message": include.message,
            "before": include.before,
            "after": include.after,
            "as_of": sequence,
        }
        fresh = self.filters.get("fresh", True)
        while True:
            answer = await self.queries.ask(
                "window", self.resource, asked, fresh=fresh, min_sequence=sequence
            )
            window = [MessageView.from_json(raw) for raw in answer["messages"]]
            if answer["older"]:
                found += await self._beside(window[0], answer["older"], sequence, newest=True)
            found += window
            if answer["newer"]:
                found += await self._beside(window[-1], answer["newer"], sequence, newest=False)
            if answer["next"] is None:
                return found
            asked["behind"] = answer["next"]

    async def _beside(
        self, end: MessageView, missing: int, sequence: int, *, newest: bool
    ) -> list[MessageView]:
        """Return what did not fit the answer at one end of a window."""
        filters = {"as_of": sequence, "fresh": self.filters.get("fresh", True)}
        own = Messages(self.queries, self.resource, end.thread, filters)
        return await read_all(
            self.queries, own._listing(newest=newest), limit=missing, place=end.position
        )


def _checked_include(given: object) -> Include:
    if not isinstance(given, Include):
        problem = "include= takes a list of Include, as in [Include('m17', before=2)]"
        raise InvalidRequest(problem)
    try:
        check_id(given.message, "message")
        if given.thread is not None:
            check_id(given.thread, "thread")
    except InvalidId as error:
        problem = f"an Include takes ids: {error.message}"
        raise InvalidRequest(problem) from None
    if max(count(given.before, "before="), count(given.after, "after=")) > WINDOW_MAX:
        problem = f"before= and after= of an Include are from 0 to {WINDOW_MAX}"
        raise InvalidRequest(problem)
    return given


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
    if position_or_none(after, "after=") is not None:
        arguments["after"] = after
    found, _ = await queries.pages(
        "history", resource, "changes", arguments, limit=limit, fresh=fresh
    )
    return [Change.from_json(item) for item in found]
