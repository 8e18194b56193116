"""Waiting for the fold to reach a sequence."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import TYPE_CHECKING

from memfold.errors import MemfoldError, NotYetConsistent

if TYPE_CHECKING:
    from collections.abc import Iterator


class Checkpoint:
    """The folded sequence, as the event loop sees it. Not for other threads."""

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self.halted: MemfoldError | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ended = 0
        self._order: Iterator[int] = count()

    def advance(self, sequence: int) -> None:
        """Set the folded sequence and wake those who waited for it."""
        self.sequence = sequence
        while self._waiting and self._waiting[0][0] <= sequence:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)

    def halt(self, error: MemfoldError) -> None:
        """Fail all who wait, now and later: the fold has stopped for good."""
        self.halted = error
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    def _forget_some(self) -> None:
        """Let go of who no longer waits, once they are most of all: far sequences never come."""
        self._ended += 1
        if 2 * self._ended > len(self._waiting):
            self._waiting = [each for each in self._waiting if not each[2].done()]
            heapq.heapify(self._waiting)
            self._ended = 0

    async def reach(self, sequence: int, *, timeout_s: float) -> None:
        """Return once everything up to ``sequence`` is folded and visible.

        Raises:
            NotYetConsistent: not within ``timeout_s``.
            MemfoldError: the fold has stopped; this says why.
        """
        if self.halted is not None:
            raise self.halted
        if sequence <= self.sequence:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (sequence, next(self._order), future))
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            self._forget_some()
            message = f"folded up to {self.sequence}, not yet to {sequence}"
            raise NotYetConsistent(message) from None
