"""Answers what is stored of attachments, and hands out their chunks."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import orjson

from memfold.chunks import CHUNK_BYTES_MAX, Copy, parse_copy
from memfold.errors import AttachmentDamaged, InvalidRequest, NotFound, StorageError
from memfold.jetstream import JetStreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from memfold_consumers.blob_stream import Blob, BlobStream, Listing
    from memfold_consumers.copies import Copies
    from memfold_consumers.requests import AttachmentRequest

    Referred = Callable[[str, Sequence[str]], Awaitable[set[str]]]
    """Returns those of these SHA-256s that an event of the resource refers to."""

READS: Final = 8
"""Chunks that are read for answers at once: each takes a few times its size of memory."""
NS_PER_S: Final = 1_000_000_000


class Blobs:
    """The attachments of one namespace as one engine serves them."""

    def __init__(
        self,
        stream: BlobStream,
        copies: Copies,
        *,
        referred: Referred,
        sequence: Callable[[], int],
    ) -> None:
        self._stream = stream
        self._referred = referred
        self._sequence = sequence
        self._copies = copies
        self._reads = asyncio.Semaphore(READS)

    async def answer(self, resource: str, request: AttachmentRequest) -> bytes:
        """Answer what is known of an attachment, with one chunk if one is asked for.

        Raises:
            NotFound, AttachmentDamaged: there is no such chunk, or no good copy.
            StorageError: the blob stream cannot be read.
        """
        try:
            if request.from_copy is not None:
                return await self._more(resource, request, request.from_copy)
            return await self._about(resource, request)
        except (JetStreamError, nats.errors.Error, TimeoutError) as error:
            message = f"the blob stream could not be read: {type(error).__name__}"
            raise StorageError(message) from error

    async def answer_referred(self, resource: str, hashes: Sequence[str]) -> bytes:
        """Answer which of these attachments an event of the resource refers to."""
        sequence = self._sequence()
        found = await self._referred(resource, hashes)
        return orjson.dumps({"sequence": sequence, "referred": sorted(found)})

    async def _about(self, resource: str, request: AttachmentRequest) -> bytes:
        blob = (resource, request.sha256)
        listing = await self._stream.list_copies(*blob)
        found = await self._copies.find(blob, listing)
        answer: dict[str, Any] = {"sequence": self._sequence(), "attachment": None}
        if found is not None:
            copy, checked = found
            answer["attachment"] = {
                "copy": str(copy),
                "size": checked.size,
                "chunks": copy.count,
                "age_s": (listing.now_ns - checked.time_ns) // NS_PER_S,
                "referred": bool(await self._referred(resource, [request.sha256])),
            }
        if request.chunk is not None:
            if found is None:
                raise _missing(request.sha256, listing)
            answer["data"] = await self._read(blob, found[0], request.chunk)
        return orjson.dumps(answer)

    async def _more(self, resource: str, request: AttachmentRequest, name: str) -> bytes:
        copy = parse_copy(name)
        if copy is None or request.chunk is None:
            message = "from_copy: a copy that an answer has named, with one of its chunks"
            raise InvalidRequest(message)
        # Not checked here: it may have been another engine that did, and the asker does.
        data = await self._read((resource, request.sha256), copy, request.chunk)
        return orjson.dumps({"sequence": self._sequence(), "attachment": None, "data": data})

    async def _read(self, blob: Blob, copy: Copy, index: int) -> str:
        chunk = None
        async with self._reads:
            if index < copy.count:
                chunk = await self._stream.read_chunk(*blob, copy, index)
        if chunk is None:
            message = f"there is no chunk {index} of this copy of attachment {blob[1]}"
            raise NotFound(message)
        if len(chunk.payload) > CHUNK_BYTES_MAX:
            message = f"chunk {index} of attachment {blob[1]} is larger than chunks are"
            raise AttachmentDamaged(message)
        return base64.b64encode(chunk.payload).decode()


def _missing(sha256: str, listing: Listing) -> AttachmentDamaged | NotFound:
    if listing.complete():
        return AttachmentDamaged(f"no copy of attachment {sha256} has its SHA-256")
    return NotFound(f"there is no attachment {sha256}: never stored, or deleted")
