"""The blob stream as its leader shows it: which chunks there are, reading one, erasing one.

Lists come from the server's index of subjects; nothing here reads the stream through.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memfold.chunks import Copy, blob_filter, chunk_subject, parse_chunk, stream_name
from memfold.jetstream import api, erase_message, read_recorded, time_ns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from memfold.jetstream import Requester
    from memfold.wire import Recorded

Blob = tuple[str, str]
"""A resource, and the SHA-256 of one of its attachments."""


@dataclass(slots=True)
class Listing:
    """The copies of one attachment, each with the chunks that are there, and the server's time."""

    now_ns: int
    copies: dict[Copy, set[int]] = field(default_factory=dict[Copy, set[int]])

    def complete(self) -> list[Copy]:
        """Return the copies that have all their chunks, in an order that all engines share."""
        return sorted(copy for copy, chunks in self.copies.items() if len(chunks) == copy.count)


class BlobStream:
    """One namespace's blob stream.

    All raise what the broker says: ``JetStreamError``, ``nats.errors.Error``, ``TimeoutError``.
    """

    def __init__(self, connection: Requester, namespace: str) -> None:
        self._connection = connection
        self.namespace = namespace
        self.name = stream_name(namespace)

    async def list_copies(self, resource: str, sha256: str) -> Listing:
        """Return the copies of one attachment."""
        listing = Listing(0)
        async for page, now_ns in self._pages(blob_filter(self.namespace, resource, sha256)):
            listing.now_ns = max(listing.now_ns, now_ns)
            for subject in page:
                chunk = parse_chunk(self.namespace, subject)
                if chunk is not None and chunk[:2] == (resource, sha256):
                    listing.copies.setdefault(chunk[2], set()).add(chunk[3])
        return listing

    async def list_all(self) -> tuple[dict[Blob, set[Copy]], int]:
        """Return all attachments with their copies, and how many subjects are not of our form.

        Pages are read while others write, so this is where to look, not what there is.
        """
        found: dict[Blob, set[Copy]] = {}
        foreign = 0
        async for page, _ in self._pages(f"{self.namespace}.blob.>"):
            for subject in page:
                chunk = parse_chunk(self.namespace, subject)
                if chunk is None:
                    foreign += 1
                else:
                    found.setdefault(chunk[:2], set()).add(chunk[2])
        return found, foreign

    async def read_chunk(
        self, resource: str, sha256: str, copy: Copy, index: int, *, after: int = 0
    ) -> Recorded | None:
        """Return a chunk: the first message of its subject behind a sequence; None without one.

        The first, so that nobody can put another one in its place once it was read.
        """
        subject = chunk_subject(self.namespace, resource, sha256, copy, index)
        return await self._next(subject, after)

    async def read_next(self, resource: str, sha256: str, *, after: int = 0) -> Recorded | None:
        """Return the next message behind a sequence that has to do with an attachment."""
        return await self._next(blob_filter(self.namespace, resource, sha256), after)

    async def erase(self, sequence: int) -> bool:
        """Overwrite and delete one message; False if it was deleted already."""
        return await erase_message(self._connection, self.name, sequence)

    async def last_event(self) -> int:
        """Return the last sequence of the namespace's event stream."""
        info = await api(self._connection, f"STREAM.INFO.{self.namespace}")
        last: int = info["state"]["last_seq"]
        return last

    async def bytes_stored(self) -> int:
        """Return how large the blob stream is, in bytes."""
        info = await api(self._connection, f"STREAM.INFO.{self.name}")
        size: int = info["state"]["bytes"]
        return size

    async def _next(self, filter_: str, after: int) -> Recorded | None:
        return await read_recorded(self._connection, self.name, after + 1, subject_filter=filter_)

    async def _pages(self, filter_: str) -> AsyncIterator[tuple[dict[str, int], int]]:
        read = 0
        while True:
            body = {"subjects_filter": filter_, "offset": read}
            answer: dict[str, Any] = await api(self._connection, f"STREAM.INFO.{self.name}", body)
            page: dict[str, int] = answer["state"].get("subjects") or {}
            yield page, time_ns(answer["ts"])
            read += len(page)
            if not page or read >= answer.get("total", 0):
                return
