"""Answers queries: one coroutine an operation, JSON bytes in, JSON bytes out.

Each answer says at which sequence it was computed and stays below the message limit: a list that
does not fit ends with ``next``. Active threads are answered from memory, everything else by one
short read of the projection in a worker thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import duckdb
import orjson
import structlog

from memfold.canonical import encode
from memfold.errors import InvalidId, InvalidRequest, MemfoldError, NotYetConsistent, StorageError
from memfold.ids import decode_token
from memfold_consumers import accounts, lists, requests
from memfold_consumers.answers import error_json, sendable
from memfold_consumers.moments import Moments
from memfold_consumers.parking import parked_page
from memfold_consumers.requests import read_request
from memfold_consumers.snapshots import load_snapshot, snapshot_json
from memfold_projections.history import changes, parked_whole
from memfold_projections.parked import with_parked
from memfold_projections.past import (
    LAST,
    definition_as_of,
    memory_as_of,
    resource_as_of,
    thread_as_of,
)
from memfold_projections.proofs import Proofs
from memfold_projections.reader import Reader, reading
from memfold_projections.views import definition_json, memory_json, resource_view

if TYPE_CHECKING:
    from memfold_consumers.blobs import Blobs
    from memfold_consumers.checkpoint import Checkpoint
    from memfold_consumers.jobs import Jobs
    from memfold_projections.generation import Generation
    from memfold_projections.store import Store

T = TypeVar("T")
D = TypeVar("D", bound=requests.DocumentRequest)

OUTCOMES_MAX: Final = 10_000

_log = structlog.get_logger(__name__)


class Queries:
    """The read side of one engine. Every operation is safe to run concurrently with all others."""

    def __init__(
        self,
        store: Store,
        checkpoint: Checkpoint,
        namespace: str,
        *,
        blobs: Blobs,
        jobs: Jobs,
        moments: Moments,
        status: Callable[[], Awaitable[dict[str, Any]]],
        on_damage: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._proofs = Proofs(store.log)
        self._checkpoint = checkpoint
        self._namespace = namespace
        self._blobs = blobs
        self._jobs = jobs
        self._moments = moments
        self._status = status
        self._on_damage = on_damage

    async def answer(self, operation: str, name: str, payload: bytes) -> bytes:
        """Answer one request about the resource token ``name``; errors come as JSON, too."""
        model, work = OPERATIONS[operation]
        try:
            request = read_request(model, payload)
            resource = None if name == "_" else decode_token(name)
            if model not in _OF_A_HALTED_ENGINE:
                await self._checkpoint.reach(request.min_sequence, timeout_s=request.wait_ms / 1000)
            redacted = b""
            if isinstance(request, requests.PastRequest):
                request = await self._moments.resolved(request)
                if await self._moments.is_redacted(resource, request.earliest()):
                    redacted = b',"redacted":true}'
            answer = await work(self, resource, request)
            return sendable(answer[:-1] + redacted if redacted else answer)
        except InvalidId as error:
            return error_json(InvalidRequest(error.message))
        except MemfoldError as error:
            return error_json(error)
        except (duckdb.Error, OSError) as error:
            if self._store.generation.damage is not None:
                self._on_damage()
                message = "the projection is damaged; a new one is being folded, ask again"
                return error_json(NotYetConsistent(message))
            _log.exception("query_failed", operation=operation)
            return error_json(
                StorageError(f"the projection could not be read: {type(error).__name__}")
            )
        except Exception:  # noqa: BLE001  # it is logged, and the asker is told
            # Whoever asked would wait in vain for an answer that never comes.
            _log.exception("query_failed", operation=operation)
            return error_json(MemfoldError("the engine failed on this query; its log says why"))

    async def snapshot(self, resource: str | None, request: requests.SnapshotRequest) -> bytes:
        """Return working memories, the thread and its last messages in one answer."""
        name = _require(resource)
        live, found = self._store.live, None
        if request.as_of is None:
            found = live.recent.snapshot(name, request.thread, request.last)
        if found is not None:
            hit, rest = found, None
        else:
            hit, rest = await self._read(
                lambda reader: load_snapshot(live.recent, reader, name, request), live.generation
            )
        folded = hit.sequence if request.as_of is None else self._checkpoint.sequence
        lag = max(0, self._moments.stream_sequence() - folded)
        return snapshot_json(hit, name, request.thread, lag=lag, rest=rest)

    async def working_memory(
        self, resource: str | None, request: requests.WorkingMemoryRequest
    ) -> bytes:
        """Return one working memory with the definition in force, and its subject's revision.

        Without a resource there is the namespace's default definition alone.
        """
        if request.thread is not None:
            _require(resource)

        def read(reader: Reader) -> bytes:
            past = request.past()
            if past is None:
                memory, in_force = reader.memory_in_force(resource, request.thread)
            else:
                memory = memory_as_of(reader, resource, request.thread, past)
                in_force = definition_as_of(reader, resource, request.thread, past)
            at = lists.as_of(reader, request)
            answer = lists.document(at, "working_memory", memory, memory_json(memory))
            return b'%b,"definition":%b}' % (answer[:-1], definition_json(in_force, memory))

        return await self._read(read)

    async def thread(self, resource: str | None, request: requests.ThreadRequest) -> bytes:
        """Return one thread, or null."""
        name = _require(resource)

        def read(reader: Reader) -> bytes:
            past, thread = request.past(), request.thread
            if past is None:
                shown = reader.thread(name, thread)
            else:
                shown = thread_as_of(reader, name, thread, past)
            at = lists.as_of(reader, request)
            count = reader.parked_counts(name).of_thread(name, thread)
            encoded = with_parked(shown.encoded, count)
            return lists.document(at, "thread_state", shown.thread, encoded)

        return await self._read(read)

    async def resource(self, resource: str | None, request: requests.ResourceRequest) -> bytes:
        """Return one resource, or null."""
        name = _require(resource)

        def read(reader: Reader) -> bytes:
            past = request.past()
            found = reader.resource(name) if past is None else resource_as_of(reader, name, past)
            shown = None if found is None or not found.live else resource_view(name, found)
            return lists.document(lists.as_of(reader, request), "resource", found, encode(shown))

        return await self._read(read)

    async def threads(self, resource: str | None, request: requests.ThreadsRequest) -> bytes:
        """Return a page of a resource's threads, or of those of all resources."""
        return await self._read(lambda reader: lists.threads(reader, resource, request))

    async def messages(self, resource: str | None, request: requests.MessagesRequest) -> bytes:
        """Return a page of messages, oldest first."""
        name = _require(resource)
        return await self._read(lambda reader: lists.messages(reader, name, request))

    async def window(self, resource: str | None, request: requests.WindowRequest) -> bytes:
        """Return a message with its neighbours."""
        name = _require(resource)
        return await self._read(lambda reader: lists.window(reader, name, request))

    async def clones(self, resource: str | None, request: requests.ClonesRequest) -> bytes:
        """Return a page of the threads that were cloned from one."""
        name = _require(resource)
        return await self._read(lambda reader: lists.clones(reader, name, request))

    async def attachment(self, resource: str | None, request: requests.AttachmentRequest) -> bytes:
        """Return what is stored of an attachment, and one chunk of it if that is asked for."""
        return await self._blobs.answer(_require(resource), request)

    async def attachments(
        self, resource: str | None, request: requests.AttachmentsRequest
    ) -> bytes:
        """Return which attachments the events of a resource refer to."""
        name = _require(resource)
        await self._moments.check_erased(name)
        return await self._blobs.answer_referred(name, request.hashes)

    async def outcome(self, resource: str | None, request: requests.OutcomeRequest) -> bytes:
        """Return what became of published events."""
        del resource
        wanted = request.positions
        if sum(number for _, number in wanted) > OUTCOMES_MAX:
            message = f"at most {OUTCOMES_MAX} outcomes fit an answer"
            raise InvalidRequest(message)
        highest = max((sequence for sequence, _ in wanted), default=0)
        await self._checkpoint.reach(highest, timeout_s=request.wait_ms / 1000)

        def read(reader: Reader) -> bytes:
            known = reader.outcomes([sequence for sequence, _ in wanted])
            answers: list[list[dict[str, object]]] = []
            for sequence, number in wanted:
                first = known.get((sequence, 0), _APPLIED)
                # A message that cannot be taken apart is parked under its first index.
                whole = first[0] == "parked" and number > 1
                whole = whole and parked_whole(self._store.log, self._namespace, sequence)
                rest = first if whole else _APPLIED
                found = [known.get((sequence, n), rest) for n in range(number)]
                answers.append([dict(zip(_OUTCOME_FIELDS, each, strict=True)) for each in found])
            return encode({"sequence": reader.sequence, "outcomes": answers})

        return await self._read(read)

    async def known(self, resource: str | None, request: requests.KnownRequest) -> bytes:
        """Return which event ids of a source are folded already, and where."""
        del resource
        keys = [(request.source, id_) for id_ in request.ids]

        def read(reader: Reader) -> bytes:
            found = reader.known(keys)
            return encode(
                {"sequence": reader.sequence, "positions": [found.get(key) for key in keys]}
            )

        return await self._read(read)

    async def history(self, resource: str | None, request: requests.HistoryRequest) -> bytes:
        """Return a page of the changes of a resource or thread."""
        name = _require(resource)

        def read(reader: Reader) -> bytes:
            found, after = changes(
                self._store.log,
                reader,
                self._namespace,
                name,
                request.thread,
                after=max(request.after, (request.past("since") or -1, LAST)),
                limit=request.limit,
                bytes_max=lists.BYTES_MAX,
                upto=request.past(),
                everything=request.everything,
                keys=self._store.keys,
            )
            return lists.answer(lists.as_of(reader, request), "changes", found, after)

        return await self._read(read)

    async def document_history(
        self, resource: str | None, request: requests.DocumentHistoryRequest
    ) -> bytes:
        """Return a page of what changed one document."""
        return await self._account(resource, request, accounts.history)

    async def blame(self, resource: str | None, request: requests.BlameRequest) -> bytes:
        """Return which event set each part of a document."""
        return await self._account(resource, request, accounts.blame)

    async def diff(self, resource: str | None, request: requests.DiffRequest) -> bytes:
        """Return what differs in a document between two moments."""
        return await self._account(resource, request, accounts.diff)

    async def recorded(self, resource: str | None, request: requests.RecordedRequest) -> bytes:
        """Return a page of recorded messages."""
        return await self._read(
            lambda reader: lists.recorded(reader, self._store.log, resource, request)
        )

    async def proofs(self, resource: str | None, request: requests.ProofsRequest) -> bytes:
        """Return the root of a tree, and proofs in it."""
        del resource
        return await self._read(lambda reader: lists.proofs(reader, self._proofs, request))

    async def resources(self, resource: str | None, request: requests.ResourcesRequest) -> bytes:
        """Return a page of all resources."""
        del resource
        return await self._read(lambda reader: lists.resources(reader, request))

    async def parked(self, resource: str | None, request: requests.ParkedRequest) -> bytes:
        """Return a page of parked events with their reasons."""
        return await self._read(lambda reader: parked_page(reader, self._store, resource, request))

    async def erasures(self, resource: str | None, request: requests.ErasuresRequest) -> bytes:
        """Return a page of erasures, of all resources or one."""

        def read(reader: Reader) -> bytes:
            found = reader.erasure_list(resource, after=request.after, limit=request.limit + 1)
            more = len(found) > request.limit
            page = [encode(each) for each in found[: request.limit]]
            last = found[request.limit - 1] if more else None
            after = None if last is None else (last["sequence"], last["index"])
            return lists.answer(reader.sequence, "erasures", page, after)

        return await self._read(read)

    async def job(self, resource: str | None, request: requests.JobRequest) -> bytes:
        """Start long work of this engine, or say how far it is."""
        number = request.number
        if request.start is not None:
            number = self._jobs.start(request.start, request.arguments)
        return encode(
            {
                "sequence": self._store.sequence,
                "engine": resource,
                "job": self._jobs.state(number),
            }
        )

    async def status(self, resource: str | None, request: requests.StatusRequest) -> bytes:
        """Return the state of stream, fold and projection."""
        del resource, request
        counts = await self._read(lambda reader: {**reader.counts(), "sequence": reader.sequence})
        parked, sequence = counts.pop("parked"), counts.pop("sequence")
        status = await self._status()
        status |= {
            "sequence": sequence,
            "checkpoint": sequence,
            "lag": max(0, self._moments.stream_sequence() - sequence),
            "parked": parked,
            "generation": self._store.number,
            "counts": counts,
        }
        return orjson.dumps(status)

    async def _account(
        self, resource: str | None, request: D, work: Callable[[accounts.Asked, D], bytes]
    ) -> bytes:
        name, log = _require(resource), self._store.log
        return await self._read(
            lambda reader: work(accounts.Asked(log, reader, name, request), request)
        )

    async def _read(self, work: Callable[[Reader], T], generation: Generation | None = None) -> T:
        def run() -> T:
            with reading(generation or self._store.generation) as reader:
                return work(reader)

        return await asyncio.to_thread(run)


