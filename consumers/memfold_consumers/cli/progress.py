"""A progress bar on stderr, for people at a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """Shows how many events are done, of how many if that is known; gone when the block ends."""

    def __init__(self, total: int | None) -> None:
        count = "{task.completed:.0f}" if total is None else "{task.completed:.0f}/{task.total:.0f}"
        self._progress = Progress(
            TextColumn("ingesting"),
            BarColumn(),
            TextColumn(f"{count} events"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=total)

    def show(self, done: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
