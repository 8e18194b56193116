"""What ``memfold demo`` proves: what was acknowledged is in the log and in the memory, once."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memfold import Memory


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, whether it holds, and what was found."""

    claim: str
    holds: bool
    found: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"claim": self.claim, "holds": self.holds, "found": self.found}


async def check_outcomes(
    memory: Memory, resource: str, receipts: Sequence[Mapping[str, Any]]
) -> Check:
    """Compare the acknowledged events with the changes that the engine shows."""
    acknowledged = [id_ for receipt in receipts for id_ in receipt["event_ids"]]
    changes = Counter(change.id for change in await memory.resource(resource).history())
    once = sum(changes[id_] == 1 for id_ in acknowledged)
    return Check(
        "every acknowledged event is applied exactly once",
        once == len(acknowledged) == changes.total(),
        f"{len(acknowledged)} acknowledged, {once} applied once, {changes.total()} applied in all",
    )


async def check_log(memory: Memory, resource: str, receipts: Sequence[Mapping[str, Any]]) -> Check:
    """Compare the positions in the receipts with those of the changes: the same, in that order."""
    given = {
        id_: (receipt["sequence"], receipt["index"] + number)
        for receipt in receipts
        for number, id_ in enumerate(receipt["event_ids"])
    }
    history = await memory.resource(resource).history()
    found = {change.id: (change.sequence, change.index) for change in history}
    places = list(found.values())
    return Check(
        "each stands at the position that its receipt says",
        found == given and places == sorted(places),
        f"{len(set(places))} positions in the log's order",
    )


def refold(directory: Path, namespace: str) -> Check:
    """Fold the log from nothing into a file beside, and compare the contents."""
    from memfold_consumers.ownership import EngineLock
    from memfold_projections.content import content_digests
    from memfold_projections.generation import Generation
    from memfold_projections.store import Store

    with EngineLock(directory), tempfile.TemporaryDirectory() as beside:
        store = Store(directory, namespace)
        fresh = Generation(Path(beside) / "again.duckdb", namespace)
        try:
            for messages in store.log.read(0):
                fresh.fold(messages)
            served, again = content_digests(store.generation), content_digests(fresh)
        finally:
            fresh.close()
            store.close()
    return Check(
        "folded again from nothing, the log gives the same content",
        served == again,
        f"{len(again)} tables with equal digests up to sequence {store.sequence}",
    )
