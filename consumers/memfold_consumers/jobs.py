"""Long work of one engine, beside its fold: started by one request, followed by others.

One job at a time; asking for the one that runs joins it. A job lives in memory only: an engine that
starts again has none, so each kind of job must be safe to run again. The last ones of each kind are
kept, so that whoever follows one has its result, whatever ran next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from memfold.errors import EngineBusy, InvalidRequest, MemfoldError

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """How far a job is: ``done`` of ``total`` (None: not known) in its ``phase``.

    Set from any thread; ``stopping`` asks the work to end soon, by an exception of its own.
    """

    phase: str = ""
    done: int = 0
    total: int | None = None
    stopping: bool = False

    def begin(self, phase: str, total: int | None = None) -> None:
        """Begin a phase."""
        self.phase, self.done, self.total = phase, 0, total


Work = Callable[[Progress, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""A kind of job: takes its progress and its arguments, returns its result as plain JSON."""

_RUNNING: Final = "running"
KEPT_MAX: Final = 8
"""Jobs of one kind that have ended and are still told of."""


@dataclass(slots=True)
class _Job:
    number: int
    kind: str
    arguments: Mapping[str, Any]
    progress: Progress
    began_at: float
    state: str = _RUNNING
    ended_at: float | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Jobs:
    """The jobs of one engine. Not for other threads than the event loop's."""

    def __init__(self, kinds: Mapping[str, Work]) -> None:
        self._kinds = kinds
        self._job: _Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._kept: dict[str, deque[_Job]] = {}

    def start(self, kind: str, arguments: Mapping[str, Any]) -> int:
        """Start a job, or join it if it runs already with these arguments; return its number.

        Raises:
            InvalidRequest: there is no such kind.
            EngineBusy: another job runs.
        """
        work = self._kinds.get(kind)
        if work is None:
            known = ", ".join(sorted(self._kinds))
            message = f"there is no job {kind[:40]!r}: {known}"
            raise InvalidRequest(message)
        running = self._job
        if running is not None and running.state == _RUNNING:
            if (running.kind, running.arguments) == (kind, arguments):
                return running.number
            message = f"the engine is at another job ({running.kind}): wait until it has ended"
            raise EngineBusy(message)
        number = 1 if running is None else running.number + 1
        now = asyncio.get_running_loop().time()
        self._job = _Job(number, kind, dict(arguments), Progress(), now)
        self._kept.setdefault(kind, deque(maxlen=KEPT_MAX)).append(self._job)
        self._task = asyncio.create_task(self._run(self._job, work), name=f"memfold-{kind}")
        return number

    def state(self, number: int | None = None) -> dict[str, Any] | None:
        """Return a job as plain JSON, without a number the running or the last one.

        None: there was none, or it is long ago.
        """
        job = self._job if number is None else self._numbered(number)
        if job is None:
            return None
        end = asyncio.get_running_loop().time() if job.ended_at is None else job.ended_at
        return {
            "number": job.number,
            "kind": job.kind,
            "state": job.state,
            "phase": job.progress.phase,
            "done": job.progress.done,
            "total": job.progress.total,
            "seconds": round(end - job.began_at, 3),
            "result": job.result,
            "error": job.error,
        }

    def _numbered(self, number: int) -> _Job | None:
        kept = (job for jobs in self._kept.values() for job in jobs)
        return next((job for job in kept if job.number == number), None)

    async def wait(self) -> None:
        """Wait until no job runs."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def stop(self) -> None:
        """Ask the running job to end, and wait for that."""
        if self._task is None or self._job is None:
            return
        self._job.progress.stopping = True
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self, job: _Job, work: Work) -> None:
        loop = asyncio.get_running_loop()
        try:
            job.result = await work(job.progress, job.arguments)
        except MemfoldError as error:
            job.error = {"code": error.code, "message": error.message}
        except asyncio.CancelledError:
            job.error = {"code": EngineBusy.code, "message": "the engine has stopped"}
            raise
        except Exception as error:  # noqa: BLE001  # it is logged, and whoever follows is told
            _log.exception("job_failed", kind=job.kind)
            text = f"the {job.kind} failed ({type(error).__name__}); the engine's log says why"
            job.error = {"code": MemfoldError.code, "message": text}
        finally:
            job.ended_at = loop.time()
            job.state = "done" if job.error is None else "failed"
