"""The job ``verify``: holds the engine's log, the stream, all heads and the projection together.

It only reads, beside the fold, and never ends at the first thing wrong: all is looked at, and each
finding has its place.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import duckdb
import nats.errors
import structlog

from memfold.audit import merkle
from memfold.audit.findings import Findings
from memfold.audit.heads import audit_stream
from memfold.errors import BrokerUnavailable, InvalidRequest, MemfoldError, StorageError
from memfold.jetstream import JetStreamError
from memfold_consumers.claims import GIVEN, Claim, compare, from_arguments, from_file
from memfold_consumers.comparing import compare_published, compare_stream
from memfold_consumers.erased_places import ErasedPlaces
from memfold_consumers.stream_reading import last_sequence
from memfold_consumers.threads import in_thread
from memfold_projections.content import count_rows, differences, frozen
from memfold_projections.database import tells_shortage
from memfold_projections.leaves import CHUNK, Leaves, check_log
from memfold_projections.places import first_differing
from memfold_projections.reader import reading
from memfold_projections.records import Records
from memfold_projections.tables import check_tables

if TYPE_CHECKING:
    from pathlib import Path

    from nats.aio.client import Client

    from memfold_consumers.checkpoint import Checkpoint
    from memfold_consumers.heads import Heads
    from memfold_consumers.jobs import Progress
    from memfold_projections.store import Store

T = TypeVar("T")

CATCH_UP_S: Final = 10.0
ERASURES_MAX: Final = 200
"""Erasures in a report; the query `erasures` has all."""
_ERASURE_FIELDS: Final = ("sequence", "time", "actor", "resource", "thread", "target")
_KNOWN: Final = frozenset({"quick", "heads", "only_heads", "acknowledge"})
_SWITCHES: Final = _KNOWN - {"heads"}

_log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The engine ends, and the verification with it."""


