"""Queries of a client: request, wait, decode, and never back in time.

Each question says which sequence its answer must at least contain: the highest that this client has
published or seen for the resource. So an agent reads its own writes, from any engine.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import nats.errors
import orjson

from memfold.arguments import count_or_none
from memfold.connection import ConnectionCut
from memfold.errors import (
    BrokerUnavailable,
    EngineUnavailable,
    InvalidEvent,
    InvalidId,
    InvalidRequest,
    MemfoldError,
    NotYetConsistent,
    Parked,
    Rejected,
    error_classes,
)
from memfold.subjects import Address, query_subject

if TYPE_CHECKING:
    from memfold.connection import Connection

RESOURCES_TRACKED_MAX: Final = 10_000
WAIT_MS_MAX: Final = 5000
ANSWER_MARGIN_S: Final = 0.5
"""Kept free of the engine's wait, so that its answer still arrives in time."""
ENGINE_PATIENCE_S: Final = 1.0
"""How long nobody may answer before there is no engine: one that reconnects takes a moment."""
HALTED_S: Final = 2.0
"""How long may be asked why nobody answers."""
BACK_OFF_S: Final = 0.1
PAGE_MAX: Final = 1000
"""Entries asked for at once; the engine may send fewer."""


class Sightings:
    """The highest sequence published or seen per resource; bounded, forgetting only safely."""

    def __init__(self, resources_max: int = RESOURCES_TRACKED_MAX) -> None:
        self._known: OrderedDict[str, int] = OrderedDict()
        self._max = resources_max
        # What was dropped counts for every resource: they wait a little more, never too little.
        self._floor = 0
        self._highest = 0

    def note(self, resource: str | None, sequence: int) -> None:
        """Remember a sequence; None is the namespace itself."""
        self._highest = max(self._highest, sequence)
        if resource is None:
            return
        self._known[resource] = max(self._known.get(resource, 0), sequence)
        self._known.move_to_end(resource)
        if len(self._known) > self._max:
            _, dropped = self._known.popitem(last=False)
            self._floor = max(self._floor, dropped)

    def note_for_all(self, sequence: int) -> None:
        """Remember a sequence that counts for every resource: what is set for the namespace."""
        self._highest = max(self._highest, sequence)
        self._floor = max(self._floor, sequence)

    def highest(self, resource: str | None) -> int:
        """Return the sequence that an answer about a resource must contain; None means any."""
        if resource is None:
            return self._highest
        return max(self._known.get(resource, 0), self._floor)


