"""An engine's share in an erasure: drop all copies, write the files anew, and record that.

What if it dies in between? What is to be erased stands in the generation, what was erased in the
log's file, and what was told in the log: the next start goes on with what is missing.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import duckdb
import nats.errors
import orjson
import structlog

from memfold.building import prepare
from memfold.erasure import FACET
from memfold.errors import BrokerUnavailable, EngineBusy, KeyMissing, MemfoldError
from memfold.events import ErasureCompleted
from memfold.jetstream import REQUEST_S, JetStreamError, api
from memfold.subjects import Address, publish_subject
from memfold_consumers.threads import in_thread
from memfold_projections.history import keyids_after
from memfold_projections.rewriting import rewriting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from concurrent.futures import ThreadPoolExecutor

    from memfold.erasure import Erasure
    from memfold_consumers.audit_stream import Connection
    from memfold_consumers.checkpoint import Checkpoint
    from memfold_consumers.jobs import Jobs, Progress
    from memfold_projections.store import Store

ACTOR: Final = "memfold-engine"
"""Who publishes ``ErasureCompleted``."""
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_MAX_S: Final = 30.0

_PASSING: Final = (
    MemfoldError,
    OSError,
    TimeoutError,
    duckdb.Error,
    nats.errors.Error,
    JetStreamError,
)

_log = structlog.get_logger(__name__)


class Stopping(Exception):
    """The engine ends: what was begun is begun again at the next start."""


class Erasing:
    """Erases what the fold has met, one rewriting after the other."""

    kind: Final = "erase"

    def __init__(
        self,
        *,
        connection: Connection,
        store: Store,
        writer: ThreadPoolExecutor,
        checkpoint: Checkpoint,
        engine: str,
    ) -> None:
        self._connection = connection
        self._store = store
        self._writer = writer
        self._checkpoint = checkpoint
        self._engine = engine
        self._wake = asyncio.Event()

    def note(self) -> None:
        """Say that an ``Erased`` was folded."""
        self._wake.set()

    @asynccontextmanager
    async def erasing(self, jobs: Jobs) -> AsyncGenerator[None]:
        """Erase in the background for the length of a block, as jobs among others."""
        running = asyncio.create_task(self._run(jobs), name="memfold-erasing")
        try:
            yield
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def work(self, progress: Progress, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Erase all that is pending: the work of a job."""
        del arguments
        found = await in_thread(self._store.erasures_pending)
        late: set[int] = set()
        missing = ""
        if found:
            progress.begin("rewriting", self._store.log.sequence)
        while pending := [erasure for erasure in found if erasure.sequence not in late]:
            waiting, text = await in_thread(partial(self._try_rewrite, pending, progress))
            if not waiting:
                break
            # One that waits for a key keeps no other one waiting.
            late.add(waiting)
            missing = text
        if missing:
            raise KeyMissing(missing)
        return {"erasures": len(found)}

    def _try_rewrite(self, pending: list[Erasure], progress: Progress) -> tuple[int, str]:
        """Return which erasure lacks a key, not the error: its frames would go on reading."""
        try:
            self._rewrite(pending, progress)
        except KeyMissing as error:
            return error.erasure, error.message
        return 0, ""

    def _rewrite(self, pending: list[Erasure], progress: Progress) -> None:
        def show(done: int, total: int) -> None:
            progress.done, progress.total = done, total
            if progress.stopping:
                raise Stopping

        with rewriting(self._store, pending) as rewritten:
            rewritten.run(show)
            self._writer.submit(rewritten.finish).result()
        _log.info(
            "erased",
            erasures=sorted(rewritten.messages),
            messages=sum(rewritten.messages.values()),
            events=sum(rewritten.events.values()),
        )

    async def _run(self, jobs: Jobs) -> None:
        failures = 0
        while True:
            try:
                self._wake.clear()
                if self._checkpoint.halted is not None:
                    return
                # First what was done before a failure: one erasure may wait for a key for long.
                await self._tell_all()
                if await in_thread(self._store.erasures_pending):
                    await self._run_job(jobs)
                    await self._tell_all()
                failures = 0
                await self._wake.wait()
            except _PASSING as error:
                delay_s = min(BACK_OFF_MAX_S, BACK_OFF_FIRST_S * 2 ** min(failures, 10))
                failures += 1
                reason = f"{type(error).__name__}: {error}"
                _log.warning("erasure_retried", reason=reason, delay_s=delay_s)
                await asyncio.sleep(delay_s)

    async def _run_job(self, jobs: Jobs) -> None:
        while True:
            await jobs.wait()
            try:
                number = jobs.start(self.kind, {})
            except EngineBusy:
                continue
            await jobs.wait()
            state = jobs.state(number)
            if state is not None and state["error"] is not None:
                raise MemfoldError(state["error"]["message"])
            return

    async def _tell_all(self) -> None:
        untold = await in_thread(partial(self._store.erasures_untold, self._engine))
        for erasure, counts in untold:
            await self._destroy_keys(erasure)
            await self._tell(erasure, counts)

    async def _destroy_keys(self, erasure: Erasure) -> None:
        """Destroy the keys that an erased resource had, but for what is needed since.

        Whoever publishes under a key that is no longer current when it has landed publishes again.
        So only what stands in the stream by now can need one of them.
        """
        keys, resource = self._store.keys, erasure.resource
        if keys is None or resource is None or erasure.target != "resource":
            return
        # Those that the eraser has retired: a current one may be of what came since.
        retired = await in_thread(partial(keys.retired, resource))
        info = await api(self._connection, f"STREAM.INFO.{self._store.namespace}")
        await self._checkpoint.reach(int(info["state"]["last_seq"]), timeout_s=BACK_OFF_MAX_S)
        needed = await in_thread(partial(keyids_after, self._store.log, resource, erasure.sequence))
        gone = [keyid for keyid in retired if keyid not in needed]
        destroyed = await in_thread(partial(keys.destroy, resource, gone))
        _log.info("keys_destroyed", erasure=erasure.sequence, keys=destroyed)

    async def _tell(self, erasure: Erasure, counts: dict[str, int]) -> None:
        """Publish the record of an erasure; at every try the same, so that one is folded."""
        address = Address(erasure.resource, erasure.thread, FACET, ACTOR)
        event = prepare(
            {
                "specversion": "1.0",
                "id": f"erasure-{erasure.sequence}-{self._engine}",
                "type": ErasureCompleted.type,
                "source": ACTOR,
                "data": {
                    "erasure": erasure.sequence,
                    "engine": self._engine,
                    "stores": {f"log_{name}": count for name, count in counts.items()},
                },
            },
            address,
        )
        subject = publish_subject(self._store.namespace, address)
        reply = await self._connection.request(subject, event.payload, timeout=REQUEST_S)
        answer: dict[str, Any] = orjson.loads(reply.data)
        if "seq" not in answer:
            message = f"the stream refused the record of an erasure: {answer.get('error')}"
            raise BrokerUnavailable(message)
        await self._checkpoint.reach(int(answer["seq"]), timeout_s=BACK_OFF_MAX_S)
