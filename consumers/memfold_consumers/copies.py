"""Which copy of an attachment can be believed.

Anyone who may publish can store wrong bytes under any SHA-256. So a copy is read through and hashed
before anyone relies on it; what was found is remembered, since a copy does not change.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from memfold.chunks import ATTACHMENT_BYTES_MAX, CHUNK_BYTES_MAX, Copy

if TYPE_CHECKING:
    from memfold_consumers.blob_stream import Blob, BlobStream, Listing

CHECKED_MAX: Final = 10_000
"""Copies whose check is remembered."""
CHECKS: Final = 2
"""Copies that are read through at once."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading a copy through has shown; ``time_ns`` is when its newest chunk was stored."""

    good: bool
    size: int
    time_ns: int


class Copies:
    """The copies of a blob stream's attachments, checked when they are asked for."""

    def __init__(self, stream: BlobStream) -> None:
        self._stream = stream
        self._checked: OrderedDict[tuple[Blob, Copy], Checked] = OrderedDict()
        self._checks = asyncio.Semaphore(CHECKS)

    async def find(self, blob: Blob, listing: Listing) -> tuple[Copy, Checked] | None:
        """Return the first complete copy that has its SHA-256."""
        for copy in listing.complete():
            checked = await self.check(blob, copy)
            if checked is not None and checked.good:
                return copy, checked
        return None

    async def check(self, blob: Blob, copy: Copy) -> Checked | None:
        """Return what a complete copy is worth; None if it was deleted meanwhile."""
        if (blob, copy) not in self._checked:
            async with self._checks:
                # Another question about the same copy may have been answered meanwhile.
                if (blob, copy) not in self._checked:
                    found = await self._read_through(blob, copy)
                    if found is None:
                        return None
                    self._checked[blob, copy] = found
                    if len(self._checked) > CHECKED_MAX:
                        self._checked.popitem(last=False)
        self._checked.move_to_end((blob, copy))
        return self._checked[blob, copy]

    async def _read_through(self, blob: Blob, copy: Copy) -> Checked | None:
        digest, size, time_ns = hashlib.sha256(), 0, 0
        for index in range(copy.count):
            chunk = await self._stream.read_chunk(*blob, copy, index)
            if chunk is None:
                return None
            if len(chunk.payload) > CHUNK_BYTES_MAX:
                return Checked(good=False, size=0, time_ns=0)
            digest.update(chunk.payload)
            size += len(chunk.payload)
            time_ns = max(time_ns, chunk.time_ns)
        good = digest.hexdigest() == blob[1] and size <= ATTACHMENT_BYTES_MAX
        return Checked(good, size, time_ns)
