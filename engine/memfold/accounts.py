"""Questions of a client about the past of one document: its history, who set what, differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from memfold.arguments import Moment, count_or_none, moment, past, position_or_none
from memfold.audit.reads import Blame, BlameEntry, Diff, DiffEntry, DocumentChange, with_events
from memfold.errors import InvalidRequest
from memfold.requests import Queries

PARTS_MAX: Final = 10_000
"""Parts of a document in one answer: each answer works out the whole document anew."""
DocumentName = Literal["working_memory", "metadata"]
"""A working memory, or the metadata of a thread (with title and archived) or resource."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The questions about one document."""

    queries: Queries
    resource: str
    thread: str | None
    document: DocumentName = "working_memory"

    async def history(
        self,
        *,
        after: tuple[int, int] | None,
        limit: int | None,
        as_of: Moment | None,
        path: str | None,
        whole: bool,
        fresh: bool,
    ) -> list[DocumentChange]:
        """Return the events that changed the document, or a part of it, oldest first."""
        count_or_none(limit, "limit=")
        arguments = {**self._named(), **past(as_of), **_given_path(path), "whole": whole}
        if position_or_none(after, "after=") is not None:
            arguments["after"] = after
        found, _ = await self.queries.pages(
            "document_history", self.resource, "changes", arguments, limit=limit, fresh=fresh
        )
        return [DocumentChange.from_json(item) for item in found]

    async def blame(self, *, path: str | None, as_of: Moment | None, fresh: bool) -> Blame:
        """Return the parts of the document with the events that set them."""
        arguments = {**self._named(), **past(as_of), **_given_path(path)}
        first, entries = await self._all("blame", arguments, fresh=fresh)
        found = tuple(BlameEntry.from_json(entry, event=event) for entry, event in entries)
        return Blame(first["sequence"], first["format"], found, _is_redacted(first))

    async def diff(
        self, start: Moment, end: Moment | None, *, path: str | None, fresh: bool
    ) -> Diff:
        """Return what differs in the document between two moments, with the events."""
        asked = {} if end is None else {"as_of": moment(end, "end=")}
        asked |= {**self._named(), **_given_path(path), "start": moment(start, "start=")}
        first, entries = await self._all("diff", asked, fresh=fresh)
        found = tuple(DiffEntry.from_json(entry, event=event) for entry, event in entries)
        formats = first["format_before"], first["format"]
        return Diff(first["start"], first["sequence"], *formats, found, _is_redacted(first))

    async def _all(
        self, operation: str, arguments: dict[str, Any], *, fresh: bool
    ) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
        """Return the first page of an answer, and the entries of all its pages."""
        asked = {"limit": PARTS_MAX, **arguments}
        first: dict[str, Any] | None = None
        found: list[tuple[Any, Any]] = []
        while True:
            answer = await self.queries.ask(operation, self.resource, asked, fresh=fresh)
            found += with_events(answer["entries"], answer["events"])
            if first is None:
                first = answer
                # The next pages are of the same moments, whatever is written meanwhile.
                asked["as_of"] = answer["sequence"]
                if "start" in answer:
                    asked["start"] = answer["start"]
            if answer["next"] is None:
                return first, found
            asked["after"] = answer["next"]

    def _named(self) -> dict[str, Any]:
        thread = {} if self.thread is None else {"thread": self.thread}
        return {"document": self.document, **thread}


def _is_redacted(answer: Mapping[str, Any]) -> bool:
    """Tell whether an answer about the past says that something of it was erased since."""
    return bool(answer.get("redacted"))


def _given_path(path: object) -> dict[str, str]:
    if path is None:
        return {}
    if not isinstance(path, str):
        problem = "path= takes a JSON Pointer, as in '/address/city'"
        raise InvalidRequest(problem)
    return {"path": path}
