"""How many events are parked of whom: none, almost always. Whoever is shown a thread is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from memfold.canonical import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from memfold.steps import Step


@dataclass(slots=True)
class ParkedCounts:
    """Parked events that were not discarded, by (resource, thread), with "" for none."""

    by_thread: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def __bool__(self) -> bool:
        return bool(self.by_thread)

    def of_thread(self, resource: str, thread: str) -> int:
        """Return how many there are of a thread itself."""
        return self.by_thread.get((resource, thread), 0) if self.by_thread else 0

    def seen_from(self, resource: str, thread: str | None) -> int:
        """Return how many may be missing from a snapshot: of the thread and of its resource.

        Without a thread, of the resource and all its threads.
        """
        if not self.by_thread:
            return 0
        if thread is None:
            return sum(count for key, count in self.by_thread.items() if key[0] == resource)
        return self.of_thread(resource, "") + self.of_thread(resource, thread)

    def after(self, steps: Iterable[Step]) -> ParkedCounts:
        """Return the counts with what a batch has parked and discarded."""
        changed: dict[tuple[str, str], int] = {}
        for step in steps:
            if step.parked is not None:
                parked = step.parked[1]
                key = (parked.resource or "", parked.thread or "")
                changed[key] = changed.get(key, 0) + (-1 if parked.discarded else 1)
        if not changed:
            return self
        counts = {**self.by_thread}
        for key, more in changed.items():
            counts[key] = counts.get(key, 0) + more
            if counts[key] <= 0:
                del counts[key]
        return ParkedCounts(counts)


def with_parked(encoded: bytes, count: int) -> bytes:
    """Return an encoded thread with its number of parked events; it was encoded with none."""
    if count == 0 or encoded == b"null":
        return encoded
    return encode({**orjson.loads(encoded), "parked": count})