OPERATIONS: Final[dict[str, tuple[type[requests.Request], Callable[..., Awaitable[bytes]]]]] = {
    "snapshot": (requests.SnapshotRequest, Queries.snapshot),
    "working_memory": (requests.WorkingMemoryRequest, Queries.working_memory),
    "thread": (requests.ThreadRequest, Queries.thread),
    "resource": (requests.ResourceRequest, Queries.resource),
    "threads": (requests.ThreadsRequest, Queries.threads),
    "messages": (requests.MessagesRequest, Queries.messages),
    "window": (requests.WindowRequest, Queries.window),
    "clones": (requests.ClonesRequest, Queries.clones),
    "attachment": (requests.AttachmentRequest, Queries.attachment),
    "attachments": (requests.AttachmentsRequest, Queries.attachments),
    "outcome": (requests.OutcomeRequest, Queries.outcome),
    "known": (requests.KnownRequest, Queries.known),
    "history": (requests.HistoryRequest, Queries.history),
    "document_history": (requests.DocumentHistoryRequest, Queries.document_history),
    "blame": (requests.BlameRequest, Queries.blame),
    "diff": (requests.DiffRequest, Queries.diff),
    "recorded": (requests.RecordedRequest, Queries.recorded),
    "proofs": (requests.ProofsRequest, Queries.proofs),
    "resources": (requests.ResourcesRequest, Queries.resources),
    "parked": (requests.ParkedRequest, Queries.parked),
    "erasures": (requests.ErasuresRequest, Queries.erasures),
    "job": (requests.JobRequest, Queries.job),
    "status": (requests.StatusRequest, Queries.status),
}
_OF_A_HALTED_ENGINE: Final = (requests.StatusRequest, requests.JobRequest)
_APPLIED: Final = ("applied", "", "", None)
_OUTCOME_FIELDS: Final = ("kind", "reason", "detail", "of")


def _require(resource: str | None) -> str:
    if resource is None:
        message = "this operation needs a resource in its subject"
        raise InvalidRequest(message)
    return resource
