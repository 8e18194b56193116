"""The generations' files of a data directory, and the pointer file that says which one counts.

The pointer names the generation in use and the one that is kept to go back to. Every other file is
unfinished or superseded: it is removed when the directory is opened.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from memfold.durable import sync_directory
from memfold.errors import NotFound
from memfold_projections.generation import Generation

if TYPE_CHECKING:
    from pathlib import Path

    from memfold.provenance import Position
    from memfold.sealed import KeyFinder

POINTER: Final = "generation"
"""The file in the data directory: the number in use, and on a second line the one kept."""

_FILE: Final = re.compile(r"(\d{6,})\.duckdb(?:\.wal|\.tmp)?")


class GenerationFiles:
    """The files, by number. A number is given out once, so no two generations share a file."""

    def __init__(self, directory: Path, namespace: str, memory_mib: int) -> None:
        """Read the pointer and remove what it does not name."""
        self._pointer = directory / POINTER
        self._directory = directory / "generations"
        self._directory.mkdir(exist_ok=True)
        self._namespace = namespace
        self._memory_mib = memory_mib
        self._lock = threading.Lock()
        self.rewrite = 0
        """Of the log that generations are folded from."""
        self.discarded: frozenset[Position] = frozenset()
        """What every generation leaves without effect: see ``discards``."""
        self.keys: KeyFinder | None = None
        """What every generation opens sealed events with."""
        self.number, self.kept = self._read_pointer()
        self._last_given = max((number for number, _ in self._found()), default=self.number)
        for number in {number for number, _ in self._found()} - {self.number, self.kept}:
            self.remove(number)

    def path(self, number: int) -> Path:
        """Return the path of a generation's file."""
        return self._directory / f"{number:06d}.duckdb"

    def open(self, number: int, *, rewrite: int | None = None) -> Generation:
        """Open a generation, or create it, for the log as it is or as it is going to be.

        Raises:
            StorageError: it cannot be read, or was folded by other rules.
        """
        generation = Generation(
            self.path(number),
            self._namespace,
            memory_mib=self._memory_mib,
            rewrite=self.rewrite if rewrite is None else rewrite,
        )
        generation.discarded = self.discarded
        generation.keys = self.keys
        return generation

    def open_kept(self) -> tuple[int, Generation]:
        """Open the generation that is kept to go back to.

        Raises:
            NotFound: there is none.
            StorageError: it cannot be read, or was folded by other rules.
        """
        if self.kept is None or not self.path(self.kept).exists():
            message = "no earlier generation is kept: there is nothing to go back to"
            raise NotFound(message)
        return self.kept, self.open(self.kept)

    def create(self, *, rewrite: int | None = None) -> tuple[int, Generation]:
        """Create an empty generation that the pointer does not name yet; from any thread."""
        with self._lock:
            # Never a number again, even of a file that is gone: a reader may still hold that.
            self._last_given += 1
            number = self._last_given
        return number, self.open(number, rewrite=rewrite)

    def point_to(self, number: int, *, kept: int | None) -> None:
        """Let a generation be the one in use, and remove the one that is kept no longer."""
        fresh = self._pointer.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(f"{number}\n" if kept is None else f"{number}\n{kept}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._pointer)
        sync_directory(self._pointer.parent)
        gone = {self.number, self.kept} - {number, kept, None}
        self.number, self.kept = number, kept
        for other in gone:
            if other is not None:
                self.remove(other)

    def remove(self, number: int) -> None:
        """Remove a generation's files; whoever has them open can read on."""
        for found, path in self._found():
            if found == number:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _found(self) -> list[tuple[int, Path]]:
        matches = [(_FILE.fullmatch(path.name), path) for path in self._directory.iterdir()]
        return [(int(match[1]), path) for match, path in matches if match is not None]

    def _read_pointer(self) -> tuple[int, int | None]:
        with suppress(FileNotFoundError, ValueError):
            numbers = [int(word) for word in self._pointer.read_text().split()]
            if numbers:
                return numbers[0], numbers[1] if len(numbers) > 1 else None
        return 1, None
