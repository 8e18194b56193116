"""Replay through an engine: reads recorded messages, folds them here, changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from memfold.arguments import ids
from memfold.audit.counterfactual import Exclusion, Fallen, Fold, leave_out
from memfold.audit.naming import positions_of_event, threads_of_message, unmet
from memfold.audit.shown import contents, served
from memfold.audit.states import Difference, Key, differences
from memfold.canonical import encode_text
from memfold.errors import InvalidRequest, KeyMissing, LogDiverged, NotFound, NotYetConsistent
from memfold.ids import check_id
from memfold.leaf import leaf_hash
from memfold.provenance import Position
from memfold.reads import Read
from memfold.recorded import Asked, RecordedMessage, read_recorded_pages, recorded
from memfold.requests import Queries
from memfold.sealed import KeyFinder
from memfold.wire import Event, Unreadable, read_message

TRIES: Final = 20
"""How often what is served is compared again because it was written to meanwhile."""

ProgressTold = Callable[[int, int], None]
"""Told how far a replay has read: the sequence, and the one it ends at."""


@dataclass(frozen=True, slots=True)
class LeftOut(Read):
    """An event that a replay leaves out.

    ``why`` is "actor", "event" or "message" for one that was named so, else how it followed from
    the one at the position ``after``: by "causation", "evidence", "clone", "revert" or "duplicate".
    ``resource`` is None for a default of the namespace.
    """

    sequence: int
    index: int
    id: str
    actor: str
    type: str
    resource: str | None
    thread: str | None
    why: str
    after: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Replay(Read):
    """What a replay of a resource's log up to ``sequence`` has found.

    ``events`` counts its own that were folded; ``left_out`` fell, and ``differences`` lead from
    what is to what would be without them. Where nothing was to be left out, ``agrees`` says whether
    the fold equals what is served, and ``differences`` lead from the fold to that.
    """

    resource: str
    sequence: int
    events: int
    left_out: tuple[LeftOut, ...]
    differences: tuple[Difference, ...]
    agrees: bool | None = None


@dataclass(frozen=True, slots=True)
class Without:
    """What a caller wants left out.

    An event is named by its id, SOURCE/ID or SEQUENCE.INDEX; a message by its id, or (thread, id).
    """

    actors: Iterable[str] = ()
    events: Iterable[str] = ()
    messages: Iterable[str | tuple[str, str]] = ()
    consequences: bool = True


class Replaying:
    """One replay of one resource."""

    def __init__(
        self,
        queries: Queries,
        namespace: str,
        resource: str,
        progress: ProgressTold | None,
        keys: KeyFinder | None = None,
    ) -> None:
        self._queries = queries
        self._keys = keys
        self._namespace = namespace
        self._resource = resource
        self._progress = progress
        self._fold = Fold()
        self._sequence = 0

    async def run(self, without: Without) -> Replay:
        """Fold all, then without what is to be left out, or compare with what is served.

        Raises:
            InvalidRequest: an event's name fits several, or the record of an erasure.
            NotFound: no event of the resource has a name that is to be left out.
            NotYetConsistent: the resource is written to without a pause, so nothing was compared.
            KeyMissing: events are sealed, and this client has no keys.
        """
        actors = ids(without.actors, "without_actors=")
        events = ids(without.events, "without=")
        messages = [_message(each) for each in without.messages]
        await self._read_on()
        exclusion = Exclusion(
            frozenset(actors),
            frozenset(self._events(events)),
            frozenset(self._located(messages)),
            without.consequences,
        )
        if not exclusion:
            return await self._compared()
        if missing := unmet(self._fold, exclusion):
            message = f"resource {self._resource!r} has no {missing[0]}: nothing was left out"
            raise NotFound(message)
        found = leave_out(self._fold, exclusion)
        changed = differences(
            contents(self._fold.state, self._resource), contents(found.state, self._resource)
        )
        return self._result(tuple(_left_out(each) for each in found.fallen), changed, None)

    def _events(self, names: list[str]) -> Iterator[Position]:
        for name in names:
            positions = positions_of_event(self._fold, name)
            if not positions:
                message = f"resource {self._resource!r} has no event {name!r}: nothing was left out"
                raise NotFound(message)
            yield from positions

    def _located(self, messages: list[tuple[str | None, str]]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for thread, name in messages:
            if thread is not None:
                found.append((thread, name))
                continue
            threads = threads_of_message(self._fold, name)
            if not threads:
                message = f"resource {self._resource!r} has no message {name!r}"
                raise NotFound(message)
            found += [(each, name) for each in threads]
        return found

    async def _read_on(self) -> int:
        """Fold what was recorded since; return how many messages that was."""
        own, upto = await self._read(Asked(self._resource, after=self._sequence))
        # Both parts end at one sequence: a default counts for what comes behind it.
        defaults, _ = await self._read(
            Asked(None, after=self._sequence, upto=upto, min_sequence=upto)
        )
        messages = sorted([*defaults, *own], key=lambda message: message.sequence)
        for message in messages:
            _check_leaf(message)
            for event in read_message(
                self._namespace, recorded(message), time_us=message.time_us, keys=self._keys
            ):
                self._check_opened(event)
                self._fold.add(event)
        self._sequence = upto
        return len(messages)

    def _check_opened(self, event: Event | Unreadable) -> None:
        """Refuse to fold what the engine may have read and we cannot."""
        sealed = isinstance(event, Unreadable) and event.reason == "key_missing"
        if sealed and self._keys is None:
            problem = "the resource's events are sealed: replay them with keys= (MEMFOLD_KEYS)"
            raise KeyMissing(problem)

    async def _read(self, asked: Asked) -> tuple[list[RecordedMessage], int]:
        found: list[RecordedMessage] = []
        upto = asked.after
        async for page, upto in read_recorded_pages(self._queries, asked):
            found += page
            if page and self._progress is not None:
                self._progress(page[-1].sequence, upto)
        return found, upto

    async def _compared(self) -> Replay:
        for _ in range(TRIES):
            shown, sequence = await self._served()
            if sequence > self._sequence and await self._read_on():
                continue
            changed = differences(served(self._fold.state, self._resource), shown)
            return self._result((), changed, not changed)
        message = "the resource is written to without a pause: ask again"
        raise NotYetConsistent(message)

    async def _served(self) -> tuple[dict[Key, Any], int]:
        """Return all that is served of the resource, and the highest sequence of the answers."""
        found: dict[Key, Any] = {}
        answer = await self._queries.ask("resource", self._resource, min_sequence=self._sequence)
        sequence = int(answer["sequence"])
        if answer["resource"] is not None:
            found["resource", "", ""] = _fields(answer["resource"], "id")
        as_of = {"as_of": self._sequence}
        threads, _ = await self._queries.pages("threads", self._resource, "threads", as_of)
        for raw in threads:
            shown = _fields(raw, "id", "resource", "parked")
            if shown["source"] is not None:
                shown["source"] = _fields(shown["source"], "cut")
            found["thread", raw["id"], ""] = shown
        messages, _ = await self._queries.pages("messages", self._resource, "messages", as_of)
        for raw in messages:
            found["message", raw["thread"], raw["id"]] = _fields(raw, "id", "thread")
        for name in [None, *(raw["id"] for raw in threads)]:
            answer = await self._queries.ask(
                "working_memory", self._resource, {"thread": name}, min_sequence=self._sequence
            )
            sequence = max(sequence, int(answer["sequence"]))
            if answer["working_memory"] is not None:
                found["working_memory", name or "", ""] = answer["working_memory"]
            if answer["definition"] is not None:
                found["definition", name or "", ""] = _definition(answer["definition"])
        return found, sequence

    def _result(
        self,
        left_out: tuple[LeftOut, ...],
        changed: tuple[Difference, ...],
        agrees: bool | None,  # noqa: FBT001  # one of its fields
    ) -> Replay:
        addresses = (event.address for event in self._fold.events)
        count = sum(each is not None and each.resource == self._resource for each in addresses)
        return Replay(self._resource, self._sequence, count, left_out, changed, agrees)


def _left_out(fallen: Fallen) -> LeftOut:
    event = fallen.event
    address = event.address
    return LeftOut(
        event.sequence,
        event.index,
        event.envelope.id,
        address.actor,
        event.envelope.type,
        address.resource,
        address.thread,
        fallen.why,
        fallen.after,
    )


def _message(given: object) -> tuple[str | None, str]:
    match given:
        case str():
            return None, check_id(given, "message")
        case (str() as thread, str() as name):
            return check_id(thread, "thread"), check_id(name, "message")
        case _:
            problem = "without_messages= takes ids of messages, or (thread, id) of each"
            raise InvalidRequest(problem)


def _check_leaf(message: RecordedMessage) -> None:
    if not message.redacted and leaf_hash(recorded(message)).hex() != message.leaf:
        problem = f"the engine's copy of message {message.sequence} is not what it recorded"
        raise LogDiverged(problem)


def _fields(raw: dict[str, Any], *but: str) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name not in but}


def _definition(raw: dict[str, Any]) -> dict[str, Any]:
    body = raw["template"] if raw["kind"] == "template" else encode_text(raw["json_schema"])
    return {"kind": raw["kind"], "body": body, "scope": raw["scope"]}
