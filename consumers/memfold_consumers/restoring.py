"""Restores a lost, truncated or forked event stream from the engine's own copy of the log.

Each step can be run again after a crash. The stream takes no event meanwhile, and nothing is
deleted from it that does not stand in a synced file first. The caller holds the engine's lock.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import structlog

from memfold.errors import BrokerUnavailable, StorageError
from memfold.jetstream import JetStreamError, api
from memfold.leaf import leaf_hash
from memfold.refilled import METADATA, Refilled
from memfold.streams import NS_PER_S, ensure_streams, event_stream
from memfold.subjects import refill_subjects
from memfold_consumers.diagnosis import Diagnosis, check_log, diagnose, stream_info
from memfold_consumers.refilling import Refill
from memfold_consumers.restore_files import AHEAD, Plan, RestoreFiles
from memfold_consumers.stream_reading import read_stream
from memfold_projections.rewriting import rewriting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nats.aio.client import Client

    from memfold.wire import Recorded
    from memfold_consumers.jobs import Progress
    from memfold_consumers.settings import EngineSettings
    from memfold_projections.store import Store

MARK: Final = "memfold_restore"
"""In the stream's metadata: which restore has made it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was found and what was done; ``file`` has what could not go back into the stream."""

    found: Diagnosis
    done: bool = False
    refilled: int = 0
    published: int = 0
    file: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        found = self.found
        return {
            "found": found.kind,
            "log": found.log,
            "stream": found.last if found.exists else None,
            "whole": found.whole,
            "own": found.own,
            "altered": found.altered,
            "foreign": found.foreign,
            "done": self.done,
            "refilled": self.refilled,
            "published": self.published,
            "file": self.file,
        }


