"""A log without what was erased, and a generation folded from it, made beside the live ones.

A row that is changed or deleted leaves its bytes in the file, so the file is written anew. Most of
it in a thread of its own, while events are folded; the rest when both take their places.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from memfold.erasure import without_erased
from memfold_projections.log import Log, remove_log, rewritten_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from memfold.erasure import Erasure
    from memfold.wire import Recorded
    from memfold_projections.refolding import Beside
    from memfold_projections.store import Store

CHUNK: Final = 2000
"""Sequences copied at once."""
NEAR: Final = 2000
"""With no more to copy than this, the rest is left for the moment of the change."""
_LEAVES: Final = """
SELECT sequence, hash FROM leaf WHERE sequence > ? AND sequence <= ? ORDER BY sequence
"""


class Rewriting:
    """One rewriting for some erasures. ``run`` in any thread, then ``finish`` in the writer's."""

    def __init__(
        self, store: Store, rewritten: Log, beside: Beside, erasures: Sequence[Erasure]
    ) -> None:
        self._store = store
        self._rewritten = rewritten
        self._beside = beside
        self._erasures = erasures
        self.messages = dict.fromkeys((each.sequence for each in erasures), 0)
        """How many messages each erasure has taken something from, by its sequence."""
        self.events = dict.fromkeys(self.messages, 0)

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Copy and fold until the live log is near; ``progress`` gets (sequence, last sequence)."""
        while (end := self._store.log.sequence) - self._rewritten.sequence > NEAR or (
            not self._rewritten.sequence
        ):
            self._copy(end, gently=True, progress=progress)
            if end == 0:
                return

    def finish(self) -> None:
        """Copy the rest, and put both in the live ones' places.

        Raises:
            StorageError: somebody reads the log for too long; nothing has changed.
        """
        self._copy(self._store.log.sequence, gently=False, progress=lambda _done, _of: None)
        marks = [
            (sequence, self.messages[sequence], self.events[sequence]) for sequence in self.messages
        ]
        before = self._store.log.erased()
        self._rewritten.mark(self._store.log.rewrite + 1, [*before, *marks])
        self._rewritten.close()
        self._store.adopt_rewritten(self._rewritten.path, self._beside)

    def _copy(self, end: int, *, gently: bool, progress: Callable[[int, int], None]) -> None:
        log, rewritten = self._store.log, self._rewritten
        while rewritten.sequence < end:
            after = rewritten.sequence
            upto = min(after + CHUNK, end)
            leaves = [row for rows in log.pages(_LEAVES, [after, upto], CHUNK) for row in rows]
            hashes: dict[int, bytes] = dict(leaves)
            left = [
                self._without_erased(message, hashes[message.sequence])
                for messages in log.read(after, upto)
                for message in messages
            ]
            rewritten.copy(left, leaves, upto)
            if gently:
                self._beside.fold_gently([left], lambda _folded: None)
            elif left:
                self._beside.fold(left)
            progress(upto, end)

    def _without_erased(self, message: Recorded, leaf: bytes) -> Recorded:
        left, taken = without_erased(message, self._erasures, leaf, self._store.keys)
        for erasure, part in taken:
            self.messages[erasure.sequence] += 1
            self.events[erasure.sequence] += len(part.covered)
        return left


@contextmanager
def rewriting(store: Store, erasures: Sequence[Erasure]) -> Generator[Rewriting]:
    """Begin to write the log anew; what was not finished is removed at the end of the block."""
    path = rewritten_path(store.log.path)
    remove_log(path)
    rewritten = Log(path, store.namespace, memory_mib=store.memory_mib)
    try:
        with store.beside(rewrite=store.log.rewrite + 1) as beside:
            yield Rewriting(store, rewritten, beside, erasures)
    finally:
        rewritten.close()
        remove_log(path)
