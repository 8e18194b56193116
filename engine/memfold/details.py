"""The handle of what is said about a thread or a resource beside its memory and messages."""

from __future__ import annotations

from memfold.accounts import Accounts
from memfold.arguments import Moment
from memfold.audit.reads import Blame, Diff, DocumentChange
from memfold.requests import Queries


class Details:
    """The past of a thread's title, metadata and being archived, or of a resource's metadata.

    They make one JSON document: ``{"title", "archived", "metadata"}``, without what was never set.
    A thread's goes through all its lives.
    """

    def __init__(self, queries: Queries, resource: str, thread: str | None) -> None:
        self._accounts = Accounts(queries, resource, thread, "metadata")

    def __repr__(self) -> str:
        return f"Details({self._accounts.resource!r}, {self._accounts.thread!r})"

    async def history(
        self,
        *,
        after: tuple[int, int] | None = None,
        limit: int | None = None,
        as_of: Moment | None = None,
        path: str | None = None,
        whole: bool = False,
        fresh: bool = True,
    ) -> list[DocumentChange]:
        """Return each event that changed them, with what it changed, oldest first.

        ``path`` names a part of a JSON document by its JSON Pointer: then only what changed that.
        ``whole`` adds the whole document before and after each.
        """
        return await self._accounts.history(
            after=after, limit=limit, as_of=as_of, path=path, whole=whole, fresh=fresh
        )

    async def blame(
        self, *, path: str | None = None, as_of: Moment | None = None, fresh: bool = True
    ) -> Blame:
        """Return which event set each part; ``path`` names one by its JSON Pointer."""
        return await self._accounts.blame(path=path, as_of=as_of, fresh=fresh)

    async def diff(
        self,
        start: Moment,
        end: Moment | None = None,
        *,
        path: str | None = None,
        fresh: bool = True,
    ) -> Diff:
        """Return what differs between two moments, now being the later one if not given."""
        return await self._accounts.diff(start, end, path=path, fresh=fresh)
