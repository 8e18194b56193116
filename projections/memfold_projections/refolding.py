"""A generation folded beside the live one: from the log, in a thread of its own, giving way.

Both share the interpreter, so what is folded beside is folded in small pieces while events arrive,
and in large ones while none do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Final

from memfold_projections.generation import log_time_us, read_events

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from memfold.wire import Event, Recorded, Unreadable
    from memfold_projections.generation import Generation
    from memfold_projections.log import Log

IDLE_BYTES: Final = 1024 * 1024
"""Payload bytes folded at once while nothing else happens: some 3,000 single events."""
BUSY_BYTES: Final = 64 * 1024
"""While events arrive: some 200 of them, about 10 ms."""


class Beside:
    """A generation that is not in use yet, and what was folded into it so far.

    One thread at a time may fold it.
    """

    def __init__(
        self, number: int, generation: Generation, log: Log, live_fold: threading.Lock
    ) -> None:
        self.number = number
        self.generation = generation
        self.messages = 0
        self.events = 0
        self._log = log
        self._live_fold = live_fold

    @property
    def sequence(self) -> int:
        """Up to where it is folded."""
        return self.generation.sequence

    def fold(
        self, messages: Sequence[Recorded], events: list[Event | Unreadable] | None = None
    ) -> None:
        """Fold messages that follow, with their events if they were read already."""
        self.events += len(self.generation.fold(messages, events).steps)
        self.messages += len(messages)

    def fold_log(
        self,
        upto: int | None = None,
        *,
        progress: Callable[[int, int], None] = lambda _folded, _total: None,
    ) -> None:
        """Fold what the log holds, up to a sequence or to where it ends now.

        ``progress`` is called with (folded sequence, last sequence) after each piece; what it
        raises ends the fold.

        Raises:
            duckdb.Error: a file could not be read or written.
        """
        end = self._log.sequence if upto is None else upto
        chunks = self._log.read(self.sequence, end)
        self.fold_gently(chunks, lambda folded: progress(folded, end))

    def fold_gently(
        self, chunks: Iterable[Sequence[Recorded]], progress: Callable[[int], None]
    ) -> None:
        """Fold messages that follow, in pieces between which the live fold comes first.

        While one piece is written, which DuckDB does without the interpreter, the next is read.
        """
        pieces = self._pieces(chunks)
        with closing(pieces), ThreadPoolExecutor(1, "memfold-read-ahead") as ahead:
            reading = ahead.submit(next, pieces, None)
            while (piece := reading.result()) is not None:
                reading = ahead.submit(next, pieces, None)
                self.fold(*piece)
                progress(self.sequence)

    def _pieces(
        self, chunks: Iterable[Sequence[Recorded]]
    ) -> Generator[tuple[list[Recorded], list[Event | Unreadable]]]:
        """Yield messages with their events, few at a time while the live fold is at work."""
        before = -1
        time_us = self.generation.time_us
        for messages in chunks:
            start = 0
            while start < len(messages):
                with self._live_fold:
                    now = self._log.sequence
                most = IDLE_BYTES if before in (-1, now) else BUSY_BYTES
                before = now
                piece = list(_piece(messages, start, most))
                start += len(piece)
                events = read_events(
                    self.generation.namespace, piece, time_us, self.generation.keys
                )
                time_us = log_time_us(piece, time_us)
                yield piece, events


def _piece(messages: Sequence[Recorded], start: int, bytes_max: int) -> Iterator[Recorded]:
    """Yield messages from a place on: one at least, then as many as fit."""
    size = 0
    for number in range(start, len(messages)):
        size += len(messages[number].payload)
        if number > start and size > bytes_max:
            return
        yield messages[number]