class Queries:
    """Asks the engines of a namespace."""

    def __init__(self, connection: Connection, namespace: str, *, timeout_s: float) -> None:
        self._connection = connection
        self._namespace = namespace
        self._timeout_s = timeout_s
        self.sightings = Sightings()

    async def ask(
        self,
        operation: str,
        resource: str | None,
        arguments: Mapping[str, Any] | None = None,
        *,
        fresh: bool = True,
        min_sequence: int = 0,
        timeout_s: float | None = None,
        patience_s: float = ENGINE_PATIENCE_S,
    ) -> dict[str, Any]:
        """Ask one question and return the answer.

        ``patience_s`` is how long nobody may answer before there is no engine.

        Raises:
            InvalidRequest: an argument is no JSON, or they are too large for a message.
            NotYetConsistent: no engine came to the asked-for sequence in time.
            EngineUnavailable: no engine answered.
            LogDiverged: the only one there is has halted.
            BrokerUnavailable: there is no connection.
            MemfoldError: what the engine said, as its own class.
        """
        body: dict[str, Any] = dict(arguments or {})
        if fresh:
            min_sequence = max(min_sequence, self.sightings.highest(resource))
        if min_sequence:
            body["min_sequence"] = min_sequence
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout_s if timeout_s is None else timeout_s)
        patience: float | None = None
        subject = query_subject(self._namespace, operation, resource)
        while True:
            remaining_s = deadline - loop.time()
            if remaining_s <= 0:
                raise self._no_answer()
            wait_s = min(max(remaining_s - ANSWER_MARGIN_S, 0.0), WAIT_MS_MAX / 1000)
            body["wait_ms"] = int(wait_s * 1000)
            try:
                reply = await self._connection.request(
                    subject, _question(body), timeout=remaining_s
                )
            except nats.errors.MaxPayloadError:
                message = "the question is too large for a message: ask for less at once"
                raise InvalidRequest(message) from None
            except TimeoutError:
                raise self._no_answer() from None
            except ConnectionCut:
                patience = None
                continue
            except nats.errors.NoRespondersError:
                patience = patience or loop.time() + patience_s
                if loop.time() + BACK_OFF_S >= min(patience, deadline):
                    await self._check_halted(operation)
                    message = f"no engine answers in namespace {self._namespace}"
                    raise EngineUnavailable(message) from None
                await asyncio.sleep(BACK_OFF_S)
                continue
            answer: dict[str, Any] = orjson.loads(reply.data)
            error = answer.get("error")
            if error is None:
                self.sightings.note(resource, int(answer.get("sequence", 0)))
                return answer
            decoded = decode_error(error)
            left_s = deadline - loop.time()
            if not isinstance(decoded, NotYetConsistent) or left_s <= ANSWER_MARGIN_S:
                raise decoded
            await asyncio.sleep(BACK_OFF_S)

    async def _check_halted(self, operation: str) -> None:
        """Raise the reason of an engine that has halted: it answers nothing but ``status``."""
        if operation == "status":
            return
        try:
            status = await self.ask("status", None, fresh=False, timeout_s=HALTED_S, patience_s=0.0)
        except MemfoldError:
            return
        if status.get("halted") is not None:
            raise decode_error(status["halted"])

    async def pages(
        self,
        operation: str,
        resource: str | None,
        key: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        fresh: bool = True,
    ) -> tuple[list[dict[str, Any]], int]:
        """Read a list page by page, all or ``limit`` entries; also its first page's sequence."""
        count_or_none(limit, "limit=")
        found: list[dict[str, Any]] = []
        asked = dict(arguments or {})
        sequence: int | None = None
        while True:
            missing = PAGE_MAX if limit is None else min(PAGE_MAX, limit - len(found))
            if missing <= 0:
                return found, sequence or 0
            answer = await self.ask(operation, resource, {**asked, "limit": missing}, fresh=fresh)
            sequence = answer["sequence"] if sequence is None else sequence
            found.extend(answer[key])
            if answer.get("next") is None:
                return found, sequence or 0
            asked["after"] = answer["next"]

    async def locate(
        self, source: str, ids: Sequence[str], min_sequence: int
    ) -> list[tuple[int, int] | None]:
        """Return the positions at which events of an actor were folded first, by id."""
        answer = await self.ask(
            "known",
            None,
            {"source": source, "ids": list(ids)},
            fresh=False,
            min_sequence=min_sequence,
        )
        return [None if place is None else (place[0], place[1]) for place in answer["positions"]]

    async def revision(self, address: Address, min_sequence: int) -> tuple[int, bool] | None:
        """Return a document's revision, and whether it exists; None for what has no revision."""
        operation, key = {
            "memory": ("working_memory", "working_memory"),
            "thread": ("thread", "thread_state"),
            "resource": ("resource", "resource"),
        }.get(address.facet, ("", ""))
        if not operation or address.resource is None:
            return None
        arguments = {} if address.facet == "resource" else {"thread": address.thread}
        answer = await self.ask(operation, address.resource, arguments, min_sequence=min_sequence)
        return int(answer["revision"]), answer.get(key) is not None

    def _no_answer(self) -> MemfoldError:
        if not self._connection.is_connected:
            return BrokerUnavailable("there is no connection to the NATS server")
        return EngineUnavailable(f"no engine answered in time in namespace {self._namespace}")


def _question(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        message = f"an argument of the question is no JSON: {error}"
        raise InvalidRequest(message) from None


def decode_error(error: Mapping[str, Any]) -> MemfoldError:
    """Return the error of an engine's answer as its own class."""
    message = str(error.get("message", "the engine gave no reason"))
    detail = error.get("detail")
    reason = str(error.get("reason") or error.get("code"))
    found = error_classes().get(str(error.get("code")), MemfoldError)
    if issubclass(found, InvalidId):
        return found(message)
    if issubclass(found, InvalidEvent | Rejected | Parked):
        return found(message, reason=reason, detail=detail)
    return found(message, detail=detail)
