"""Stores and reads attachments: chunks to the blob stream, and back through an engine.

A publisher needs no engine: without one it stores once more what is stored already, and the surplus
is swept. A reader believes nobody: what does not have its SHA-256 is not given out.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from memfold.attachments import (
    Close,
    Reference,
    holds_attachments,
    private_copy,
    put_back,
    references,
    take_out,
)
from memfold.errors import (
    AttachmentDamaged,
    BrokerUnavailable,
    InvalidRequest,
    KeyMissing,
    MemfoldError,
    NotFound,
)
from memfold.sealed import Keys, open_bytes, seal_bytes
from memfold.uploads import CHUNKS_IN_FLIGHT, Uploads, spread

if TYPE_CHECKING:
    from memfold.connection import Connection
    from memfold.requests import Queries

TOGETHER: Final = 4
"""Attachments of one message on their way at once."""
YOUNG_S: Final = 600.0
"""What was stored so recently is not swept before the event that is about to refer to it is there.

A sweep leaves alone what is younger than an hour, see ``memfold_consumers.sweeping``.
"""
STAT_S: Final = 5.0
READ_S: Final = 60.0
"""For one chunk: a slow line takes a while, and an engine that sees a copy for the first time."""
READ_TRIES: Final = 3

Content = Any
Write = tuple[str, Mapping[str, Any]]
Found = Mapping[str, bytes]


class Blobs:
    """The attachments of one client's namespace."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        actor: str,
        queries: Queries,
        *,
        timeout_s: float,
        attach_above: int,
        keys: Keys | None = None,
    ) -> None:
        self._queries = queries
        self._timeout_s = timeout_s
        self._keys = keys
        self._above = check_above(attach_above)
        self._uploads = Uploads(connection, namespace, actor, timeout_s=timeout_s)
        self._asking = asyncio.Semaphore(CHUNKS_IN_FLIGHT)
        self._storing: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._writes = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def take_out(
        self, resource: str | None, writes: Sequence[Write], above: int | None
    ) -> tuple[Sequence[Write], Found]:
        """Return writes with references where attachments were, and the bytes of those by SHA-256.

        Without any it returns at once, so that messages keep the order they were handed in.

        Raises:
            TooLarge: an attachment is larger than 64 MiB.
        """
        limit = self._above if above is None else check_above(above)
        if not any(holds_attachments(_content(data), limit) for _, data in writes):
            return writes, {}
        own = [(type_, _with_content(data, private_copy(_content(data)))) for type_, data in writes]
        found: dict[str, bytes] = {}
        close = self._close(resource)

        def work() -> list[Write]:
            return [
                (type_, _with_content(data, take_out(_content(data), limit, found, close)))
                for type_, data in own
            ]

        with self._counted():
            return await asyncio.to_thread(work), found

    @asynccontextmanager
    async def stored(self, resource: str | None, found: Found) -> AsyncGenerator[None]:
        """Store what a block's events refer to before they are published, and see that it stays.

        Raises:
            PublishDenied, StreamMissing, StreamFull, BrokerUnavailable: nothing was published.
        """
        if not found or resource is None:
            yield
            return
        async with self._kept(lambda: self._store_all(resource, found)):
            yield

    @asynccontextmanager
    async def carried(
        self, source: str, target: str, contents: Iterable[Content]
    ) -> AsyncGenerator[None]:
        """Store what messages of one resource refer to for another, before that gets a copy.

        Raises as :meth:`stored` and :meth:`read`; what cannot be read of the first is left out.
        InvalidRequest: a seal is for one resource, and nothing is stored in the clear with keys.
        """
        wanted = {} if source == target else references(list(contents))
        if wanted and (self._keys is not None or any(each.keyid for each in wanted.values())):
            message = "attachments are not taken to another resource where they are to be sealed"
            raise InvalidRequest(message)
        if not wanted:
            yield
            return

        async def carry() -> None:
            # One after the other: each can be large.
            for sha256, reference in wanted.items():
                if not await self._is_there(target, sha256):
                    with suppress(NotFound, AttachmentDamaged):
                        await self._store(target, sha256, await self.read(source, reference))

        async with self._kept(carry):
            yield

    async def resolve(self, resource: str, content: Content) -> Content:
        """Return a message's content with data URIs in place of references, exactly as they were.

        Raises:
            NotFound, AttachmentDamaged: see :meth:`read`.
        """
        wanted = references(content)
        if not wanted:
            return content
        stored: dict[str, bytes] = {}

        async def read(reference: Reference) -> None:
            stored[reference.sha256] = await self.read(resource, reference)

        await spread(read, wanted.values(), TOGETHER)
        return await asyncio.to_thread(put_back, content, stored)

    async def read(self, resource: str, reference: Reference) -> bytes:
        """Return the bytes of an attachment, opened, what is stored of it checked before.

        Raises:
            NotFound: the resource has no such attachment: never stored, or deleted.
            AttachmentDamaged: what is stored has another size or SHA-256, or does not open.
            KeyMissing: it is sealed, and its key is not here.
            EngineUnavailable, BrokerUnavailable: nobody answered.
        """
        for attempt in range(READ_TRIES):
            try:
                stored = await self._read_copy(resource, reference)
            except _CopyGone:
                continue
            if await asyncio.to_thread(_sha256, stored) == reference.sha256:
                return await asyncio.to_thread(self._opened, resource, reference, stored)
            if attempt + 1 == READ_TRIES:
                break
        else:
            message = f"attachment {reference.sha256} is being deleted"
            raise NotFound(message)
        message = f"attachment {reference.sha256} does not have its SHA-256"
        raise AttachmentDamaged(message)

    def _close(self, resource: str | None) -> Close | None:
        """Return what seals attachments of a resource, where this client seals."""
        if self._keys is None or resource is None:
            return None
        key = self._keys.current(resource)
        return lambda data: (key.id, seal_bytes(data, resource, key))

    def _opened(self, resource: str, reference: Reference, stored: bytes) -> bytes:
        if reference.keyid is None:
            return stored
        key = None if self._keys is None else self._keys.find(resource, reference.keyid)
        if key is None:
            message = (
                f"attachment {reference.sha256} is sealed under key {reference.keyid}, which is "
                "not here: give connect() the keys="
            )
            raise KeyMissing(message)
        data = open_bytes(stored, resource, key)
        if data is None:
            message = f"attachment {reference.sha256} does not open under its key"
            raise AttachmentDamaged(message)
        return data

    async def close(self) -> None:
        """Wait for writes with attachments that are on their way, as long as one may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while self._writes:
                    await self._idle.wait()
        tasks = list(self._storing.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @asynccontextmanager
    async def _kept(self, store: Callable[[], Awaitable[None]]) -> AsyncGenerator[None]:
        """Store before a block's events, and if they took long, see afterwards that it is there."""
        # The wall's clock, because a machine that slept has let time pass for the sweep, too.
        began = time.time()
        with self._counted():
            await store()
            yield
            if not 0 <= time.time() - began < YOUNG_S:
                # So late a sweep may have come before the event. Now that it is there, none will.
                await store()

    @contextmanager
    def _counted(self) -> Generator[None]:
        self._writes += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._writes -= 1
            if not self._writes:
                self._idle.set()

    async def _store_all(self, resource: str, found: Found) -> None:
        await spread(lambda item: self._store(resource, *item), found.items(), TOGETHER)

    async def _store(self, resource: str, sha256: str, data: bytes) -> None:
        """Store an attachment unless it is there; many tasks with the same one share the work."""
        key = (resource, sha256)
        task = self._storing.get(key)
        if task is None:
            task = asyncio.create_task(self._store_once(resource, sha256, data))
            self._storing[key] = task
            task.add_done_callback(lambda done: self._finished(key, done))
        # One of them that is cancelled takes nothing away from the others.
        await asyncio.wait({task})
        if task.cancelled():
            message = "the client was closed"
            raise BrokerUnavailable(message)
        task.result()

    def _finished(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._storing[key]
        if not task.cancelled():
            task.exception()  # Looked at here, should nobody wait for it any longer.

    async def _store_once(self, resource: str, sha256: str, data: bytes) -> None:
        if not await self._is_there(resource, sha256):
            await self._uploads.upload(resource, sha256, data)

    async def _is_there(self, resource: str, sha256: str) -> bool:
        """Tell whether an engine has a copy that no sweep will take before our event is there.

        A copy that no message refers to may be about to be swept, unless it is young.
        """
        try:
            answer = await self._queries.ask(
                "attachment",
                resource,
                {"sha256": sha256},
                fresh=False,
                timeout_s=STAT_S,
                patience_s=0.0,
            )
        except MemfoldError:
            return False
        found = answer["attachment"]
        if found is None:
            return False
        return bool(found["referred"]) or 0 <= found["age_s"] < YOUNG_S

    async def _read_copy(self, resource: str, reference: Reference) -> bytes:
        """Return all of one copy, as large as the reference says.

        Raises:
            _CopyGone: it was deleted meanwhile; there may be another one.
        """
        first = await self._ask_chunk(resource, reference.sha256, None, 0)
        about: Mapping[str, Any] = first["attachment"]
        if about["size"] != reference.size:
            message = f"attachment {reference.sha256} is {about['size']} bytes large, not as said"
            raise AttachmentDamaged(message)
        parts: dict[int, bytes] = {0: base64.b64decode(first["data"])}

        async def fetch(index: int) -> None:
            try:
                answer = await self._ask_chunk(resource, reference.sha256, about["copy"], index)
            except NotFound:
                raise _CopyGone from None
            parts[index] = base64.b64decode(answer["data"])

        await spread(fetch, range(1, about["chunks"]), CHUNKS_IN_FLIGHT)
        return b"".join(parts[index] for index in sorted(parts))

    async def _ask_chunk(
        self, resource: str, sha256: str, copy: str | None, index: int
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {"sha256": sha256, "chunk": index}
        if copy is not None:
            arguments["from_copy"] = copy
        async with self._asking:
            return await self._queries.ask(
                "attachment", resource, arguments, fresh=False, timeout_s=READ_S
            )


class _CopyGone(Exception):
    """The copy that was being read is no longer there."""


def check_above(value: object) -> int:
    """Return the size above which data goes beside the event, in bytes, if it is one.

    Raises:
        InvalidRequest: it is not a number from 0 on.
    """
    if type(value) is not int or value < 0:
        message = "attach_above= is a number of bytes, 0 or more"
        raise InvalidRequest(message)
    return value


def _content(data: Mapping[str, Any]) -> Content:
    """Return the content that an event's data brings to a message, else None."""
    for key in ("message", "patch"):
        if isinstance(data.get(key), Mapping):
            return data[key].get("content")
    return None


def _with_content(data: Mapping[str, Any], content: Content) -> Mapping[str, Any]:
    for key in ("message", "patch"):
        body = data.get(key)
        if isinstance(body, Mapping) and "content" in body:
            return {**data, key: {**body, "content": content}}
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
