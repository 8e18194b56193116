"""The handle of one thread: its messages, its title and metadata, its own working memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memfold.because import Because
from memfold.client import Client, Intent, Write
from memfold.events import Content, Metadata, Role
from memfold.ids import check_id
from memfold.messages import MessageLike, message_list
from memfold.pages import Range, read_history, read_messages
from memfold.reads import Change, MessageView, Snapshot, ThreadState, memory_state
from memfold.receipts import Receipt
from memfold.working_memory import WorkingMemory


class Thread:
    """A thread of a resource. Nothing is sent before a coroutine is awaited.

    The handle remembers which life of the thread it has read and says so in what it writes: then a
    write that comes after the thread was deleted is rejected and does not bring it back.
    """

    def __init__(self, client: Client, resource: str, thread: str) -> None:
        self.resource_id = check_id(resource, "resource")
        self.id = check_id(thread, "thread")
        self.incarnation: int | None = None
        self._client = client
        self._messages = client.address(resource, thread, "messages")
        self._thread = client.address(resource, thread, "thread")

    def __repr__(self) -> str:
        return f"Thread({self.resource_id!r}, {self.id!r})"

    @property
    def working_memory(self) -> WorkingMemory:
        """The thread's own working memory, apart from its resource's."""
        return WorkingMemory(self._client, self.resource_id, self.id, lambda: self.incarnation)

    async def create(
        self,
        *,
        title: str = "",
        metadata: Metadata | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Create the thread; one that its messages have begun takes title and metadata."""
        data = {"title": title, "metadata": dict(metadata or {})}
        # A thread is created whatever became of the life that this handle has read.
        return await self._client.write(
            self._thread, [("ThreadCreated", data)], Intent(expected, because, correlation)
        )

    async def get(self, *, fresh: bool = True) -> ThreadState | None:
        """Return title, metadata and the like; None if there is no such thread."""
        answer = await self._client.queries.ask(
            "thread", self.resource_id, {"thread": self.id}, fresh=fresh
        )
        return self._remember(answer["thread_state"])

    async def update(
        self,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Change the title, or merge metadata one level; ``None`` within metadata is stored."""
        data = _given(title=title, metadata=metadata)
        intent = Intent(expected, because, correlation, self.incarnation)
        return await self._client.write(self._thread, [("ThreadUpdated", data)], intent)

    async def delete(
        self,
        *,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """End the thread with its messages and its own working memory; its history stays."""
        intent = Intent(expected, because, correlation, self.incarnation)
        receipt = await self._client.write(self._thread, [("ThreadDeleted", {})], intent)
        self.incarnation = None
        return receipt

    async def append(
        self,
        messages: MessageLike | Sequence[MessageLike],
        *,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Append one message, or several that are recorded together or not at all.

        A message saved again under its id replaces the old one and keeps its place.
        """
        writes: list[Write] = [
            ("MessageAppended", {"message": message}) for message in message_list(messages)
        ]
        intent = Intent(expected, because, correlation, self.incarnation)
        return await self._client.write(self._messages, writes, intent)

    async def update_message(
        self,
        id: str,
        *,
        role: Role | None = None,
        content: Content | None = None,
        metadata: Metadata | None = None,
        because: Because = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Change what is given of a message, in its place; metadata merges one level."""
        patch = _given(role=role, content=content, metadata=metadata)
        intent = Intent(None, because, correlation, self.incarnation)
        return await self._client.write(
            self._messages, [("MessageUpdated", {"id": id, "patch": patch})], intent
        )

    async def delete_messages(
        self,
        ids: str | Sequence[str],
        *,
        because: Because = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Remove messages, all together; their history stays."""
        listed = [ids] if isinstance(ids, str) else list(ids)
        writes: list[Write] = [("MessageDeleted", {"id": id}) for id in listed]
        intent = Intent(None, because, correlation, self.incarnation)
        return await self._client.write(self._messages, writes, intent)

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
        """Return messages, oldest first: all, the ``last`` ones, or those beside a position.

        ``last`` goes with ``before``, ``limit`` with ``after``.
        """
        asked = Range(last=last, after=after, before=before, limit=limit, as_of=as_of)
        return await read_messages(
            self._client.queries, self.resource_id, self.id, asked, fresh=fresh
        )

    async def snapshot(self, *, last: int = 20, fresh: bool = True) -> Snapshot:
        """Return both working memories and the last messages, all at one sequence."""
        queries = self._client.queries
        answer = await queries.ask(
            "snapshot", self.resource_id, {"thread": self.id, "last": last}, fresh=fresh
        )
        sequence: int = answer["sequence"]
        messages = [MessageView.from_json(item) for item in answer["messages"]]
        missing = last - len(messages)
        if missing > 0 and answer.get("next") is not None:
            # What did not fit one reply is read as it stood at the snapshot.
            rest = Range(last=missing, before=answer["next"], as_of=sequence)
            messages = [
                *await read_messages(queries, self.resource_id, self.id, rest, fresh=fresh),
                *messages,
            ]
        memories: Mapping[str, Any] = answer["working_memory"]
        return Snapshot(
            sequence=sequence,
            lag=answer.get("lag", 0),
            resource=self.resource_id,
            thread=self._remember(answer["thread_state"]),
            working_memory=memory_state(memories["resource"], sequence),
            thread_working_memory=memory_state(memories["thread"], sequence),
            messages=tuple(messages),
        )

    async def history(
        self,
        *,
        after: tuple[int, int] | None = None,
        limit: int | None = None,
        everything: bool = False,
        fresh: bool = True,
    ) -> list[Change]:
        """Return what changed this thread, oldest first; ``everything`` also what did not."""
        return await read_history(
            self._client.queries,
            self.resource_id,
            self.id,
            after,
            limit,
            everything=everything,
            fresh=fresh,
        )

    def _remember(self, raw: Mapping[str, Any] | None) -> ThreadState | None:
        state = None if raw is None else ThreadState.from_json(raw)
        self.incarnation = None if state is None else state.incarnation
        return state


def _given(**values: Any) -> dict[str, Any]:  # noqa: ANN401  # any fields
    return {key: value for key, value in values.items() if value is not None}
