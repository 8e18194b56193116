"""A generation folded beside the live one: from the log, in a thread of its own, giving way.

Both share the interpreter, so what is folded beside is folded in small pieces while events arrive,
and in large ones while none do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from memfold.wire import Recorded
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

    def fold(self, messages: Sequence[Recorded]) -> None:
        """Fold messages that follow."""
        self.events += len(self.generation.fold(messages).steps)
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
        for messages in self._log.read(self.sequence, end):
            self.fold_gently(messages, lambda folded: progress(folded, end))

    def fold_gently(self, messages: Sequence[Recorded], progress: Callable[[int], None]) -> None:
        """Fold messages that follow, in pieces between which the live fold comes first."""
        start = 0
        before = -1
        while start < len(messages):
            with self._live_fold:
                now = self._log.sequence
            most = IDLE_BYTES if before in (-1, now) else BUSY_BYTES
            before = now
            piece = list(_piece(messages, start, most))
            self.fold(piece)
            progress(self.sequence)
            start += len(piece)


def _piece(messages: Sequence[Recorded], start: int, bytes_max: int) -> Iterator[Recorded]:
    """Yield messages from a place on: one at least, then as many as fit."""
    size = 0
    for number in range(start, len(messages)):
        size += len(messages[number].payload)
        if number > start and size > bytes_max:
            return
        yield messages[number]
