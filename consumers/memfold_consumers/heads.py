"""Publishes leaves and heads of the log beside the fold, and compares what others have published.

Several engines of a namespace may do so: one series comes of it, because whoever is second reads
what was first. What differs from the own log stops the engine. What cannot be published is tried
again, and folding goes on meanwhile.

What if it dies in between? The file gets a head first, then the stream the leaves, then the head;
each is added only behind what is known to be the last, so nothing is doubled, and the next start
goes on from what it finds.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import structlog

from memfold.audit.heads import BLOCK_LEAVES_MAX, Head
from memfold.errors import LogDiverged, MemfoldError, NotYetConsistent, StorageError
from memfold.jetstream import JetStreamError
from memfold_consumers.agreement import Agreement, Behind
from memfold_consumers.audit_stream import AuditDamaged, AuditStream
from memfold_consumers.incidents import Incidents, now
from memfold_consumers.recall import recall
from memfold_consumers.threads import in_thread
from memfold_consumers.tree_state import (
    HEADS_FILE,
    TreeState,
    append_head,
    copy,
    find_head,
    write_state,
)
from memfold_projections.leaves import Leaves

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from memfold_consumers.checkpoint import Checkpoint
    from memfold_projections.store import Store

BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_MAX_S: Final = 30.0
LAST_S: Final = 2.0
"""How long an orderly stop waits for the last head to be published."""
CANCEL_S: Final = 0.2
HEAD_DIFFERS: Final = "head_differs"

_log = structlog.get_logger(__name__)


_PASSING: Final = (
    Behind,
    AuditDamaged,
    JetStreamError,
    OSError,
    StorageError,
    TimeoutError,
    nats.errors.Error,
)


class Heads:
    """The tree of one engine, and its share in the audit stream. Not for other threads."""

    def __init__(  # the composition root hands over each part
        self,
        *,
        stream: AuditStream,
        store: Store,
        checkpoint: Checkpoint,
        directory: Path,
        engine: str,
        head_s: float,
        on_difference: Callable[[LogDiverged], None],
    ) -> None:
        self._stream = stream
        self._store = store
        self._checkpoint = checkpoint
        self._directory = directory
        self.engine = engine
        self._head_s = head_s
        self._on_difference = on_difference
        self._leaves = Leaves(store.log)
        self.incidents = Incidents(directory)
        self._agreement = Agreement(
            stream=stream,
            leaves=self._leaves,
            checkpoint=checkpoint,
            incidents=self.incidents,
            engine=engine,
            log_found=store.found.log,
        )
        self._state = TreeState()
        self._head: Head | None = None
        """The last head of the file, or the one that is about to be published."""
        self._recalled = False
        self._head_at = 0.0
        self._hurried = asyncio.Event()
        self.error: str | None = None
        """What publishing last failed at, for ``status``."""

    def hurry(self) -> None:
        """Publish now: somebody waits for the leaves."""
        self._hurried.set()

    def status(self) -> dict[str, Any]:
        """Return the last head that this engine and the audit stream agree on, and the lag."""
        tree = self._state.published.tree
        return {
            "size": tree.size,
            "root": tree.root().hex(),
            "lag": max(0, self._checkpoint.sequence - tree.size),
            "error": self.error,
        }

    def known(self) -> tuple[int, int]:
        """Return what is known to be published: the last leaf, and the size of a head."""
        published = self._state.published
        return published.leaves, published.tree.size

    @asynccontextmanager
    async def publishing(self) -> AsyncGenerator[None]:
        """Publish in the background for the length of a block, and once more at its end."""
        running = asyncio.create_task(self._run(), name="memfold-heads")
        try:
            yield
        finally:
            while not running.done():
                # More than once: before Python 3.12 a request that is just answered swallows it.
                running.cancel()
                await asyncio.wait({running}, timeout=CANCEL_S)
            await self._end()

    async def _run(self) -> None:
        failures = 0
        self._head_at = asyncio.get_running_loop().time()
        while self._checkpoint.halted is None:
            try:
                await self._begin()
                if await self._due():
                    await self._step()
                failures, self.error = 0, None
            except LogDiverged as error:
                if self._checkpoint.halted is None:
                    self.error = error.message
                    self._on_difference(error)
                return
            except _PASSING as error:
                self._tell(error)
                await self._keep_head()
                delay_s = min(BACK_OFF_MAX_S, BACK_OFF_FIRST_S * 2 ** min(failures, 10))
                failures += 1
                await asyncio.sleep(delay_s)

    async def _end(self) -> None:
        if self._checkpoint.halted is not None or not self._recalled:
            return
        try:
            async with asyncio.timeout(LAST_S if self._stream.connected else 0):
                await self._begin()
                await self._step()
        except (*_PASSING, MemfoldError) as error:
            self._tell(error)
            await self._keep_head(at_once=True)

    def _tell(self, error: Exception) -> None:
        told = f"{type(error).__name__.lstrip('_')}: {error}"
        if isinstance(error, TimeoutError):
            told = f"no answer: may the engine publish to {self._stream.name}?"
        if told != self.error:
            _log.warning("heads_not_published", reason=told)
        self.error = told

    async def _due(self) -> bool:
        """Wait until there are leaves enough for a head, or it is time for one."""
        clock = asyncio.get_running_loop().time
        waits_s = self._head_at + self._head_s - clock()
        enough = asyncio.ensure_future(
            self._checkpoint.reach(
                self._state.tree.size + BLOCK_LEAVES_MAX, timeout_s=max(0.0, waits_s)
            )
        )
        hurried = asyncio.ensure_future(self._hurried.wait())
        try:
            await asyncio.wait({enough, hurried}, return_when=asyncio.FIRST_COMPLETED)
            self._hurried.clear()
            if enough.done():
                enough.result()
        except NotYetConsistent:
            self._head_at = clock()
        finally:
            enough.cancel()
            hurried.cancel()
        return self._checkpoint.sequence > self._state.published.tree.size

    async def _step(self) -> None:
        """Make heads up to the checkpoint, one for each block, and publish them."""
        last = self._head
        if last is not None and self._state.tree.size < last.size <= self._checkpoint.sequence:
            # The file has it already: nothing is published of this engine that is not in there.
            await in_thread(partial(self._grow, last.size))
        await self._publish()
        while self._checkpoint.sequence > self._state.tree.size:
            upto = min(self._checkpoint.sequence, self._state.tree.size + BLOCK_LEAVES_MAX)
            await in_thread(partial(self._grow, upto))
            await self._publish()
            await in_thread(self._keep_state)

    async def _keep_head(self, *, at_once: bool = False) -> None:
        """Let the file have its heads, whatever becomes of the stream."""
        clock = asyncio.get_running_loop().time
        due = at_once or clock() - self._head_at >= self._head_s
        if not due or not self._recalled or self._checkpoint.sequence <= self._state.tree.size:
            return
        self._head_at = clock()
        try:
            await in_thread(partial(self._grow, self._checkpoint.sequence))
            await in_thread(self._keep_state)
        except (OSError, StorageError) as error:
            self._tell(error)

    def _grow(self, upto: int) -> None:
        """Take the leaves up to a sequence into the tree, and note its head in the file."""
        tree, last = self._state.tree, self._head
        if last is not None and tree.size < last.size <= upto:
            tree.extend(self._leaves.all(last.size, after=tree.size))
            if tree.root() != last.root:
                text = f"the leaves give another root than its head of {last.size} says"
                self.incidents.record(HEAD_DIFFERS, HEADS_FILE, text)
        tree.extend(self._leaves.all(upto, after=tree.size))
        if upto > self._agreement.own_size:
            head = Head(upto, tree.root(), now(), self.engine)
            append_head(self._directory, head)
            self._head, self._agreement.own_size = head, upto

    def _keep_state(self) -> None:
        self._state.generation = self._store.number
        self._state.checkpoint = self._checkpoint.sequence
        self._state.head = 0 if self._head is None else self._head.size
        write_state(self._directory, self._state)

    async def _begin(self) -> None:
        if not self._recalled:
            self._state, self._head = await in_thread(
                partial(recall, self._directory, self._store.found, self.incidents)
            )
            self._agreement.state = self._state
            self._agreement.own_size = 0 if self._head is None else self._head.size
            self._recalled = True
        if not self._agreement.aligned:
            await self._agreement.align()
            await in_thread(self._keep_state)

    async def _publish(self) -> None:
        """Bring the stream to this tree's size, or this engine's knowledge to the stream's."""
        found, size = self._state.published, self._state.tree.size
        while found.leaves < size:
            first, last = found.leaves + 1, min(size, found.leaves + BLOCK_LEAVES_MAX)
            leaves = await in_thread(partial(self._leaves.between, first, last))
            place = await self._stream.add_block(first, leaves, after=found.leaves_place)
            if place is not None:
                found.leaves_place, found.leaves = place, last
                continue
            block = await self._stream.next_block(found.leaves_place)
            await self._agreement.take_block(self._agreement.there(block), first=first)
        while found.tree.size < size:
            head = self._head
            if head is None or head.size != size:
                head = await in_thread(partial(find_head, self._directory, size))
            if head is None:
                # The log was put back: the file has heads of more messages already.
                head = Head(size, self._state.tree.root(), now(), self.engine)
            place = await self._stream.add_head(head, after=found.heads_place)
            if place is not None:
                found.heads_place, found.tree = place, copy(self._state.tree)
                continue
            other = await self._stream.next_head(found.heads_place)
            await self._agreement.take_head(*self._agreement.there(other))
