"""Publishing prepared events once each, in order, and keeping count of what became of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from memfold.errors import InvalidEvent, NotYetConsistent, PublishDenied
from memfold.jetstream import read_recorded
from memfold.subjects import Address
from memfold.wire import message_digests
from memfold_consumers.cli.access import PATIENCE_S, Access
from memfold_consumers.formats.stable import Fault, Item, keyed, runs

OUTCOMES_AT_ONCE: Final = 1000
"""Events whose outcomes are asked for together, at most; a batch may hold as many."""
PENDING_MAX: Final = 5000
STALLED_MAX: Final = 6
"""How often in a row the engine may have come no further within the time of a query."""

Position = tuple[int, int]


@dataclass(slots=True)
class Tally:
    """What an input holds, and what became of it so far."""

    failures: list[Fault] = field(default_factory=list[Fault])
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    events: int = 0
    messages: int = 0
    added: int = 0
    already_there: int = 0
    last_sequence: int = 0
    resources: set[str] = field(default_factory=set[str])
    threads: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    @property
    def done(self) -> int:
        """How many events are in the log."""
        return self.added + self.already_there

    def count(self, item: Item) -> None:
        """Count an event of the input."""
        address = item.event.address
        self.events += 1
        self.messages += item.event.type == "MessageAppended"
        if address.resource is not None:
            self.resources.add(address.resource)
            if address.thread is not None:
                self.threads.add((address.resource, address.thread))

    def fail(self, failure: Fault) -> None:
        """Count and keep a failure, as many as can be shown."""
        self.failed += 1
        if len(self.failures) < OUTCOMES_AT_ONCE:
            self.failures.append(failure)

    def summary(self, seconds: float) -> dict[str, Any]:
        """Return the counts as JSON."""
        return {
            "messages": self.messages,
            "threads": len(self.threads),
            "resources": len(self.resources),
            "events": self.events,
            "last_sequence": self.last_sequence,
            "seconds": round(seconds, 3),
            "added": self.added,
            "already_there": self.already_there,
            "failed": self.failed,
        }


class Wanted(Protocol):
    """Says which events that the log does not have are to be published."""

    async def __call__(self, fresh: Sequence[Item], *, known: bool) -> Sequence[Item]:
        """Return those to publish; ``known`` tells that others of them are in the log."""
        ...


class Feeder:
    """Publishes what the engine does not know yet. ``feed`` may run several times at once."""

    def __init__(
        self,
        access: Access,
        tally: Tally,
        began_at: int,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """``began_at`` is the log's last sequence now: what is there is not published again."""
        self.tally = tally
        # What was begun is worth waiting for, whoever's the engine is.
        self._access = replace(access, patience_s=PATIENCE_S)
        self.began_at = began_at
        self._progress = progress
        self._pending: dict[Position, Item] = {}
        tally.last_sequence = began_at

    def keyed(self, items: Sequence[Item]) -> list[Item]:
        """Return events with the ids under which they are published."""
        return keyed(items, self._access.client.keys)

    async def feed(
        self, items: Sequence[Item], wanted: Wanted | None = None, *, min_sequence: int = 0
    ) -> None:
        """Publish those of these events that are not in the log yet, in their order.

        What came into the log up to ``min_sequence`` is known, and all from before the ingest.

        Raises:
            MemfoldError: the broker or the engine is gone, or refuses; run the ingest again.
        """
        fresh: list[Item] = []
        known: list[tuple[Item, Position]] = []
        for item, place in zip(items, await self._known(items, min_sequence), strict=True):
            self.tally.count(item)
            if place is None:
                fresh.append(item)
            else:
                known.append((item, place))
        await self._note_known(known)
        if fresh and wanted is not None:
            fresh = list(await wanted(fresh, known=bool(known)))
        for run in runs(fresh, self._access.client.bytes_of):
            await self._publish(run)
        if len(self._pending) >= PENDING_MAX:
            await self._settle()

    async def finish(self) -> None:
        """Wait until everything is folded, and count what was not applied."""
        await self._settle()

    async def folded(self, sequence: int) -> None:
        """Wait until the fold has come to a sequence, for as long as it makes progress.

        Raises:
            NotYetConsistent: it stands still.
        """
        stalled, checkpoint = 0, -1
        while True:
            try:
                await self.ask("known", {"source": "-", "ids": []}, sequence)
            except NotYetConsistent:
                status = await self._access.status()
                stalled = stalled + 1 if status["sequence"] == checkpoint else 0
                checkpoint = status["sequence"]
                if stalled == STALLED_MAX:
                    raise
            else:
                return

    async def _known(self, items: Sequence[Item], min_sequence: int) -> list[Position | None]:
        """Return where events stand already, asking once for each actor."""
        by_actor: defaultdict[str, list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            by_actor[item.event.address.actor].append(number)
        places: list[Position | None] = [None] * len(items)
        needed = max(min_sequence, self.began_at)
        for actor, numbers in by_actor.items():
            ids = [items[number].event.id for number in numbers]
            answer = await self.ask("known", {"source": actor, "ids": ids}, needed)
            for number, place in zip(numbers, answer["positions"], strict=True):
                places[number] = None if place is None else (place[0], place[1])
        return places

    async def _note_known(self, known: Sequence[tuple[Item, Position]]) -> None:
        """Count what is in the log, unless another event there has the same id."""
        stored: dict[int, Sequence[bytes]] = {}
        for item, place in known:
            sequence, index = place
            if item.given_id and sequence not in stored:
                stored[sequence] = await self._digests(sequence, item.event.address)
            digests = stored.get(sequence, ())
            found = digests[index] if index < len(digests) else b""
            if item.given_id and found not in (b"", item.digest):
                message = f"another event with this id stands at sequence {sequence}"
                self.tally.fail(Fault(item.origin, "id_reused", message))
            else:
                self.tally.already_there += 1
                self._pending[place] = item
        self._progress(self.tally.done)

    async def _digests(self, sequence: int, address: Address) -> Sequence[bytes]:
        """Return the digests of a message; none if it is gone, or may not be read by us."""
        client = self._access.client
        try:
            recorded = await self._access.patiently(
                lambda: read_recorded(client.connection, client.namespace, sequence)
            )
            if recorded is None:
                return ()
            return message_digests(recorded.payload, address, client.keys)
        except (InvalidEvent, PublishDenied):
            return ()

    async def _publish(self, run: Sequence[Item]) -> None:
        try:
            receipt = await self._access.client.publish([item.event for item in run])
        except InvalidEvent as error:
            for item in run:
                self.tally.fail(Fault(item.origin, error.reason, error.message))
            return
        for number, item in enumerate(run):
            self._pending[receipt.sequence, receipt.index + number] = item
        self.tally.last_sequence = max(self.tally.last_sequence, receipt.sequence)
        if receipt.duplicate:
            self.tally.already_there += len(run)
        else:
            self.tally.added += len(run)
        self._progress(self.tally.done)

    async def _settle(self) -> None:
        """Ask what became of all that was published or found, a part at a time."""
        pending, self._pending = self._pending, {}
        await self.folded(max((sequence for sequence, _ in pending), default=0))
        counts: dict[int, int] = {}
        for sequence, index in sorted(pending):
            counts[sequence] = index + 1
        asked: list[list[int]] = []
        total = 0
        for sequence, count in counts.items():
            if asked and total + count > OUTCOMES_AT_ONCE:
                await self._outcomes(asked, pending)
                asked, total = [], 0
            asked.append([sequence, count])
            total += count
        if asked:
            await self._outcomes(asked, pending)

    async def _outcomes(self, asked: list[list[int]], pending: dict[Position, Item]) -> None:
        answer = await self.ask("outcome", {"positions": asked}, asked[-1][0])
        for (sequence, _), outcomes in zip(asked, answer["outcomes"], strict=True):
            for index, outcome in enumerate(outcomes):
                item = pending.get((sequence, index))
                if item is not None and outcome["kind"] in ("rejected", "parked"):
                    message = outcome["detail"] or outcome["kind"]
                    self.tally.fail(Fault(item.origin, outcome["reason"], message))

    async def ask(
        self,
        operation: str,
        arguments: dict[str, Any],
        min_sequence: int,
        resource: str | None = None,
    ) -> dict[str, Any]:
        """Ask the engine; not fresh, because what was published just now need not be folded."""
        return await self._access.ask(
            operation, resource, arguments, min_sequence=min_sequence, fresh=False
        )
