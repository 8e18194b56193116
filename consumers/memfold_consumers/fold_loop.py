"""The fold loop: align, take, fold, wake. It retries what passes and stops at what does not.

A broker or disk failure is retried for as long as it takes, never counted against an event. A
stream that is not our log stops the loop, visibly and for good: skipping would lose events.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import duckdb
import nats.errors
import structlog

from memfold.errors import LogDiverged, MemfoldError, StorageError, StreamMissing
from memfold.jetstream import JetStreamError, api, read_recorded
from memfold.refilled import Refilled
from memfold_consumers.alignment import SURVIVORS_TRIED_MAX, check_alignment
from memfold_consumers.holes import HoleReader
from memfold_consumers.intake import Intake, IntakeLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from nats.aio.client import Client

    from memfold_consumers.checkpoint import Checkpoint
    from memfold_projections.store import Store

T = TypeVar("T")

BACK_OFF_FIRST_S: Final = 0.05
BACK_OFF_MAX_S: Final = 5.0
STUCK_FAILURES: Final = 3
"""After so many failures in a row at one sequence the next message is fetched by itself."""
IDLE_S: Final = 1.0
"""Nothing to fold for so long: a good moment to checkpoint the files."""

_log = structlog.get_logger(__name__)


class FoldLoop:
    """Folds one stream into one store, from its checkpoint on."""

    def __init__(  # the composition root hands over each part
        self,
        *,
        connection: Client,
        stream: str,
        store: Store,
        writer: ThreadPoolExecutor,
        checkpoint: Checkpoint,
        align_s: float,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._store = store
        self._writer = writer
        self._checkpoint = checkpoint
        self._align_s = align_s
        self._holes = HoleReader(connection, stream)
        self._intake: Intake | None = None
        self._failures = 0
        self._stuck_at = -1
        self._diverged: LogDiverged | None = None
        self.stream_sequence = 0
        """The stream's last sequence, as far as known: lag is this minus the checkpoint."""
        self.on_erased: Callable[[], None] = lambda: None
        """Called after a fold that has met an ``Erased``."""
        self.error: str | None = None
        """What the loop is retrying just now, for ``status``."""
        self.aligned = asyncio.Event()
        """Set once the stream was first found to be our log, or the loop has stopped."""

    def begin_anew(self, reason: str) -> None:
        """Catch up, align and take again.

        After a reconnect the server may be another or have lost something; a reader may have met
        a damaged generation.
        """
        if self._intake is not None:
            self._intake.lose(reason)

    def diverge(self, error: LogDiverged) -> None:
        """Stop for good: the log was found to be another one than it should be."""
        self._diverged = error
        self.begin_anew(error.message)

    async def run(self) -> None:
        """Fold until cancelled, or until the log has diverged.

        Raises:
            StorageError: DuckDB has invalidated its files' state; the process must start again.
        """
        while True:
            try:
                await self._run_once()
            except (LogDiverged, StreamMissing) as error:
                if isinstance(error, StreamMissing) and self._checkpoint.sequence == 0:
                    await self._back_off(error)
                    continue
                self._stop(error)
                return
            except (duckdb.FatalException, duckdb.InternalException) as error:
                if self._store.generation.damage is not None:
                    await self._back_off(error)
                    continue
                message = "a projection file can no longer be used; start the engine again"
                raise StorageError(message, detail=str(error)) from error
            except (
                IntakeLost,
                JetStreamError,
                MemfoldError,
                OSError,
                TimeoutError,
                duckdb.Error,
                nats.errors.Error,
            ) as error:
                await self._back_off(error)

    async def _run_once(self) -> None:
        self._check_diverged()
        # After a failed fold the log may be ahead of the generation.
        await self._write(self._store.catch_up)
        self._checkpoint.advance(self._store.sequence)
        await self._align()
        if self._failures >= STUCK_FAILURES and self._stuck_at == self._store.sequence:
            await self._fold_one()
        self._stuck_at = self._store.sequence
        async with Intake(
            self._connection, self._stream, self._store.sequence, fill=self._holes.fill
        ) as intake:
            self._intake = intake
            self._check_diverged()
            self.aligned.set()
            try:
                await self._fold_all(intake)
            finally:
                self._intake = None

    def _check_diverged(self) -> None:
        if self._diverged is not None:
            raise self._diverged

    async def _fold_one(self) -> None:
        """Ask for the next message in JSON: it may be one that the client cannot be sent at all.

        A form feed in a subject breaks the protocol's line for nats-py, and so the connection.
        """
        config = (await api(self._connection, f"STREAM.INFO.{self._stream}"))["config"]
        recorded = await read_recorded(
            self._connection,
            self._stream,
            self._store.sequence + 1,
            refilled=Refilled.of(config),
        )
        if recorded is not None:
            folded = await self._write(partial(self._store.fold, [recorded]))
            if folded.changes.erasures:
                self.on_erased()
            self._checkpoint.advance(self._store.sequence)

    async def _fold_all(self, intake: Intake) -> None:
        clock = asyncio.get_running_loop().time
        align_at = clock() + self._align_s
        while True:
            if not await intake.wait(IDLE_S):
                # Nothing waits and the server is heard: whatever failed before is over.
                self._failures, self.error = 0, None
                await self._write(self._store.tidy)
                await intake.wait(max(0.0, align_at - clock()))
            if clock() >= align_at:
                await self._align()
                align_at = clock() + self._align_s
            messages = await intake.take()
            if not messages:
                continue
            folded = await self._write(partial(self._store.fold, messages))
            if folded.changes.erasures:
                self.on_erased()
            self.stream_sequence = max(intake.stream_sequence, self._store.sequence)
            self._checkpoint.advance(self._store.sequence)
            self._failures, self.error = 0, None

    async def _align(self) -> None:
        leaves = await self._write(lambda: self._store.log.tail(SURVIVORS_TRIED_MAX))
        self.stream_sequence = await check_alignment(
            self._connection, self._stream, leaves, self._holes.explain
        )

    async def _write(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def _stop(self, error: MemfoldError) -> None:
        diverged = error if isinstance(error, LogDiverged) else LogDiverged(error.message)
        _log.error("fold_stopped", code=diverged.code, reason=diverged.message)
        self.error = diverged.message
        self._checkpoint.halt(diverged)
        self.aligned.set()

    async def _back_off(self, error: Exception) -> None:
        delay_s = min(BACK_OFF_MAX_S, BACK_OFF_FIRST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self.error = f"{type(error).__name__}: {error}"
        _log.warning("fold_retried", reason=self.error, delay_s=delay_s)
        await asyncio.sleep(delay_s)
