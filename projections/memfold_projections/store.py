"""The data directory's two kinds of file as one: the log, and the generation folded from it.

Order of writing is log first, then generation, each in its own transaction: a crash in between
leaves a generation that is behind, and opening folds the rest from the log. Never the other way.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
import structlog

from memfold.errors import StorageError
from memfold_projections.database import MEMORY_MIB
from memfold_projections.generation import Folded, Generation
from memfold_projections.log import Log
from memfold_projections.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from memfold.wire import Recorded

POINTER: Final = "generation"
"""The file in the data directory that names the generation in use."""

_log = structlog.get_logger(__name__)


class Store:
    """Log, generation and recent state. The writer thread owns ``fold``, ``tidy`` and ``close``.

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
    ) -> None:
        """Open the files and bring the generation up to the log.

        ``memory_mib`` is what DuckDB may use for both of them, half for each.
        ``progress`` is called with (folded sequence, log sequence) while that takes place.

        Raises:
            StorageError: the log file cannot be read; it is never set aside by itself, because
                it may be the only whole copy of the log.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._namespace = namespace
        self._memory_mib = memory_mib // 2
        self.log = Log(directory / "log.duckdb", namespace, memory_mib=self._memory_mib)
        self._progress = progress
        self._renewed: tuple[int, Generation] | None = None
        self.number, self.generation = self._open_generation()
        self.recent = Recent(self.generation.sequence)
        self.catch_up()

    @property
    def sequence(self) -> int:
        """The checkpoint: all up to here is folded and committed."""
        return self.generation.sequence

    def fold(self, messages: Sequence[Recorded]) -> Folded:
        """Append messages to the log, fold them, and make them visible to readers."""
        self.log.append(messages)
        folded = self.generation.fold(messages)
        self.recent.publish(folded)
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
            self._renewed = self._begin_generation(self.generation.path, reason)
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
                fresh.path.unlink(missing_ok=True)
            raise
        # The damaged one is closed when its last reader lets go of it.
        self.recent = Recent(fresh.sequence)
        self.number, self.generation, self._renewed = number, fresh, None

    def _tell(self, generation: Generation) -> None:
        if self._progress is not None:
            self._progress(generation.sequence, self.log.sequence)

    def _generation(self, path: Path) -> Generation:
        return Generation(path, self._namespace, memory_mib=self._memory_mib)

    def _path(self, number: int) -> Path:
        return self._directory / "generations" / f"{number:06d}.duckdb"

    def _open_generation(self) -> tuple[int, Generation]:
        number = self._read_pointer()
        path = self._path(number)
        path.parent.mkdir(exist_ok=True)
        try:
            generation = self._generation(path)
            if generation.sequence <= self.log.sequence:
                self._write_pointer(number)
                return number, generation
            generation.close()
            reason = "it is ahead of the log"
        except StorageError as error:
            reason = error.message
        return self._begin_generation(path, reason)

    def _begin_generation(self, path: Path, reason: str) -> tuple[int, Generation]:
        """Begin a new generation: they are disposable, the odd one is kept for inspection."""
        _log.warning("generation_set_aside", file=path.name, reason=reason)
        found = [file.stem for file in path.parent.glob("*.duckdb") if file.stem.isdecimal()]
        number = max(map(int, found), default=0) + 1
        generation = self._generation(self._path(number))
        self._write_pointer(number)
        return number, generation

    def _read_pointer(self) -> int:
        try:
            return int((self._directory / POINTER).read_text())
        except (FileNotFoundError, ValueError):
            return 1

    def _write_pointer(self, number: int) -> None:
        pointer = self._directory / POINTER
        fresh = pointer.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(pointer)
