"""The handle of one resource: its working memory, its threads, its metadata."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack, overload

from memfold.arguments import Moment, json_object, past
from memfold.attachments import Attachment, read_reference
from memfold.because import Because
from memfold.building import new_id
from memfold.client import Client, Intent
from memfold.details import Details
from memfold.erasing import TIMEOUT_S, Eraser, ErasureReport
from memfold.erasure_search import Progress
from memfold.errors import InvalidRequest
from memfold.events import Metadata
from memfold.ids import check_id
from memfold.lists import (
    PAGE_DEFAULT,
    Listing,
    Page,
    Part,
    ThreadFilter,
    listing,
    read_all,
    read_page,
)
from memfold.pages import Messages, Range, ResourceMessageFilter, read_history
from memfold.reads import Change, MessageView, ResourceState, ThreadState
from memfold.receipts import Receipt
from memfold.recorded import Asked, RecordedMessage, read_recorded_messages
from memfold.thread import Thread
from memfold.working_memory import WorkingMemory

if TYPE_CHECKING:
    from memfold.replaying import Replay


class Resource:
    """An owner of memory. Nothing is sent before a coroutine is awaited."""

    def __init__(self, client: Client, resource: str) -> None:
        self.id = check_id(resource, "resource")
        """Any text up to 256 bytes."""
        self._client = client
        self._address = client.address(resource, None, "resource")

    def __repr__(self) -> str:
        return f"Resource({self.id!r})"

    @property
    def is_read_only(self) -> bool:
        """Tell whether this handle, and all that it gives, refuses to write."""
        return self._client.is_read_only

    def read_only(self) -> Resource:
        """Return the same resource as a handle that cannot write, nor can any handle it gives."""
        return Resource(self._client.read_only(), self.id)

    @property
    def working_memory(self) -> WorkingMemory:
        """The resource's own working memory, shared by all its threads."""
        return WorkingMemory(self._client, self.id, None)

    @property
    def details(self) -> Details:
        """The past of its metadata."""
        return Details(self._client.queries, self.id, None)

    def thread(self, id: str | None = None) -> Thread:
        """Return the handle of one of its threads, whether that exists or not.

        Without an ``id`` it is a new thread's, under a fresh id that sorts by time.
        """
        return Thread(self._client, self.id, new_id() if id is None else id)

    async def erase(
        self,
        *,
        reason: str | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> ErasureReport:
        """Erase all that was ever published of the resource up to now, everywhere, for good.

        With ``dry_run`` it only says what there is. Messages are overwritten in the streams, and
        engines write their files anew; what is published later begins a fresh memory. Raises what
        ``memfold.erasing.Eraser.run`` raises; safe to run again after any failure.
        """
        eraser = Eraser(
            self._client, self.id, None, "resource", progress=progress, timeout_s=timeout_s
        )
        return await eraser.run(reason=reason, dry_run=dry_run)

    async def get(self, *, as_of: Moment | None = None, fresh: bool = True) -> ResourceState | None:
        """Return the resource's metadata and the like; None if nothing is known of it.

        With ``as_of`` as they stood at an earlier sequence or time.
        """
        answer = await self._client.queries.ask("resource", self.id, past(as_of), fresh=fresh)
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
            [("ResourceUpdated", {"metadata": json_object(metadata, "metadata=")})],
            Intent(expected, because, correlation),
        )

    async def threads(
        self, *, limit: int | None = None, **filters: Unpack[ThreadFilter]
    ) -> list[ThreadState]:
        """Return its live threads, the newest first. Filters and order: see ``ThreadFilter``."""
        return await read_all(self._client.queries, self._threads(filters), limit=limit)

    async def thread_page(
        self,
        *,
        limit: int = PAGE_DEFAULT,
        after: str | None = None,
        page: int | None = None,
        total: bool = False,
        **filters: Unpack[ThreadFilter],
    ) -> Page[ThreadState]:
        """Return a page of its threads: behind another page's ``next``, or by its number from 0.

        Numbered pages fit together if ``as_of`` is the first one's ``sequence``; those that go on
        at ``next`` always do. ``total`` asks for the number of all threads that are meant.
        """
        part = Part(limit, after, page, total)
        return await read_page(self._client.queries, self._threads(filters), part)

    async def messages(
        self,
        *,
        last: int | None = None,
        after: tuple[int, int] | None = None,
        before: tuple[int, int] | None = None,
        limit: int | None = None,
        **filters: Unpack[ResourceMessageFilter],
    ) -> list[MessageView]:
        """Return messages of all its threads, or of ``threads``, in the log's order.

        All, the ``last`` ones, or those beside a position; ``last`` goes with ``before``, ``limit``
        with ``after``. Filters: see ``MessageFilter``.
        """
        return await self._messages(filters).range(Range(last, after, before, limit))

    async def message_page(
        self,
        *,
        limit: int = PAGE_DEFAULT,
        after: str | None = None,
        page: int | None = None,
        total: bool = False,
        descending: bool = False,
        **filters: Unpack[ResourceMessageFilter],
    ) -> Page[MessageView]:
        """Return a page of messages of all its threads, or of ``threads``: as a thread's."""
        part = Part(limit, after, page, total)
        return await self._messages(filters).page(part, descending=descending)

    def _threads(self, filters: ThreadFilter) -> Listing[ThreadState]:
        return listing("threads", self.id, ThreadState.from_json, filters, ThreadFilter)

    def _messages(self, filters: ResourceMessageFilter) -> Messages:
        return Messages(self._client.queries, self.id, None, filters)

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

    def recorded(
        self,
        *,
        thread: str | None = None,
        after: int = 0,
        upto: int | None = None,
        fresh: bool = True,
    ) -> AsyncIterator[RecordedMessage]:
        """Read the raw messages of the log about it and its threads, in order, as they come.

        Of one ``thread``, if that is given. Behind the sequence ``after``, up to ``upto``, or to
        what is folded when the first are read.
        """
        asked = Asked(self.id, thread, after, upto, fresh=fresh)
        return read_recorded_messages(self._client.queries, asked)

    async def replay(
        self,
        *,
        without_actors: Iterable[str] = (),
        without: Iterable[str] = (),
        without_messages: Iterable[str | tuple[str, str]] = (),
        consequences: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Replay:
        """Fold its log here, leaving out events, and return what would differ; changes nothing.

        Left out are all events of actors, events by id, SOURCE/ID or "SEQUENCE.INDEX", and all
        about messages, by id or (thread, id); with ``consequences`` also what followed from them.
        Without any of these all is folded and compared with what is served. ``progress`` is told
        the sequence read and the last one.

        Raises:
            InvalidRequest: an event's name fits several, or the record of an erasure.
            NotFound: no event of the resource has a name that is to be left out.
            LogDiverged: the engine's copy of a message is not what it recorded.
            KeyMissing: events are sealed, and this client has no keys.
        """
        from memfold.replaying import Replaying, Without

        client = self._client
        replaying = Replaying(client.queries, client.namespace, self.id, progress, client.keys)
        return await replaying.run(Without(without_actors, without, without_messages, consequences))

    async def attachment(self, reference: Mapping[str, Any]) -> Attachment:
        """Return the bytes and media type of an attachment, its SHA-256 checked.

        ``reference`` is what stands in the message: an object with the one key ``attachment``.

        Raises:
            InvalidRequest: it is not a reference.
            NotFound: this resource has no such attachment: never stored, or deleted.
            AttachmentDamaged: what is stored is not what the reference says.
        """
        found = read_reference(reference)
        if found is None:
            message = 'a reference is what a message holds: {"attachment": {"sha256": ...}}'
            raise InvalidRequest(message)
        return found.attachment(await self._client.blobs.read(self.id, found))

    @overload
    async def resolve(self, messages: MessageView) -> MessageView: ...
    @overload
    async def resolve(self, messages: Sequence[MessageView]) -> list[MessageView]: ...
    async def resolve(
        self, messages: MessageView | Sequence[MessageView]
    ) -> MessageView | list[MessageView]:
        """Return messages of this resource with their attachments put back as data URIs.

        Raises:
            NotFound: one of them was never stored, or has been deleted.
            AttachmentDamaged: what is stored is not what its reference says.
        """
        blobs = self._client.blobs
        if isinstance(messages, MessageView):
            return replace(messages, content=await blobs.resolve(self.id, messages.content))
        # One after the other: each can be large, and is read by several requests at once.
        return [
            replace(each, content=await blobs.resolve(self.id, each.content)) for each in messages
        ]