class Verifying:
    """Verifies one engine's copies against each other, and against what is kept elsewhere."""

    def __init__(
        self,
        connection: Client,
        namespace: str,
        store: Store,
        directory: Path,
        heads: Heads,
        checkpoint: Checkpoint,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._store = store
        self._checkpoint = checkpoint
        self._directory = directory
        self._heads = heads

    async def work(self, progress: Progress, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Verify, and return the report.

        Arguments: ``heads``, ``quick`` (no stream, no refold), ``only_heads`` (the tree against the
        given heads alone), ``acknowledge`` (incidents so far are no findings any more).

        Raises:
            InvalidRequest: the arguments are of another form.
            BrokerUnavailable: the server failed meanwhile.
            StorageError: there was no room to fold the log again, or no memory.
        """
        if set(arguments) - _KNOWN or any(
            not isinstance(arguments.get(name, False), bool) for name in _SWITCHES
        ):
            message = f"verify takes {', '.join(sorted(_KNOWN))}"
            raise InvalidRequest(message)
        given = from_arguments(arguments)
        run = _Run(
            self._store,
            self._connection,
            self._namespace,
            self._directory,
            progress,
            self._checkpoint,
            self._heads,
        )
        try:
            if arguments.get("only_heads"):
                await run.tree(given, others=False)
            else:
                await self._all(run, given, arguments)
        except (JetStreamError, nats.errors.Error, TimeoutError) as error:
            message = "the NATS server failed during the verification: run it again"
            raise BrokerUnavailable(message, detail=str(error)) from error
        report = run.report()
        _log.info("verified", ok=report["ok"], size=report["size"], counts=report["counts"])
        return report

    async def _all(self, run: _Run, given: list[Claim], arguments: Mapping[str, Any]) -> None:
        quick = bool(arguments.get("quick"))
        incidents = self._heads.incidents
        if arguments.get("acknowledge"):
            published = await last_sequence(self._connection, audit_stream(self._namespace))
            await in_thread(partial(incidents.acknowledge, published or 0))
        run.incidents = await in_thread(incidents.read)
        for each in run.incidents:
            if not each["acknowledged"]:
                text = f"{each['text']} (noticed {each['time']})"
                run.findings.add(each["kind"], None, each["place"], text)
        await run.log()
        await run.published()
        await run.tree(given)
        if not quick:
            await run.stream()
            await run.refold()


class _Run:
    """One verification: what it has found so far. All of it is as of one sequence, ``size``."""

    def __init__(
        self,
        store: Store,
        connection: Client,
        namespace: str,
        directory: Path,
        progress: Progress,
        checkpoint: Checkpoint,
        heads: Heads,
    ) -> None:
        self._store = store
        self._own = heads
        self._checkpoint = checkpoint
        self._connection = connection
        self._namespace = namespace
        self._directory = directory
        self._progress = progress
        self._size = store.log.sequence
        self._root = merkle.EMPTY_ROOT
        self.findings = Findings()
        self._records = Records(store.log, namespace)
        self._places = ErasedPlaces(
            connection, namespace, store.log, self._records, self.findings, store.keys
        )
        self._phases: list[dict[str, Any]] = []
        self._published: list[Claim] = []
        self._heads = {"published": 0, "file": 0, GIVEN: 0, "agree": 0, "ahead": 0}
        self._erasures: list[dict[str, Any]] = []
        self.incidents: list[dict[str, Any]] = []

    async def log(self) -> None:
        """Compute each leaf anew from its message."""

        async def work() -> int:
            doubtful = await in_thread(self._check_log)
            if doubtful:
                # What was erased just now may have records that are not folded yet.
                await self._caught_up()
            await self._places.check_log(doubtful, self._tick)
            tables = partial(check_tables, self._store.log, self._namespace, self.findings)
            await in_thread(tables)
            self._erasures = await in_thread(self._read_erasures)
            return self._size

        await self._phase("log", self._size, work)

    async def published(self) -> None:
        """Compare the published leaves, and gather the published heads."""

        async def work() -> int:
            checked, self._published = await compare_published(
                self._connection,
                self._namespace,
                self._store.log,
                self._own.known(),
                self.findings,
                self._tick,
            )
            return checked

        await self._phase("published", self._size, work)

    async def tree(self, given: list[Claim], *, others: bool = True) -> None:
        """Compute the root at the size of every head that is known, and compare them."""

        async def work() -> int:
            kept: list[Claim] = []
            if others:
                kept = await in_thread(self._from_file)
            claims = [*self._published, *kept, *given]
            last = await last_sequence(self._connection, self._namespace)
            sizes = {claim.head.size for claim in claims} | {self._size}
            roots = await in_thread(partial(merkle.roots, self._leaves(), sizes))
            self._root = roots[self._size]
            reach = max(self._size, last or 0)
            agree, ahead = compare(claims, roots, reach, self.findings)
            self._heads = {
                "published": len(self._published),
                "file": len(kept),
                GIVEN: len(given),
                "agree": agree,
                "ahead": ahead,
            }
            return self._size

        await self._phase("tree", self._size, work)

    def _from_file(self) -> list[Claim]:
        own = self._own
        return from_file(
            self._directory,
            self._published,
            self.findings,
            engine=own.engine,
            seen=own.incidents.seen(),
        )

    async def stream(self) -> None:
        """Compare every message of the stream."""

        async def work() -> int:
            checked, holes = await compare_stream(
                self._connection,
                self._namespace,
                self._store.log,
                self._size,
                self.findings,
                self._tick,
            )
            if holes:
                await self._caught_up()
                done = {row[0] for row in await in_thread(self._store.log.erased)}
                await self._places.check_stream(holes, done)
            return checked

        await self._phase("stream", self._size, work)

    async def refold(self) -> None:
        """Fold the log again and compare what comes out with what is served."""
        await self._phase("refold", self._size, lambda: in_thread(self._refold))

    def report(self) -> dict[str, Any]:
        """Return what was found as plain JSON."""
        return {
            "ok": self.findings.total == 0,
            "size": self._size,
            "root": self._root.hex(),
            "heads": self._heads,
            "phases": self._phases,
            "findings": self.findings.to_json(),
            "counts": self.findings.counts,
            "erasures": self._erasures,
            "incidents": self.incidents,
        }

    async def _phase(self, name: str, total: int, work: Callable[[], Awaitable[int]]) -> None:
        self._progress.begin(name, total)
        before, began, checked = self.findings.total, time.monotonic(), 0
        try:
            checked = await work()
        except (StorageError, duckdb.Error) as error:
            self._look_at(name, error)
            # What cannot be read is not what was written: the other copies are still looked at.
            text = f"a file cannot be read ({type(error).__name__}); the engine's log says more"
            _log.warning("verify_cannot_read", phase=name, reason=str(error))
            self.findings.add("file_unreadable", None, name, text)
        seconds = time.monotonic() - began
        self._phases.append(
            {
                "name": name,
                "checked": checked,
                "seconds": round(seconds, 3),
                "per_second": round(checked / max(seconds, 1e-6)),
                "findings": self.findings.total - before,
            }
        )

    def _look_at(self, phase: str, error: Exception) -> None:
        """Raise an error that says nothing of the files that are verified."""
        of_live = phase != "refold" or self._store.generation.damage is not None
        if tells_shortage(error) or not (of_live or "file_unreadable" in self.findings.counts):
            # All of the log was read before, so it is the generation beside that cannot be written.
            _log.warning("verify_failed", phase=phase, reason=str(error))
            message = (
                f"the verification cannot go on ({phase}: {type(error).__name__}): is the disk "
                f"full, or the memory? Findings so far: {self.findings.total}. Run it again"
            )
            raise StorageError(message, detail=str(error)) from error

    def _check_log(self) -> list[tuple[int, int]]:
        """Check the log's own tables, again if the file was written anew meanwhile."""
        log = self._store.log
        while True:
            rewrite, found = log.rewrite, Findings()
            doubtful = check_log(log, self._size, self._records.now(), found, self._tick)
            if log.rewrite == rewrite:
                self.findings.take(found)
                return doubtful

    async def _caught_up(self) -> None:
        last = await last_sequence(self._connection, self._namespace)
        # An engine that has stopped folding, or is far behind, is told what it can be told.
        with suppress(MemfoldError):
            await self._checkpoint.reach(last or 0, timeout_s=CATCH_UP_S)

    def _tick(self, done: int) -> None:
        self._progress.done = done
        self._go_on()

    def _go_on(self) -> None:
        if self._progress.stopping:
            raise Stopped

    def _leaves(self) -> Iterator[bytes]:
        leaves = Leaves(self._store.log)
        for after in range(0, self._size, CHUNK):
            yield from leaves.between(after + 1, min(after + CHUNK, self._size))
            self._tick(after)

    def _read_erasures(self) -> list[dict[str, Any]]:
        with reading(self._store.generation) as reader:
            found = reader.erasure_list(None, after=(0, 0), limit=ERASURES_MAX)
        return [{name: each[name] for name in _ERASURE_FIELDS} for each in found]

    def _refold(self) -> int:
        store = self._store

        def folded(sequence: int, _last: int) -> None:
            self._tick(sequence)

        with store.beside() as beside:
            beside.fold_log(store.sequence, progress=folded)
            with frozen(store.generation) as live:
                # What came meanwhile: from here on, the live one moves on without this reader.
                beside.fold_log(live.sequence, progress=folded)
                with frozen(beside.generation) as fresh:
                    self._progress.begin("compare", 2 * count_rows(fresh))
                    found = differences(live, fresh, self._count)
                    for each in found:
                        place = None
                        if each.only_first is not None:
                            place = first_differing(live, fresh, each.table)
                        text = (
                            f"the table {each.table} is not what the log gives: {each.only_first} "
                            f"rows are only in it, {each.only_second} only in what was folded anew"
                        )
                        where = f"generations/{store.number:06d}.duckdb"
                        self.findings.add("refold_differs", place, where, text)
            return beside.messages

    def _count(self, rows: int) -> None:
        self._progress.done += rows
        self._go_on()
