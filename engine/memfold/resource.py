"""The handle of one resource: its working memory, its threads, its metadata."""

from __future__ import annotations

from memfold.because import Because
from memfold.client import Client, Intent
from memfold.events import Metadata
from memfold.ids import check_id
from memfold.pages import Range, read_history, read_messages
from memfold.reads import Change, MessageView, ResourceState, ThreadState
from memfold.receipts import Receipt
from memfold.thread import Thread
from memfold.working_memory import WorkingMemory


class Resource:
    """An owner of memory. Nothing is sent before a coroutine is awaited."""

    def __init__(self, client: Client, resource: str) -> None:
        self.id = check_id(resource, "resource")
        self._client = client
        self._address = client.address(resource, None, "resource")

    def __repr__(self) -> str:
        return f"Resource({self.id!r})"

    @property
    def working_memory(self) -> WorkingMemory:
        """The resource's own working memory, shared by all its threads."""
        return WorkingMemory(self._client, self.id, None)

    def thread(self, id: str) -> Thread:
        """Return the handle of one of its threads, whether that exists or not."""
        return Thread(self._client, self.id, id)

    async def get(self, *, fresh: bool = True) -> ResourceState | None:
        """Return the resource's metadata and the like; None if nothing is known of it."""
        answer = await self._client.queries.ask("resource", self.id, fresh=fresh)
        raw = answer["resource"]
        return None if raw is None else ResourceState.from_json(raw)

    async def update(
        self,
        *,
        metadata: Metadata,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Merge metadata one level; ``None`` within it is stored."""
        return await self._client.write(
            self._address,
            [("ResourceUpdated", {"metadata": dict(metadata)})],
            Intent(expected, because, correlation),
        )

    async def threads(self, *, limit: int | None = None, fresh: bool = True) -> list[ThreadState]:
        """Return its live threads."""
        found, _ = await self._client.queries.pages(
            "threads", self.id, "threads", limit=limit, fresh=fresh
        )
        return [ThreadState.from_json(item) for item in found]

    async def messages(
        self,
        *,
        last: int | None = None,
        after: tuple[int, int] | None = None,
        before: tuple[int, int] | None = None,
        limit: int | None = None,
        as_of: int | None = None,
        fresh: bool = True,
    ) -> list[MessageView]:
        """Return messages of all its threads in the order of the log, oldest first.

        ``last`` goes with ``before``, ``limit`` with ``after``.
        """
        asked = Range(last=last, after=after, before=before, limit=limit, as_of=as_of)
        return await read_messages(self._client.queries, self.id, None, asked, fresh=fresh)

    async def history(
        self,
        *,
        after: tuple[int, int] | None = None,
        limit: int | None = None,
        everything: bool = False,
        fresh: bool = True,
    ) -> list[Change]:
        """Return what changed it and its threads; ``everything`` also what changed nothing."""
        return await read_history(
            self._client.queries,
            self.id,
            None,
            after,
            limit,
            everything=everything,
            fresh=fresh,
        )
