"""What the records of erasures in a log say of the messages that are no longer there. Pure.

Whoever may publish to the facet ``erasure`` can publish anything there: a record counts only where
it fits an ``Erased`` before it, and then for no more than that covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memfold.erasure import Erasure, Survivor, gone, redacted_payload, restated, same_token
from memfold.events import Erased, Redacted, Restated
from memfold.ranges import Ranges
from memfold.wire import Recorded

if TYPE_CHECKING:
    from memfold.subjects import Address
    from memfold.wire import Event


@dataclass(slots=True)
class _Begun:
    erasure: Erasure
    address: Address
    told: bool = False
    """Whether a record says what is deleted for it."""


class ErasureRecords:
    """The records of one log, taken in in its order."""

    def __init__(self) -> None:
        self._begun: dict[int, _Begun] = {}
        self._ranges = Ranges()
        self._kept: dict[int, dict[int, Survivor]] = {}
        self.unfounded: list[int] = []
        """The sequences of records that fit no erasure: they count for nothing."""

    def add(self, event: Event) -> None:
        """Take in one event of the facet ``erasure``."""
        match event.data:
            case Erased() as data:
                erasure = Erasure.of(event.sequence, event.address, data)
                self._begun.setdefault(event.sequence, _Begun(erasure, event.address))
            case Redacted() as data:
                if not self._add_redacted(event, data):
                    self.unfounded.append(event.sequence)
            case Restated() as data:
                if not self._add_restated(event, data):
                    self.unfounded.append(event.sequence)
            case _:
                pass

    def _add_redacted(self, event: Event, data: Redacted) -> bool:
        begun = self._begun.get(data.erasure)
        if begun is None or begun.address != event.address:
            return False
        begun.told = True
        for first, last in data.sequences:
            self._ranges.add(first, min(last, data.erasure - 1))
        return True

    def _add_restated(self, event: Event, data: Restated) -> bool:
        begun = self._begun.get(data.erasure)
        survivor = restated({"data": data.model_dump()})
        if begun is None or survivor is None or begun.address.actor != event.address.actor:
            return False
        tokens = survivor.subject.split(".")
        erasure = begun.erasure
        fits = (
            same_token(tokens[3], erasure.resource)
            and (erasure.target == "resource" or same_token(tokens[4], erasure.thread))
            if len(tokens) == len(["n", "events", "p", "r", "t", "f", "a"])
            else False
        )
        sequence, index = survivor.position
        if not fits or sequence not in self._ranges:
            return False
        self._kept.setdefault(sequence, {})[index] = survivor
        return True

    def explains(self, sequence: int) -> bool:
        """Tell whether a record says that this message was to be deleted."""
        return sequence in self._ranges

    def unexplained(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return what of a range of missing messages no record speaks of."""
        return self._ranges.missing(first, last)

    def message(self, sequence: int, leaf: bytes) -> Recorded:
        """Return what is left of a message that is no longer there."""
        kept = self._kept.get(sequence)
        if not kept:
            return gone(sequence, leaf)
        first = kept[min(kept)]
        payload = redacted_payload({index: each.event for index, each in kept.items()})
        return Recorded(sequence, first.time_ns, first.subject, payload, "", leaf)

    def survivors(self, first: int, last: int) -> Iterator[int]:
        """Yield the messages of a range of which something is left, in order."""
        if last - first > len(self._kept):
            yield from sorted(each for each in self._kept if first <= each <= last)
        else:
            yield from (each for each in range(first, last + 1) if each in self._kept)

    def erasures(self) -> list[Erasure]:
        """Return the erasures, in the log's order."""
        return [each.erasure for each in self._begun.values()]

    def untold(self) -> list[int]:
        """Return the erasures of which no record says what is deleted: cut off, or nothing was."""
        return [sequence for sequence, each in self._begun.items() if not each.told]
