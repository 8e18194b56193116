"""Runs a job of the engine and shows how far it is: a bar at a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from memfold.errors import EngineUnavailable
from memfold.requests import decode_error

if TYPE_CHECKING:
    from memfold_consumers.cli.access import Access

POLL_S: Final = 0.1


async def run_job(
    access: Access,
    kind: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    engine: str | None = None,
) -> dict[str, Any]:
    """Run a job to its end, on the engine of that id or the one that answers; return its result.

    Raises:
        EngineBusy: the engine is at another job.
        EngineUnavailable: the engine ended meanwhile, and the job with it.
        MemfoldError: what the job failed at.
    """
    if engine is None:
        engine = str((await access.status())["engine"])
    asked = {"start": kind, "arguments": dict(arguments or {})}
    try:
        answer = await access.ask("job", engine, asked, fresh=False)
    except EngineUnavailable:
        message = f"no engine of the id {engine} answers: memfold status tells the id of one"
        raise EngineUnavailable(message) from None
    number = answer["job"]["number"]
    with Shown() as shown:
        while True:
            job = answer["job"]
            if job is None or (job["kind"], job["number"]) != (kind, number):
                message = f"the engine started again, and its {kind} ended with it: run it again"
                raise EngineUnavailable(message)
            shown.show(job)
            if job["error"] is not None:
                raise decode_error(job["error"])
            if job["state"] == "done":
                result: dict[str, Any] = job["result"]
                return {**result, "seconds": job["seconds"]}
            await asyncio.sleep(POLL_S)
            answer = await access.ask("job", engine, {"number": number}, fresh=False)


class Shown:
    """A bar with phase, rate and time left, on stderr at a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=None, count="", rate="")
        self._phase = ""

    def show(self, job: Mapping[str, Any]) -> None:
        """Show the state of a job."""
        if job["phase"] != self._phase:
            self._phase = job["phase"]
            self._bar.reset(self._task, total=job["total"], description=self._phase)
        done, total = job["done"], job["total"]
        speed = self._bar.tasks[0].speed
        self._bar.update(
            self._task,
            completed=done,
            total=total,
            count=f"{done:,}" if total is None else f"{done:,}/{total:,}",
            rate="" if speed is None else f"{speed:,.0f}/s",
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
