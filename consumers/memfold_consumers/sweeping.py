"""Deletes attachments for good: what nobody refers to, and what is stored more than once.

Overwrites chunk by chunk (JetStream's secure delete), so it can be cut anywhere and run again. Two
sweeps at once, or a sweep beside writers, take nothing that is needed:

- A writer relies on a copy that is there only if an event refers to it already, or if it is younger
  than ``memfold.blobs.YOUNG_S``; else it stores one of its own, before its event.
- A sweep leaves alone what is younger than ``older_than_s``, and reads the events up to the end of
  their stream after it has listed the copies. So an event that it does not know yet refers to
  something younger than that.
- Of several good copies all sweeps keep the same: the first one in the order of their names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from memfold.errors import LogDiverged

if TYPE_CHECKING:
    from typing import Protocol

    from memfold.chunks import Copy
    from memfold_consumers.blob_stream import Blob, BlobStream, Listing
    from memfold_consumers.copies import Copies

    class References(Protocol):
        """Which attachments are referred to by the events of a resource, up to a sequence."""

        async def __call__(
            self, resource: str, hashes: Sequence[str], min_sequence: int
        ) -> set[str]:
            """Return those that are; raises if the sequence is not folded in time."""
            ...


OLDER_THAN_S: Final = 3600.0
HASHES_AT_ONCE: Final = 1000
NS_PER_S: Final = 1_000_000_000

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Swept:
    """What a sweep has found and deleted, or would delete.

    ``attachments`` are those that were there, ``orphans`` those that no event refers to. What was
    deleted: ``copies``, ``chunks``, ``bytes``; ``young`` copies were left alone for their age.
    ``damaged`` names what is referred to and has no good copy; ``foreign`` counts subjects that are
    not of our form; both are left as they are.
    """

    attachments: int = 0
    orphans: int = 0
    copies: int = 0
    chunks: int = 0
    bytes: int = 0
    young: int = 0
    foreign: int = 0
    damaged: list[Blob] = field(default_factory=list["Blob"])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


class Sweeper:
    """One sweep of a namespace's blob stream."""

    def __init__(
        self,
        stream: BlobStream,
        copies: Copies,
        references: References,
        *,
        older_than_s: float = OLDER_THAN_S,
        dry_run: bool = False,
    ) -> None:
        self._stream = stream
        self._copies = copies
        self._references = references
        self._older_than_ns = int(older_than_s * NS_PER_S)
        self._dry_run = dry_run
        self._swept = Swept()

    async def run(self) -> Swept:
        """Sweep once and return what was done.

        Raises:
            LogDiverged: the event stream is empty, so it was probably lost: all would be orphans.
        """
        found, self._swept.foreign = await self._stream.list_all()
        self._swept.attachments = len(found)
        last = await self._stream.last_event()
        if found and not last:
            message = (
                "there are attachments and not one event: if the event stream was lost, put it "
                "back first. Nothing was deleted."
            )
            raise LogDiverged(message)
        for resource, group in _by_resource(found):
            for start in range(0, len(group), HASHES_AT_ONCE):
                hashes = group[start : start + HASHES_AT_ONCE]
                referred = await self._references(resource, hashes, last)
                for sha256 in hashes:
                    # What is there once and needed is not even looked at.
                    if sha256 not in referred or len(found[resource, sha256]) > 1:
                        await self._sweep_blob((resource, sha256))
        return self._swept

    async def _sweep_blob(self, blob: Blob) -> None:
        # Listed anew and as a whole: the first list came in pages, while others were writing.
        listing = await self._stream.list_copies(*blob)
        last = await self._stream.last_event()
        if blob[1] not in await self._references(blob[0], [blob[1]], last):
            self._swept.orphans += 1
            surplus = set(listing.copies)
        else:
            kept = await self._copies.find(blob, listing)
            if kept is None and listing.complete():
                self._swept.damaged.append(blob)
            # Where no good copy is left, a bad one is better than none.
            keep = {kept[0]} if kept is not None else set(listing.complete())
            surplus = set(listing.copies) - keep
        for copy in sorted(surplus):
            await self._sweep_copy(blob, copy, listing)

    async def _sweep_copy(self, blob: Blob, copy: Copy, listing: Listing) -> None:
        """Delete a copy if all of it is old: else someone may just be storing it."""
        before_ns = listing.now_ns - self._older_than_ns
        chunks: list[tuple[int, int]] = []
        for index in sorted(listing.copies[copy]):
            async for sequence, time_ns, size in _messages(self._stream, blob, copy, index):
                if time_ns > before_ns:
                    self._swept.young += 1
                    return
                chunks.append((sequence, size))
        self._swept.copies += 1
        for sequence, size in chunks:
            if self._dry_run or await self._stream.erase(sequence):
                self._swept.chunks += 1
                self._swept.bytes += size


async def delete_attachments(stream: BlobStream, resource: str, hashes: Iterable[str]) -> int:
    """Overwrite and delete all copies of these attachments, old or young; return how many chunks.

    Whether messages refer to them is for the caller to know. Safe to run again after a crash at any
    point, and where nothing is left.

    Raises:
        JetStreamError, nats.errors.Error, TimeoutError: the broker did not do it; run it again.
    """
    deleted = 0
    for sha256 in hashes:
        after = 0
        # Whatever stands under its subjects, of our form or not: it may be its bytes.
        while (found := await stream.read_next(resource, sha256, after=after)) is not None:
            deleted += await stream.erase(found.sequence)
            after = found.sequence
    return deleted


async def sweep_for_ever(make: Callable[[], Sweeper], every_s: float) -> None:
    """Sweep every so often, until cancelled; what fails is tried again the next time."""
    while True:
        await asyncio.sleep(every_s)
        try:
            swept = await make().run()
        except Exception as error:  # noqa: BLE001 - a sweep must never end an engine.
            _log.warning("sweep_failed", reason=f"{type(error).__name__}: {error}")
        else:
            _log.info("swept", **{**swept.to_json(), "damaged": len(swept.damaged)})


async def _messages(
    stream: BlobStream, blob: Blob, copy: Copy, index: int
) -> AsyncIterator[tuple[int, int, int]]:
    """Yield sequence, time and size of each message of a chunk's subject: one, unless it is odd."""
    after = 0
    while True:
        chunk = await stream.read_chunk(*blob, copy, index, after=after)
        if chunk is None:
            return
        after = chunk.sequence
        yield chunk.sequence, chunk.time_ns, len(chunk.payload)


def _by_resource(found: Iterable[Blob]) -> list[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for resource, sha256 in sorted(found):
        grouped.setdefault(resource, []).append(sha256)
    return list(grouped.items())