class Restoring:
    """One restore of one namespace's event stream from one data directory's log."""

    def __init__(
        self, connection: Client, settings: EngineSettings, store: Store, progress: Progress
    ) -> None:
        self._connection = connection
        self._namespace = settings.namespace
        self._settings = settings
        self._store = store
        self._log = store.log
        self._progress = progress
        self._files = RestoreFiles(settings.data)
        self._refill = Refill(connection, settings.namespace)

    async def run(self, *, dry_run: bool) -> Restored:
        """Find out what is wrong, and unless it is a dry run set it right.

        Raises:
            BrokerUnavailable: the server failed; run it again.
            StorageError: log.duckdb is not whole, so nothing was changed.
        """
        try:
            return await self._run(dry_run=dry_run)
        except (nats.errors.Error, JetStreamError, TimeoutError) as error:
            message = f"the NATS server failed ({error}): run the restore again"
            raise BrokerUnavailable(message) from error

    async def _run(self, *, dry_run: bool) -> Restored:
        plan = self._files.plan()
        self._finish_erasures()
        found = await self._diagnose()
        if plan is None and found.kind == "intact" and not await self._is_frozen():
            return Restored(found)
        if dry_run:
            return Restored(found)
        self._progress.begin("check the log", self._log.sequence)
        check_log(self._log, self._namespace, self._told)
        if plan is None:
            await self._freeze()
            # What came before the stream took no more counts, too.
            found = await self._diagnose()
            if not found.appendable and found.kind != "intact":
                plan = await self._plan(found)
        if plan is not None:
            await self._make_anew(plan)
        refilled = await self._put_back(plan)
        await self._check(plan)
        await self._thaw()
        self._files.forget()
        await ensure_streams(
            self._connection,
            self._namespace,
            replicas=self._settings.replicas,
            duplicate_window_s=self._settings.duplicate_window_s,
        )
        _log.info("stream_restored", found=found.kind, refilled=refilled)
        foreign, altered = (0, None) if plan is None else (plan.foreign, plan.altered)
        return Restored(found, done=True, refilled=refilled, published=foreign, file=altered)

    def _finish_erasures(self) -> None:
        """Take out of the log what it owes to an erasure: nothing of that may go back."""
        pending = self._store.erasures_pending()
        if pending:
            with rewriting(self._store, pending) as rewritten:
                rewritten.run(lambda _done, _total: None)
                rewritten.finish()

    async def _diagnose(self) -> Diagnosis:
        if await self._is_frozen():
            await self._refill.clear_holes()
        self._progress.begin("compare the stream", self._log.sequence)
        return await diagnose(self._connection, self._namespace, self._log, self._told)

    def _told(self, sequence: int) -> None:
        self._progress.done = sequence

    async def _is_frozen(self) -> bool:
        info = await stream_info(self._connection, self._namespace)
        return info is not None and _frozen(info["config"], self._namespace)

    async def _freeze(self) -> None:
        """Let the stream take nothing but what is put back; create it if it is gone."""
        info = await stream_info(self._connection, self._namespace)
        if info is None:
            chosen = {
                "num_replicas": self._settings.replicas,
                "duplicate_window": int(self._settings.duplicate_window_s * NS_PER_S),
            }
            settings = {**event_stream(self._namespace), **chosen}
            await self._create(settings, uuid.uuid4().hex, self._log.sequence)
        elif not _frozen(info["config"], self._namespace):
            await self._update(info["config"], _closed(self._namespace))

    async def _create(self, settings: dict[str, Any], mark: str, upto: int) -> None:
        changes = {
            **_closed(self._namespace),
            "metadata": _metadata({}, Refilled().plus(1, upto), mark),
        }
        await api(self._connection, f"STREAM.CREATE.{self._namespace}", {**settings, **changes})

    async def _update(self, config: dict[str, Any], changes: dict[str, Any]) -> None:
        await api(self._connection, f"STREAM.UPDATE.{self._namespace}", {**config, **changes})

    async def _plan(self, found: Diagnosis) -> Plan:
        """Save what the stream has that the log has not, then write down that it may go."""
        ahead = self._files.saver(AHEAD)
        mark = uuid.uuid4().hex
        name = f"restore-altered-{mark[:8]}.ndjson"
        altered = self._files.saver(name)
        async for message in self._not_ours():
            (ahead if message.sequence > found.last_own else altered).add(message)
        ahead.keep()
        if altered.count:
            altered.keep()
        else:
            altered.drop()
        plan = Plan(
            mark,
            self._log.sequence,
            ahead.count,
            name if altered.count else None,
            (await self._info())["config"],
        )
        self._files.write_plan(plan)
        return plan

    async def _not_ours(self) -> AsyncIterator[Recorded]:
        last = (await self._info())["state"]["last_seq"]
        async for messages in read_stream(self._connection, self._namespace, last):
            leaves = self._log.leaves(messages[0].sequence - 1, messages[-1].sequence)
            for message in messages:
                if leaves.get(message.sequence) != leaf_hash(message):
                    yield message

    async def _make_anew(self, plan: Plan) -> None:
        if plan.log != self._log.sequence:
            message = (
                f"a restore of a log that ends at {plan.log} has not ended, but this one ends at "
                f"{self._log.sequence}: use the directory as it was"
            )
            raise StorageError(message)
        info = await stream_info(self._connection, self._namespace)
        if info is not None:
            if _mark(info["config"]) == plan.id:
                return
            await api(self._connection, f"STREAM.DELETE.{self._namespace}")
        await self._create(plan.settings, plan.id, plan.log + plan.foreign)

    async def _put_back(self, plan: Plan | None) -> int:
        """Put back what is missing, and behind it what the broken stream had accepted."""
        info = await self._info()
        last: int = info["state"]["last_seq"]
        end = self._log.sequence
        refilled = max(0, end - last)
        if refilled:
            config = info["config"]
            ranges = Refilled.of(config).plus(last + 1, end)
            mark = _mark(config)
            await self._update(config, {"metadata": _metadata(config, ranges, mark)})
            self._progress.begin("put back", end)
            chunks = self._log.read(last, end)
            # What is left of an erased batch stands behind, restated.
            messages = (each for chunk in chunks for each in chunk if each.leaf is None)
            await self._refill.put(last, messages, upto=end, times=True, told=self._told)
            last = end
        if plan is not None and last < end + plan.foreign:
            self._progress.begin("put what follows behind", end + plan.foreign)
            await self._refill.put(
                last,
                self._ahead(end, last),
                upto=end + plan.foreign,
                times=False,
                told=self._told,
            )
        return refilled

    def _ahead(self, end: int, last: int) -> Iterator[Recorded]:
        """Yield the saved messages at their new sequences, from behind ``last`` on."""
        for number, message in enumerate(self._files.ahead(), 1):
            if end + number > last:
                yield replace(message, sequence=end + number)

    async def _check(self, plan: Plan | None) -> None:
        found = await self._diagnose()
        expected = found.log + (0 if plan is None else plan.foreign)
        if found.kind != "intact" or found.last < expected:
            message = f"the restored stream is {found.kind} at {found.whole}: run the restore again"
            raise StorageError(message)

    async def _thaw(self) -> None:
        """Let the stream take events again."""
        info = await self._info()
        if _frozen(info["config"], self._namespace):
            settings = event_stream(self._namespace)
            names = ("subjects", "subject_transform")
            await self._update(info["config"], {name: settings[name] for name in names})

    async def _info(self) -> dict[str, Any]:
        return await api(self._connection, f"STREAM.INFO.{self._namespace}")


def _frozen(config: dict[str, Any], namespace: str) -> bool:
    return bool(config["subjects"] == [refill_subjects(namespace)])


def _mark(config: dict[str, Any]) -> str:
    metadata: dict[str, str] = config.get("metadata") or {}
    return metadata.get(MARK, "")


def _closed(namespace: str) -> dict[str, Any]:
    source = refill_subjects(namespace)
    return {
        "subjects": [source],
        "subject_transform": {"src": source, "dest": f"{namespace}.>"},
    }


def _metadata(config: dict[str, Any], ranges: Refilled, mark: str) -> dict[str, str]:
    found: dict[str, str] = config.get("metadata") or {}
    # The server's own entries are its to write.
    kept = {key: value for key, value in found.items() if not key.startswith("_nats.")}
    return {**kept, METADATA: ranges.to_text(), MARK: mark}
