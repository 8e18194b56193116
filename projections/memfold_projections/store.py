"""The data directory's two kinds of file as one: the log, and the generation folded from it.

Order of writing is log first, then generation, each in its own transaction: a crash in between
leaves a generation that is behind, and opening folds the rest from the log. Never the other way.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import duckdb
import structlog

from memfold import upcast
from memfold.errors import StorageError
from memfold_projections.database import MEMORY_MIB
from memfold_projections.discards import find_discarded
from memfold_projections.files import GenerationFiles
from memfold_projections.generation import Folded, Generation
from memfold_projections.log import Log, remove_log, rewritten_path
from memfold_projections.reader import reading
from memfold_projections.recent import Recent
from memfold_projections.refolding import Beside

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from memfold.erasure import Erasure
    from memfold.sealed import Keys
    from memfold.wire import Recorded

LOG: Final = "log.duckdb"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Live:
    """What readers are served from: a generation, and what is kept in memory of it."""

    number: int
    generation: Generation
    recent: Recent


@dataclass(frozen=True, slots=True)
class Found:
    """What an opened directory held before anything was folded: last sequences, and a number."""

    log: int
    number: int
    generation: int


class Store:
    """Log, generation and recent state. The writer thread owns what changes them.

    Those are ``fold``, ``catch_up``, ``adopt``, ``tidy`` and ``close``.

    Open it only while holding the data directory's lock: a file that cannot be read is set aside,
    and a file that another process uses looks just the same.
    """

    def __init__(
        self,
        directory: Path,
        namespace: str,
        *,
        progress: Callable[[int, int], None] | None = None,
        memory_mib: int = 2 * MEMORY_MIB,
        keys: Keys | None = None,
    ) -> None:
        """Open the files and bring the generation up to the log.

        ``memory_mib`` is what DuckDB may use for both of them, half for each.
        ``progress`` is called with (folded sequence, log sequence) while that takes place. With
        ``keys`` sealed events are opened.

        Raises:
            StorageError: the log file cannot be read; it is never set aside by itself, because
                it may be the only whole copy of the log.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.namespace = namespace
        self.memory_mib = memory_mib // 2
        """What DuckDB may use for one file."""
        self._files = GenerationFiles(directory, namespace, self.memory_mib)
        remove_log(rewritten_path(directory / LOG))
        self.log = Log(directory / LOG, namespace, memory_mib=self.memory_mib)
        self._files.rewrite = self.log.rewrite
        self.keys = keys
        self._files.keys = keys
        self._files.discarded = find_discarded(self.log, namespace, keys)
        self._progress = progress
        self._renewed: tuple[int, Generation] | None = None
        self.folding = threading.Lock()
        """Held while the live generation is folded: whoever folds beside it gives way."""
        number, generation = self._open_generation()
        self.found = Found(self.log.sequence, number, generation.sequence)
        """What has gone backwards since the last run shows here."""
        self.live = Live(number, generation, _recent(generation))
        self.catch_up()

    @property
    def number(self) -> int:
        """The number of the generation in use."""
        return self.live.number

    @property
    def kept(self) -> int | None:
        """The number of the generation before it, kept to go back to."""
        return self._files.kept

    @property
    def generation(self) -> Generation:
        """The generation in use."""
        return self.live.generation

    @property
    def recent(self) -> Recent:
        """What is kept in memory of the generation in use."""
        return self.live.recent

    @property
    def sequence(self) -> int:
        """The checkpoint: all up to here is folded and committed."""
        return self.generation.sequence

    def fold(self, messages: Sequence[Recorded]) -> Folded:
        """Append messages to the log, fold them, and make them visible to readers."""
        with self.folding:
            self.log.append(messages)
            folded = self.generation.fold(messages)
            self.recent.publish(folded)
            self._check_discards(folded)
            return folded

    def catch_up(self) -> None:
        """Fold what the log holds beyond the generation: after a crash, or a failed fold.

        Where the generation turned out to be damaged, a new one is folded and takes its place.
        """
        try:
            if self.generation.damage is None:
                for messages in self.log.read(self.generation.sequence):
                    self.recent.publish(self.generation.fold(messages))
                    self._tell(self.generation)
        except duckdb.Error:
            if self.generation.damage is None:
                raise
        if self.generation.damage is not None:
            self._renew(self.generation.damage)

    @contextmanager
    def beside(self, *, kept: bool = False, rewrite: int | None = None) -> Generator[Beside]:
        """Open a generation beside the live one: an empty one, or with ``kept`` the one before it.

        ``rewrite`` is that of a log that takes this one's place together with it. From any thread.
        A new one that was not adopted is removed at the end of the block.

        Raises:
            NotFound: there is none to go back to.
            StorageError: the file cannot be opened.
        """
        if kept:
            number, generation = self._files.open_kept()
        else:
            number, generation = self._files.create(rewrite=rewrite)
        beside = Beside(number, generation, self.log, self.folding)
        try:
            yield beside
        finally:
            if self.number != number:
                generation.close()
                if not kept:
                    self._files.remove(number)

    def adopt(self, beside: Beside, *, keep: bool = True) -> None:
        """Bring a generation up to the log and put it in the live one's place.

        The live one is kept to go back to, or removed without ``keep``; readers who are at it
        finish first. A crash leaves one or the other in use.
        """
        for messages in self.log.read(beside.generation.sequence):
            beside.fold(messages)
        self._install(beside.number, beside.generation, keep=keep)

    def adopt_rewritten(self, log: Path, beside: Beside) -> None:
        """Put a log without what was erased, and the generation folded from it, in their places.

        Nothing is kept to go back to. After a crash in between, the log counts: a generation that
        was folded from the one before is removed when the directory is opened.

        Raises:
            StorageError: somebody reads the log for too long; nothing has changed.
        """
        self.log.replace_by(log)
        self._files.rewrite = self.log.rewrite
        self._install(beside.number, beside.generation, keep=False)

    def erasures_pending(self) -> list[Erasure]:
        """Return the erasures that are folded, and whose targets are still in the log's file."""
        done = {row[0] for row in self.log.erased()}
        with reading(self.generation) as reader:
            return [erasure for erasure in reader.erasures() if erasure.sequence not in done]

    def erasures_done(self) -> list[Erasure]:
        """Return the erasures that the log's file was written anew for."""
        done = {row[0] for row in self.log.erased()}
        with reading(self.generation) as reader:
            return [erasure for erasure in reader.erasures() if erasure.sequence in done]

    def erasures_untold(self, engine: str) -> list[tuple[Erasure, dict[str, int]]]:
        """Return what was erased here and has no record of that yet, with how much it was."""
        counts = {row[0]: {"messages": row[1], "events": row[2]} for row in self.log.erased()}
        with reading(self.generation) as reader:
            told = reader.completed_by(engine)
            return [
                (erasure, counts[erasure.sequence])
                for erasure in reader.erasures()
                if erasure.sequence in counts and erasure.sequence not in told
            ]

    def forget_kept(self) -> None:
        """Remove the generation that is kept to go back to."""
        self._files.point_to(self.number, kept=None)

    def tidy(self) -> bool:
        """Checkpoint the files in an idle moment."""
        return self.log.tidy() and self.generation.tidy()

    def close(self) -> None:
        """Close the files."""
        if self._renewed is not None:
            self._renewed[1].close()
        self.generation.close()
        self.log.close()

    def _renew(self, reason: str) -> None:
        """Fold a new generation; until it is complete, readers have what the damaged one gives."""
        if self._renewed is None:
            self._renewed = self._begin_generation(self.number, reason)
        number, fresh = self._renewed
        try:
            for messages in self.log.read(fresh.sequence):
                fresh.fold(messages)
                self._tell(fresh)
        except duckdb.Error:
            if fresh.damage is not None:
                # It was never complete, so there is nothing to inspect; the disk is at fault.
                self._renewed = None
                fresh.close()
                self._files.remove(number)
            raise
        self._renewed = None
        self._install(number, fresh, keep=True)

    def _install(self, number: int, generation: Generation, *, keep: bool) -> None:
        """Point to a complete generation; the one before is closed when its last reader is done."""
        self._files.point_to(number, kept=self.number if keep else None)
        # At the very sequence of what it replaces, or behind it: nobody goes back in time.
        self.live = Live(number, generation, _recent(generation))

    def _check_discards(self, folded: Folded) -> None:
        """Have a new generation folded where an event was given up too late for this one.

        Its publisher says that rules parked it which are no longer in force, and these had applied
        it before that came. Only one who still works by those rules can say so.
        """
        if not upcast.READABLE_SINCE:
            return
        acts = [event for event, step in folded.steps if step.outcome.reason == "not_parked"]
        if not acts:
            return
        self._files.discarded = find_discarded(self.log, self.namespace, self.keys)
        if self._files.discarded - self.generation.discarded:
            self.generation.damage = "it applied an event that was given up"
            message = "an event was given up that is applied: a new generation is folded"
            raise StorageError(message)

    def _tell(self, generation: Generation) -> None:
        if self._progress is not None:
            self._progress(generation.sequence, self.log.sequence)

    def _open_generation(self) -> tuple[int, Generation]:
        number = self._files.number
        try:
            generation = self._files.open(number)
            if generation.rewrite != self.log.rewrite:
                generation.close()
                return self._begin_generation(number, "something was erased since")
            if generation.sequence <= self.log.sequence:
                self._files.point_to(number, kept=self._files.kept)
                return number, generation
            generation.close()
            reason = "it is ahead of the log"
        except StorageError as error:
            reason = error.message
        return self._begin_generation(number, reason)

    def _begin_generation(self, before: int, reason: str) -> tuple[int, Generation]:
        """Begin a new generation: they are disposable, the odd one is kept for inspection.

        Unless something was ever erased: then it may hold that.
        """
        _log.warning("generation_set_aside", file=self._files.path(before).name, reason=reason)
        number, generation = self._files.create()
        self._files.point_to(number, kept=None if self.log.rewrite else before)
        return number, generation


def _recent(generation: Generation) -> Recent:
    try:
        with reading(generation) as reader:
            return Recent(reader.sequence, reader.parked_counts())
    except duckdb.Error:
        if generation.damage is None:
            raise
        # A new one takes its place at once.
        return Recent(generation.sequence)
