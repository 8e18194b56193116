"""A progress bar on stderr, for people at a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """Shows how many events are done; gone when the block ends.

    Of how many, or else how much of the files was read, if that is known.
    """

    def __init__(self, total: int | None) -> None:
        self._of = total
        self._progress = Progress(
            TextColumn("ingesting"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=total)
        self.show(0)

    def show(self, done: int, share: float | None = None) -> None:
        """Move the bar; ``share`` counts where the number of events is not known."""
        if self._of is not None or share is None:
            count = f"{done} events" if self._of is None else f"{done}/{self._of} events"
            self._progress.update(self._task, completed=done, description=count)
        else:
            count = f"{done} events, {share:.0%} read"
            self._progress.update(self._task, total=1, completed=share, description=count)

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
