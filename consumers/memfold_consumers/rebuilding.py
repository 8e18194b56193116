"""The job ``rebuild``: a new generation beside the live one, compared with it, put in its place.

The engine serves and folds meanwhile. Nothing here changes the log or the stream.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from memfold.erasure import without_erased
from memfold.errors import InvalidRequest, LogDiverged
from memfold.jetstream import api
from memfold.leaf import leaf_hash
from memfold_consumers.holes import HoleReader
from memfold_consumers.intake import Intake
from memfold_projections.content import Difference, count_rows, differences, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nats.aio.client import Client

    from memfold.wire import Recorded
    from memfold_consumers.checkpoint import Checkpoint
    from memfold_consumers.jobs import Progress
    from memfold_projections.refolding import Beside
    from memfold_projections.store import Store

T = TypeVar("T")

NEAR_MESSAGES: Final = 100
"""So few may be left for the writer thread: it folds them while the live fold waits."""
ROUNDS_MAX: Final = 20
"""So often the rest is folded beside: each round leaves what arrived during the one before."""
SILENT_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The engine ends, and the rebuild with it."""


@dataclass(frozen=True, slots=True)
class _Asked:
    source: str
    rollback: bool


@dataclass(slots=True)
class _Adopted:
    sequence: int = 0
    before: int = 0
    generation: int = 0
    pause_ms: float = 0.0


