"""Past moments that queries name, sequences or times, as folded sequences: one place for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from memfold.canonical import to_us
from memfold.errors import NotFound, NotYetConsistent
from memfold_projections.past import sequence_at

if TYPE_CHECKING:
    from memfold_consumers.checkpoint import Checkpoint
    from memfold_consumers.requests import PastRequest
    from memfold_projections.store import Store

R = TypeVar("R", bound="PastRequest")


class Moments:
    """Turns times into sequences, and waits until what is asked for is folded."""

    def __init__(
        self,
        store: Store,
        checkpoint: Checkpoint,
        stream_sequence: Callable[[], int],
        stream_end: Callable[[], Awaitable[int | None]],
    ) -> None:
        """Take how far the stream goes: as it was last heard of, and as the server says now."""
        self._store = store
        self._checkpoint = checkpoint
        self.stream_sequence = stream_sequence
        self._stream_end = stream_end

    async def resolved(self, request: R) -> R:
        """Return the request with its times as sequences, each of them folded.

        Raises:
            NotFound: one is behind the end of the stream.
            NotYetConsistent: one is ahead of the checkpoint, for as long as the request waits.
        """
        found: dict[str, int] = {}
        for name in request.moments:
            asked: int | datetime | None = getattr(request, name)
            if asked is None:
                continue
            wait_s = request.wait_ms / 1000
            if isinstance(asked, datetime):
                # What the stream holds may be of that time, and not be in the log yet.
                await self._checkpoint.reach(self.stream_sequence(), timeout_s=wait_s)
                asked = await asyncio.to_thread(sequence_at, self._store.log, to_us(asked))
            await self._check_end(asked)
            await self._checkpoint.reach(asked, timeout_s=wait_s)
            found[name] = asked
        return request.model_copy(update=found) if found else request

    async def _check_end(self, sequence: int) -> None:
        """Refuse what nobody has published yet; who asks could wait for it in vain."""
        if sequence <= max(self._checkpoint.sequence, self.stream_sequence()):
            return
        end = await self._stream_end()
        if end is not None and sequence > end:
            message = f"the log ends at {end}: it has no sequence {sequence} yet"
            raise NotFound(message)

    async def is_redacted(self, resource: str | None, past: int | None) -> bool:
        """Tell whether something of a resource's past at a sequence was erased since.

        Raises:
            NotYetConsistent: it is just being erased, and was not dropped from the past yet.
        """
        if past is None or self._store.generation.erased.get(resource or "", 0) <= past:
            return False
        await self.check_erased(resource, past)
        return True

    async def check_erased(self, resource: str | None, past: int = 0) -> None:
        """Check that the engine has dropped what was erased of a resource behind a sequence.

        Raises:
            NotYetConsistent: it is at it.
        """
        pending = await asyncio.to_thread(self._store.erasures_pending)
        waiting = any(each.resource == resource and each.sequence > past for each in pending)
        # The log is put in place first, then the generation that was folded from it.
        if waiting or self._store.generation.rewrite != self._store.log.rewrite:
            message = "something of this past is being erased just now: ask again"
            raise NotYetConsistent(message)
