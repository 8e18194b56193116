"""Receipts: where a write stands in the log, and what the fold made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from memfold.errors import NotYetConsistent, Parked, Rejected

if TYPE_CHECKING:
    from memfold.requests import Queries

Applied = Literal["applied", "unchanged", "duplicate"]
"""What the fold made of a write that broke no rule."""
APPLIED_TIMEOUT_S: Final = 10.0
NO_CHANGE: Final = "unchanged"
"""What ``applied()`` returns for a write that was recorded and changed nothing."""


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What became of one event: ``kind`` is applied, unchanged, duplicate, rejected or parked.

    ``reason`` is a code, and ``detail`` a sentence. ``of`` is the position of the event it repeats.
    """

    event_id: str
    kind: str
    reason: str = ""
    detail: str = ""
    of: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The stream's word that events are in the log, from position (``sequence``, ``index``) on.

    ``duplicate`` says that they already stood there, from an earlier try. ``messages`` names the
    (thread, message) of each message that the events are about.
    """

    sequence: int
    index: int
    event_ids: tuple[str, ...]
    duplicate: bool
    resource: str | None
    thread: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    _queries: Queries | None = field(default=None, repr=False, compare=False)
    _first: Receipt | None = field(default=None, repr=False, compare=False)
    """What the same call published before, under a subject of its own."""

    async def outcomes(self, timeout: float = APPLIED_TIMEOUT_S) -> list[EventOutcome]:
        """Wait for the fold and return what became of each event, in order.

        Raises:
            NotYetConsistent: not folded within ``timeout`` seconds.
            EngineUnavailable, BrokerUnavailable: nobody answered.
        """
        assert self._queries is not None, "a receipt of a publish"
        last = self.index + len(self.event_ids)
        answer = await self._queries.ask(
            "outcome",
            self.resource,
            {"positions": [[self.sequence, last]]},
            min_sequence=self.sequence,
            timeout_s=timeout,
            # Whoever waits for the fold waits for an engine that is just starting again, too.
            patience_s=timeout,
        )
        raw: list[Mapping[str, Any]] = answer["outcomes"][0][self.index : last]
        if len(raw) < len(self.event_ids):
            message = "the engine does not know these events"
            raise NotYetConsistent(message)
        return [
            _outcome(event_id, item) for event_id, item in zip(self.event_ids, raw, strict=True)
        ]

    async def applied(self, timeout: float = APPLIED_TIMEOUT_S) -> Applied:
        """Wait for the fold; of several events say "applied" if any changed something.

        ``memfold.NO_CHANGE`` if none did.

        Raises:
            Rejected: the first event that broke a rule, and which one.
            Parked: the first event that could not be understood.
            NotYetConsistent: not folded within ``timeout`` seconds.
        """
        if self._first is not None:
            await self._first.applied(timeout)
        outcomes = await self.outcomes(timeout)
        for outcome in [*outcomes, *await self._firsts(outcomes, timeout)]:
            if outcome.kind == "rejected":
                raise Rejected(_sentence(outcome), reason=outcome.reason, detail=outcome.event_id)
            if outcome.kind == "parked":
                raise Parked(_sentence(outcome), reason=outcome.reason, detail=outcome.event_id)
        kinds = {outcome.kind for outcome in outcomes}
        if "applied" in kinds:
            return "applied"
        return NO_CHANGE if NO_CHANGE in kinds else "duplicate"

    async def _firsts(self, outcomes: Sequence[EventOutcome], timeout: float) -> list[EventOutcome]:
        """Return what became of the events that duplicates repeat: a copy changes nothing of it."""
        assert self._queries is not None, "a receipt of a publish"
        copies = [(each.event_id, each.of) for each in outcomes if each.of is not None]
        found: dict[int, list[Mapping[str, Any]]] = {}
        for sequence in sorted({of[0] for _, of in copies}):
            number = 1 + max(of[1] for _, of in copies if of[0] == sequence)
            answer = await self._queries.ask(
                "outcome", self.resource, {"positions": [[sequence, number]]}, timeout_s=timeout
            )
            found[sequence] = answer["outcomes"][0]
        return [_outcome(event_id, found[of[0]][of[1]]) for event_id, of in copies]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "sequence": self.sequence,
            "index": self.index,
            "event_ids": list(self.event_ids),
            "duplicate": self.duplicate,
            "resource": self.resource,
            "thread": self.thread,
            "messages": [list(message) for message in self.messages],
        }


def _outcome(event_id: str, raw: Mapping[str, Any]) -> EventOutcome:
    of = raw.get("of")
    return EventOutcome(
        event_id,
        str(raw["kind"]),
        raw.get("reason") or "",
        raw.get("detail") or "",
        None if of is None else (of[0], of[1]),
    )


def _sentence(outcome: EventOutcome) -> str:
    return outcome.detail or f"{outcome.kind}: {outcome.reason}"
