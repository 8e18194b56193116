"""One engine: composition root of store, fold loop and query handlers, and their order of life.

The caller holds the data directory's lock.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import structlog

from memfold.errors import BrokerUnavailable
from memfold.jetstream import JetStreamError, api
from memfold.sealing import open_keys
from memfold.streams import ensure_streams
from memfold.subjects import check_namespace, query_subject
from memfold.tolerant import TolerantClient
from memfold_consumers.app import answer_only_about_itself, make_app, make_broker
from memfold_consumers.attached import Attached
from memfold_consumers.audit_stream import AuditStream
from memfold_consumers.checkpoint import Checkpoint
from memfold_consumers.erasing import Erasing
from memfold_consumers.fold_loop import FoldLoop
from memfold_consumers.heads import Heads
from memfold_consumers.identity import engine_id
from memfold_consumers.jobs import Jobs
from memfold_consumers.moments import Moments
from memfold_consumers.nats_client import CONNECT_S, LEAVE_S, open_client
from memfold_consumers.nats_probe import server_name
from memfold_consumers.queries import Queries
from memfold_consumers.rebuilding import Rebuilding
from memfold_consumers.settings import EngineSettings
from memfold_consumers.stream_reading import last_sequence
from memfold_consumers.verifying import Verifying
from memfold_consumers.versions import versions
from memfold_projections.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nats.aio.client import Client

ANSWERING_PAUSE_S: Final = 0.01

_log = structlog.get_logger(__name__)


async def run_engine(
    *,
    url: str,
    data: Path,
    namespace: str,
    stop: asyncio.Event,
    on_ready: Callable[[], None],
    settings: EngineSettings | None = None,
) -> None:
    """Run an engine until ``stop`` is set; ``on_ready`` is called once it answers queries.

    Raises:
        BrokerUnavailable: no NATS server at ``url``.
        UnsafeStream: the streams' settings would lose history.
        StorageError: the log or the projection cannot be used.
    """
    _calm_collector()
    settings = settings or EngineSettings(data=data, namespace=check_namespace(namespace))
    engine = Engine(settings, url, stop)
    broker = make_broker(settings, url, engine.answer, engine=engine.id)
    app = make_app(broker, engine.lifespan)
    async with AsyncExitStack() as running:
        try:
            await running.enter_async_context(app.lifespan_context())
            running.push_async_callback(app.stop)
            await app.start()
            if engine.checkpoint.halted is not None:
                await answer_only_about_itself(broker)
            await _until_answering(engine.connection, namespace)
        except _Stopped:
            return
        except (nats.errors.Error, TimeoutError) as error:
            message = "the NATS server failed while the engine started"
            raise BrokerUnavailable(message, detail=str(error)) from error
        on_ready()
        _log.info("engine_started", namespace=namespace, checkpoint=engine.checkpoint.sequence)
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, engine.folding}, return_when=asyncio.FIRST_COMPLETED)
            if engine.folding.done() and engine.checkpoint.halted is None:
                engine.folding.result()
            if engine.folding.done():
                await answer_only_about_itself(broker)
            # A halted engine stays, so that status and logs can say why until someone acts.
            await stopping
        except _Stopped:
            return
        finally:
            stopping.cancel()


class _Stopped(Exception):
    """The engine was asked to end before it had caught up."""


class Engine:
    """The parts of one running engine."""

    def __init__(self, settings: EngineSettings, url: str, stop: asyncio.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._url = url
        self._keys = open_keys(settings.keys, data=settings.data)
        self.id = engine_id(settings.data)
        self.checkpoint = Checkpoint()
        self.folding: asyncio.Task[None]
        self._loop: FoldLoop
        self._heads: Heads
        self._queries: Queries
        self.connection: TolerantClient

    async def answer(self, operation: str, token: str, payload: bytes) -> bytes:
        """Answer one query."""
        return await self._queries.answer(operation, token, payload)

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Connect, ensure the streams, open the store, fold in the background; undo in reverse."""
        settings = self._settings
        writer = ThreadPoolExecutor(1, thread_name_prefix="memfold-writer")
        running = asyncio.get_running_loop()
        self.connection = await open_client(
            servers=self._url,
            name=f"memfold-fold-{settings.namespace}",
            log=True,
            on_return=self._begin_anew,
        )
        try:
            await ensure_streams(
                self.connection,
                settings.namespace,
                replicas=settings.replicas,
                duplicate_window_s=settings.duplicate_window_s,
            )
            store = await running.run_in_executor(writer, self._open_store)
            try:
                self.checkpoint.advance(store.sequence)
                self._loop = FoldLoop(
                    connection=self.connection,
                    stream=settings.namespace,
                    store=store,
                    writer=writer,
                    checkpoint=self.checkpoint,
                    align_s=settings.align_s,
                )
                self._heads = self._make_heads(store)
                erasing = Erasing(
                    connection=self.connection,
                    store=store,
                    writer=writer,
                    checkpoint=self.checkpoint,
                    engine=self.id,
                )
                self._loop.on_erased = partial(self._erased, erasing)
                verifying = self._make_verifying(store)
                rebuilding = self._make_rebuilding(store, writer)
                kinds = {"verify": verifying.work, "rebuild": rebuilding.work}
                jobs = Jobs({erasing.kind: erasing.work, **kinds})
                attached = Attached(self.connection, settings, store, self.checkpoint)
                self._queries = Queries(
                    store,
                    self.checkpoint,
                    settings.namespace,
                    blobs=attached.blobs,
                    jobs=jobs,
                    moments=self._make_moments(store),
                    status=self._status,
                    on_damage=lambda: self._loop.begin_anew("the generation is damaged"),
                )
                # The last head is made when no more is folded.
                async with (
                    self._heads.publishing(),
                    self._folding(),
                    attached.sweeping(),
                    erasing.erasing(jobs),
                ):
                    try:
                        yield
                    finally:
                        await jobs.stop()
            finally:
                await running.run_in_executor(writer, store.close)
        finally:
            await self.connection.leave(LEAVE_S)
            writer.shutdown()

    @asynccontextmanager
    async def _folding(self) -> AsyncGenerator[None]:
        """Fold in the background; whatever happens, that has ended before the store is closed."""
        self.folding = asyncio.create_task(self._loop.run(), name="memfold-fold")
        aligned = asyncio.create_task(self._loop.aligned.wait())
        try:
            await _first({self.folding, aligned})
            yield
        finally:
            aligned.cancel()
            self.folding.cancel()
            await asyncio.wait({self.folding})

    def _erased(self, erasing: Erasing) -> None:
        # Nothing may be deleted whose leaf is not published.
        self._heads.hurry()
        erasing.note()

    def _make_heads(self, store: Store) -> Heads:
        settings = self._settings
        return Heads(
            stream=AuditStream(self.connection, settings.namespace),
            store=store,
            checkpoint=self.checkpoint,
            directory=settings.data,
            engine=self.id,
            head_s=settings.head_s,
            on_difference=self._loop.diverge,
        )

    def _make_moments(self, store: Store) -> Moments:
        return Moments(store, self.checkpoint, lambda: self._loop.stream_sequence, self._stream_end)

    async def _stream_end(self) -> int | None:
        try:
            return await last_sequence(self.connection, self._settings.namespace)
        except (JetStreamError, nats.errors.Error, TimeoutError, OSError):
            return None

    def _make_verifying(self, store: Store) -> Verifying:
        settings = self._settings
        return Verifying(
            self.connection,
            settings.namespace,
            store,
            settings.data,
            self._heads,
            self.checkpoint,
        )

    def _make_rebuilding(self, store: Store, writer: ThreadPoolExecutor) -> Rebuilding:
        return Rebuilding(
            store,
            self.checkpoint,
            writer=writer,
            connection=self.connection,
            stream=self._settings.namespace,
        )

    def _open_store(self) -> Store:
        settings = self._settings
        return Store(
            settings.data,
            settings.namespace,
            progress=self._progress,
            memory_mib=settings.duckdb_memory_mib,
            keys=self._keys,
        )

    def _begin_anew(self) -> None:
        # Unset as long as the server came back before the fold loop was there.
        if (loop := getattr(self, "_loop", None)) is not None:
            loop.begin_anew("the connection was lost")

    def _progress(self, folded: int, total: int) -> None:
        _log.info("generation_catching_up", folded=folded, of=total)
        # On the writer's thread: a long catch-up goes on from here at the next start.
        if self._stop.is_set():
            raise _Stopped

    async def _status(self) -> dict[str, Any]:
        """Return the parts of ``status`` that come from the broker and the loop."""
        namespace = self._settings.namespace
        halted = self.checkpoint.halted
        status: dict[str, Any] = {
            "namespace": namespace,
            "engine": self.id,
            "state": "halted" if halted is not None else "folding",
            "halted": None if halted is None else {"code": halted.code, "message": halted.message},
            "retrying": self._loop.error if halted is None else None,
            "stream": None,
            "audit": self._heads.status(),
            "keys": self._keys is not None,
            "versions": versions(_server(self.connection, "version")),
        }
        try:
            info = await api(self.connection, f"STREAM.INFO.{namespace}")
        except (JetStreamError, nats.errors.Error, TimeoutError, OSError) as error:
            status["retrying"] = status["retrying"] or f"stream info: {type(error).__name__}"
            return status
        state, config = info["state"], info["config"]
        self._loop.stream_sequence = max(self._loop.stream_sequence, state["last_seq"])
        own = _server(self.connection, "server_name") == server_name(self._settings.data)
        status["stream"] = {
            "name": namespace,
            "messages": state["messages"],
            "bytes": state["bytes"],
            "first_sequence": state["first_seq"],
            "last_sequence": state["last_seq"],
            "replicas": config["num_replicas"],
            "sync": "always" if own else "unknown",
        }
        return status


def _server(connection: Client, field: str) -> str:
    # nats-py has no accessor for what the server said of itself.
    info: dict[str, Any] = getattr(connection, "_server_info", {})
    return str(info.get(field, ""))


async def _until_answering(connection: Client, namespace: str) -> None:
    """Return once the server passes queries on to us: nats-py may still hold back subscriptions.

    ``status`` is the last operation to be subscribed, so with it all others are known.
    """
    async with asyncio.timeout(CONNECT_S):
        while True:
            try:
                await connection.request(
                    query_subject(namespace, "status", None), b"{}", timeout=CONNECT_S
                )
            except nats.errors.NoRespondersError:
                await asyncio.sleep(ANSWERING_PAUSE_S)
            else:
                return


def _calm_collector() -> None:
    """Let the cycle collector run rarely: a fold makes many objects and no cycles.

    With Python's defaults it takes a third of the fold's time.
    """
    gc.set_threshold(100_000, 50, 50)


async def _first(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait until one of the tasks is done; raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