class Rebuilding:
    """Computes the projection anew, or goes back to the generation before."""

    def __init__(
        self,
        store: Store,
        checkpoint: Checkpoint,
        *,
        writer: Executor,
        connection: Client,
        stream: str,
    ) -> None:
        self._store = store
        self._checkpoint = checkpoint
        self._writer = writer
        self._connection = connection
        self._stream = stream

    async def work(self, progress: Progress, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a job's arguments ask for: ``from`` (log or stream), or ``rollback``.

        Raises:
            InvalidRequest: they ask for something else.
            LogDiverged: a message of the stream is not the one in the log.
            NotFound: no earlier generation is kept.
            StorageError: the kept generation cannot be opened.
        """
        asked = _read(arguments)
        began = time.monotonic()
        # Closing the block waits for the thread, so it never outlives the store.
        with ThreadPoolExecutor(1, thread_name_prefix="memfold-rebuild") as thread:
            stack = ExitStack()
            try:
                beside = await _run(
                    thread,
                    partial(stack.enter_context, self._store.beside(kept=asked.rollback)),
                )
                if asked.source == "stream":
                    await self._fold_stream(thread, beside, progress)
                await self._fold_log(thread, beside, progress)
                found: list[Difference] | None = None
                folded_s = time.monotonic() - began
                if not asked.rollback:
                    found = await _run(thread, partial(self._compare, beside, progress))
                    await self._fold_log(thread, beside, progress)
                progress.begin("swap")
                adopted = await _run(self._writer, partial(self._adopt, beside))
                self._checkpoint.advance(self._store.sequence)
            finally:
                await _run(thread, stack.close)
        return _result(asked, beside, adopted, found, folded_s, time.monotonic() - began)

    async def _fold_log(self, thread: Executor, beside: Beside, progress: Progress) -> None:
        """Fold what the log holds until there is little left."""
        progress.begin("fold", self._store.sequence)

        def show(folded: int, _total: int) -> None:
            progress.done = folded
            _go_on(progress)

        for _ in range(ROUNDS_MAX):
            end = self._store.sequence
            await _run(thread, partial(beside.fold_log, end, progress=show))
            progress.total = self._store.sequence
            if self._store.sequence - beside.sequence <= NEAR_MESSAGES:
                return

    async def _fold_stream(self, thread: Executor, beside: Beside, progress: Progress) -> None:
        """Fold what the stream holds, each message compared with its leaf in the log."""
        end = self._store.sequence
        state = (await api(self._connection, f"STREAM.INFO.{self._stream}"))["state"]
        older = min(int(state["first_seq"]) - 1, end)
        if older > 0:
            await _run(thread, partial(beside.fold_log, older))
        progress.begin("fold", end)
        fill = HoleReader(self._connection, self._stream).fill
        async with Intake(self._connection, self._stream, beside.sequence, fill=fill) as intake:
            while beside.sequence < end:
                _go_on(progress)
                if not await intake.wait(SILENT_S):
                    continue
                messages = [each for each in await intake.take() if each.sequence <= end]
                if messages:
                    work = partial(self._fold_compared, beside, messages, progress)
                    await _run(thread, work)

    def _fold_compared(
        self, beside: Beside, messages: Sequence[Recorded], progress: Progress
    ) -> None:
        leaves = self._store.log.leaves(messages[0].sequence - 1, messages[-1].sequence)
        for message in messages:
            leaf = leaf_hash(message) if message.leaf is None else message.leaf
            if leaf != leaves.get(message.sequence):
                text = f"the stream's message {message.sequence} is not the one in log.duckdb"
                raise LogDiverged(text)
        messages = self._without_erased(messages, leaves)

        def show(folded: int) -> None:
            progress.done = folded
            _go_on(progress)

        beside.fold_gently([messages], show)

    def _without_erased(
        self, messages: Sequence[Recorded], leaves: Mapping[int, bytes]
    ) -> list[Recorded]:
        """Leave out what was erased here, also where the stream still has it."""
        log = self._store.log
        whole = log.whole(messages[0].sequence - 1, messages[-1].sequence)
        if len(whole) == len(messages):
            return list(messages)
        erasures = self._store.erasures_done()
        return [
            message
            if message.leaf is not None or message.sequence in whole
            else without_erased(message, erasures, leaves[message.sequence], self._store.keys)[0]
            for message in messages
        ]

    def _compare(self, beside: Beside, progress: Progress) -> list[Difference]:
        """Compare the live generation as it is now with the new one at the same sequence."""
        with frozen(self._store.generation) as live:
            beside.fold_log(live.sequence)
            with frozen(beside.generation) as fresh:
                progress.begin("compare", 2 * count_rows(fresh))

                def told(rows: int) -> None:
                    progress.done += rows
                    _go_on(progress)

                return differences(live, fresh, told)

    def _adopt(self, beside: Beside) -> _Adopted:
        """Put it in the live one's place; in the writer thread, so that both are at one end."""
        began = time.perf_counter()
        before = self._store.number
        self._store.adopt(beside)
        pause_ms = round((time.perf_counter() - began) * 1000, 1)
        return _Adopted(self._store.sequence, before, self._store.number, pause_ms)


async def _run(executor: Executor, work: Callable[[], T]) -> T:
    """Run work in a thread; also if cancelled meanwhile, it has ended when this returns."""
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise


def _go_on(progress: Progress) -> None:
    if progress.stopping:
        raise Stopped


def _read(arguments: Mapping[str, Any]) -> _Asked:
    source = arguments.get("from", "log")
    rollback = arguments.get("rollback", False)
    known = {"from", "rollback"}
    if (
        source not in ("log", "stream")
        or not isinstance(rollback, bool)
        or arguments.keys() - known
    ):
        message = 'a rebuild takes "from" (log or stream) and "rollback" (true or false)'
        raise InvalidRequest(message)
    if rollback and source == "stream":
        message = "going back catches up from the log, never from the stream"
        raise InvalidRequest(message)
    return _Asked(source, rollback)


def _result(
    asked: _Asked,
    beside: Beside,
    adopted: _Adopted,
    found: list[Difference] | None,
    folded_s: float,
    seconds: float,
) -> dict[str, Any]:
    differing = [
        {"table": each.table, "only_before": each.only_first, "only_after": each.only_second}
        for each in found or []
    ]
    answer = {
        "generation": adopted.generation,
        "before": adopted.before,
        "from": "kept" if asked.rollback else asked.source,
        "sequence": adopted.sequence,
        "events": beside.events,
        "messages": beside.messages,
        "seconds": round(seconds, 3),
        "per_second": round(beside.events / max(folded_s, 1e-6)),
        "same": None if found is None else not found,
        "differences": differing,
        "pause_ms": adopted.pause_ms,
    }
    _log.info(
        "generation_rebuilt", **{key: answer[key] for key in ("generation", "before", "same")}
    )
    if differing:
        _log.error("rebuild_differs", differences=differing, kept=adopted.before)
    return answer
