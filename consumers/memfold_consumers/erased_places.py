"""What verify finds at the places where something was erased, in the log and in the stream.

Leaves say nothing there any more: what is left has to be what the records of erasures say. Only of
an erasure that was cut off before it had told all, the stream still has the messages.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from memfold.erasure import without_erased
from memfold.jetstream import api, read_recorded
from memfold.leaf import leaf_hash
from memfold.ranges import Ranges
from memfold.refilled import Refilled
from memfold_consumers.threads import in_thread
from memfold_projections.leaves import WHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client

    from memfold.audit.findings import Findings
    from memfold.erasure_records import ErasureRecords
    from memfold.sealed import KeyFinder
    from memfold.wire import Recorded
    from memfold_projections.log import Log
    from memfold_projections.records import Records

    Tick = Callable[[int], None]


class ErasedPlaces:
    """Looks at single places of one log and its stream."""

    def __init__(
        self,
        connection: Client,
        namespace: str,
        log: Log,
        records: Records,
        findings: Findings,
        keys: KeyFinder | None = None,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._log = log
        self._records = records
        self._findings = findings
        self._keys = keys

    async def check_log(self, doubtful: Sequence[tuple[int, int]], tick: Tick) -> None:
        """Settle where the log may have lost, changed or gained what an erasure left."""
        records = await in_thread(self._records.now)
        self._check_records(records)
        if not doubtful:
            return
        config = (await api(self._connection, f"STREAM.INFO.{self._namespace}"))["config"]
        refilled, unfinished = Refilled.of(config), set[int]()
        for first, last in doubtful:
            for sequence in range(first, last + 1):
                tick(sequence)
                row, leaf = await in_thread(partial(self._read, sequence))
                if self._is_told(records, sequence, row, leaf):
                    continue
                message = await read_recorded(
                    self._connection, self._namespace, sequence, refilled=refilled
                )
                whole = message is not None and leaf is not None and leaf_hash(message) == leaf
                if message is not None and leaf is not None and whole:
                    left, taken = without_erased(message, records.erasures(), leaf, self._keys)
                    if taken and (row == left if left.payload else row is None):
                        unfinished.update(erasure.sequence for erasure, _ in taken)
                        continue
                self._blame(records, sequence, last, row)
                if row is None:
                    # The rest of the hole is the same one.
                    break
        for sequence in sorted(unfinished):
            text = (
                f"the erasure {sequence} was cut off before the stream's messages were deleted: "
                "run it again"
            )
            self._findings.add("erasure_unfinished", sequence, WHERE, text)

    def _check_records(self, records: ErasureRecords) -> None:
        for sequence in records.unfounded:
            text = f"the record at {sequence} fits no erasure: it counts for nothing"
            self._findings.add("erasure_unfounded", sequence, WHERE, text)

    def _read(self, sequence: int) -> tuple[Recorded | None, bytes | None]:
        found = [each for page in self._log.read(sequence - 1, sequence) for each in page]
        leaf = self._log.leaves(sequence - 1, sequence).get(sequence)
        return (found[0] if found else None), leaf

    def _is_told(
        self, records: ErasureRecords, sequence: int, row: Recorded | None, leaf: bytes | None
    ) -> bool:
        """Tell whether a row, or that there is none, is what the records say."""
        if row is not None and row.leaf is None:
            # Whole: its leaf was looked at.
            return True
        if not records.explains(sequence) or leaf is None:
            return False
        left = records.message(sequence, leaf)
        return row == left if left.payload else row is None

    def _blame(
        self, records: ErasureRecords, sequence: int, last: int, row: Recorded | None
    ) -> None:
        if row is not None:
            text = f"message {sequence} is not what an erasure left of it"
            self._findings.add("event_changed", sequence, WHERE, text)
        elif records.explains(sequence):
            text = f"the table event has not what an erasure left of message {sequence}"
            self._findings.add("event_missing", sequence, WHERE, text)
        else:
            text = f"the table event has no messages {sequence} to {last}, and no erasure says why"
            self._findings.add("event_missing", sequence, WHERE, text)

    async def check_stream(self, holes: Sequence[tuple[int, int]], done: set[int]) -> None:
        """Tell whether the stream's holes are erasures; ``done`` are those carried out here."""
        records, where = await in_thread(self._records.now), f"stream {self._namespace}"
        missing = Ranges(holes)
        for hole in holes:
            for first, last in records.unexplained(*hole):
                text = f"the stream has no messages {first} to {last}, and no erasure says why"
                self._findings.add("stream_missing", first, where, text)
        pending = [each for each in records.erasures() if each.sequence not in done]
        first, last = min(each[0] for each in holes), max(each[1] for each in holes)
        for sequence in sorted(await in_thread(partial(self._log.whole, first - 1, last))):
            if sequence not in missing or not records.explains(sequence):
                continue
            row, leaf = await in_thread(partial(self._read, sequence))
            if row is None or row.leaf is not None or leaf is None:
                continue
            if not without_erased(row, pending, leaf, self._keys)[1]:
                text = (
                    f"the stream has no message {sequence}; a record says that it was erased, the "
                    "log has it"
                )
                self._findings.add("stream_missing", sequence, where, text)
