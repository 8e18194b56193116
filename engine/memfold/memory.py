"""The way in: ``connect()`` and ``Memory``, one actor's view of one namespace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Unpack

from memfold.attachments import ATTACH_ABOVE_BYTES
from memfold.blobs import check_above
from memfold.building import Prepared, prepare
from memfold.client import Client
from memfold.connection import Connection
from memfold.erasing import Eraser, ErasureReport
from memfold.erasure_search import owner_of
from memfold.ids import check_id
from memfold.limits import BATCH_EVENTS_MAX
from memfold.lists import (
    PAGE_DEFAULT,
    Listing,
    Page,
    Part,
    ResourceFilter,
    ThreadFilter,
    listing,
    read_all,
    read_page,
)
from memfold.reads import ResourceState, ThreadState
from memfold.receipts import Receipt
from memfold.resource import Resource
from memfold.sealed import Keys
from memfold.sealing import open_keys
from memfold.streams import ensure_streams
from memfold.subjects import Facet, check_namespace
from memfold.working_memory import WorkingMemory

CONNECT_TIMEOUT_S: Final = 5.0
QUERY_TIMEOUT_S: Final = 10.0


@asynccontextmanager
async def connect(
    url: str | Sequence[str] = "nats://127.0.0.1:4222",
    *,
    actor: str,
    namespace: str = "memfold",
    timeout_s: float = 30.0,
    query_timeout_s: float = QUERY_TIMEOUT_S,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    attach_above: int = ATTACH_ABOVE_BYTES,
    keys: Path | str | Keys | None = None,
    **nats_options: Any,  # noqa: ANN401  # nats-py's own
) -> AsyncGenerator[Memory, None]:
    """Open the memory of a namespace as ``actor``; it reconnects for ever once it was connected.

    A publish is tried again for ``timeout_s`` seconds, a read waits ``query_timeout_s`` seconds.
    Data URIs and bytes of more than ``attach_above`` bytes in the parts of messages are kept as
    attachments. With ``keys``, a directory of them or what keeps them otherwise, all that it
    publishes is sealed. Closing waits for writes that are on their way. Further options go to
    nats-py's ``connect``: ``user``, ``password``, ``user_credentials``, ``tls``, ``inbox_prefix``
    and so on.

    Raises:
        BrokerUnavailable: no server answered within ``connect_timeout_s`` seconds.
        PublishDenied: the server refuses the credentials.
        InvalidId: the actor or the namespace cannot be a token of a subject.
        InvalidRequest, ExtraMissing: the keys' directory is open to others, or
            ``memfold[sealing]`` is not installed.
    """
    check_id(actor, "actor")
    check_namespace(namespace)
    check_above(attach_above)
    opened = open_keys(keys)
    connection = await Connection.open(
        url,
        name=f"memfold {actor}",
        connect_timeout_s=connect_timeout_s,
        options=nats_options,
    )
    client = Client(
        connection,
        namespace=namespace,
        actor=actor,
        timeout_s=timeout_s,
        query_timeout_s=query_timeout_s,
        attach_above=attach_above,
        keys=opened,
    )
    try:
        yield Memory(client)
    finally:
        closing = asyncio.ensure_future(client.close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await connection.close()
            closing.cancel()
            raise


class Memory:
    """All memory of one namespace, seen and changed as one actor.

    A write of any handle raises what ``Memory.publish`` raises. A read contains all that this
    client has published or seen of the resource, and raises ``NotYetConsistent`` if no engine comes
    that far in time, ``EngineUnavailable`` or ``BrokerUnavailable`` if nobody answers; with
    ``fresh=False`` it takes any engine's answer, however old.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def namespace(self) -> str:
        """The namespace that this memory is of."""
        return self._client.namespace

    @property
    def actor(self) -> str:
        """Who publishes."""
        return self._client.actor

    @property
    def is_read_only(self) -> bool:
        """Tell whether this handle, and all that it gives, refuses to write."""
        return self._client.is_read_only

    def read_only(self) -> Memory:
        """Return the same memory as a handle that cannot write, nor can any handle it gives."""
        return Memory(self._client.read_only())

    @property
    def defaults(self) -> WorkingMemory:
        """The namespace's default definition: only ``define()`` and ``definition()`` are of use."""
        return WorkingMemory(self._client, None, None)

    def resource(self, id: str) -> Resource:
        """Return the handle of a resource, whether anything is known of it or not."""
        return Resource(self._client, id)

    async def resources(
        self, *, limit: int | None = None, **filters: Unpack[ResourceFilter]
    ) -> list[ResourceState]:
        """Return all resources, in order of first appearance if not asked otherwise."""
        return await read_all(self._client.queries, _resources(filters), limit=limit)

    async def resource_page(
        self,
        *,
        limit: int = PAGE_DEFAULT,
        after: str | None = None,
        page: int | None = None,
        total: bool = False,
        **filters: Unpack[ResourceFilter],
    ) -> Page[ResourceState]:
        """Return a page of the resources: behind another page's ``next``, or the n-th, from 0."""
        part = Part(limit, after, page, total)
        return await read_page(self._client.queries, _resources(filters), part)

    async def threads(
        self, *, limit: int | None = None, **filters: Unpack[ThreadFilter]
    ) -> list[ThreadState]:
        """Return the live threads of all resources, the newest first."""
        return await read_all(self._client.queries, _threads(filters), limit=limit)

    async def thread_page(
        self,
        *,
        limit: int = PAGE_DEFAULT,
        after: str | None = None,
        page: int | None = None,
        total: bool = False,
        **filters: Unpack[ThreadFilter],
    ) -> Page[ThreadState]:
        """Return a page of the threads of all resources, as ``Resource.thread_page`` does."""
        part = Part(limit, after, page, total)
        return await read_page(self._client.queries, _threads(filters), part)

    async def erase_event(
        self,
        position: tuple[int, int],
        *,
        resource: str | None = None,
        thread: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> ErasureReport:
        """Erase one event by its position, whatever it is, as ``Resource.erase`` does.

        ``resource`` and ``thread`` say whose it is; without them the stream is asked.

        Raises:
            NotFound: the stream has no such message, and nobody has said whose it was.
        """
        place = (resource, thread)
        if resource is None:
            place = await owner_of(self._client, position[0])
        return await Eraser(self._client, *place, "event", position=position).run(
            reason=reason, dry_run=dry_run
        )

    async def erasures(
        self, resource: str | None = None, *, limit: int | None = None, fresh: bool = True
    ) -> list[dict[str, Any]]:
        """Return what was asked to be erased, and which engines have done so, as plain JSON."""
        found, _ = await self._client.queries.pages(
            "erasures", resource, "erasures", limit=limit, fresh=fresh
        )
        return found

    async def parked(
        self, resource: str | None = None, *, limit: int | None = None, fresh: bool = True
    ) -> list[dict[str, Any]]:
        """Return the events that could not be understood, with their reasons, as plain JSON."""
        found, _ = await self._client.queries.pages(
            "parked", resource, "parked", limit=limit, fresh=fresh
        )
        return found

    async def status(self) -> dict[str, Any]:
        """Return what the engine says of itself, as plain JSON."""
        return await self._client.queries.ask("status", None, fresh=False)

    async def known(
        self, ids: Sequence[str], *, source: str | None = None, fresh: bool = True
    ) -> list[tuple[int, int] | None]:
        """Return the position of each event id of an actor that is folded already, else None."""
        found: list[tuple[int, int] | None] = []
        queries = self._client.queries
        minimum = queries.sightings.highest(None) if fresh else 0
        for start in range(0, len(ids), BATCH_EVENTS_MAX):
            part = ids[start : start + BATCH_EVENTS_MAX]
            found.extend(await queries.locate(source or self.actor, part, minimum))
        return found

    def prepare(
        self, raw: Mapping[str, Any], *, resource: str, thread: str | None, facet: Facet
    ) -> Prepared:
        """Check and encode a ready-made event of this actor, for ``publish``.

        Raises:
            InvalidEvent: the fold would park it, under this ``reason``.
        """
        return prepare(raw, self._client.address(resource, thread, facet))

    async def publish(self, events: Sequence[Prepared], *, expected: int | None = None) -> Receipt:
        """Publish prepared events of one resource, thread and facet: all together or none.

        Raises:
            InvalidEvent, TooLarge: nothing was sent.
            RevisionConflict, PublishDenied, StreamMissing, StreamFull, BrokerUnavailable.
        """
        return await self._client.publish(events, expected=expected)

    async def ensure_streams(self, *, replicas: int = 1) -> None:
        """Create the namespace's streams or check them, where no engine has done so."""
        self._client.check_writable()
        await ensure_streams(
            self._client.connection.client, self._client.namespace, replicas=replicas
        )


def _resources(filters: ResourceFilter) -> Listing[ResourceState]:
    return listing("resources", None, ResourceState.from_json, filters, ResourceFilter)


def _threads(filters: ThreadFilter) -> Listing[ThreadState]:
    return listing("threads", None, ThreadState.from_json, filters, ThreadFilter)
