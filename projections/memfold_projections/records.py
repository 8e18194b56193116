"""Which messages may be gone or redacted: the log's own records of erasures say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.erasure import FACET
from memfold.events import Erased, Redacted
from memfold.wire import Event, Recorded, read_message
from memfold_projections.leaves import CHUNK, NO_LEAF

if TYPE_CHECKING:
    from memfold_projections.log import Log

_RECORDS: Final = """
SELECT sequence, time_ns, subject, payload, msg_id, redacted FROM event
WHERE sequence > ? AND sequence <= ? AND split_part(subject, '.', 6) = ? ORDER BY sequence
"""


class Records:
    """The records of one log, read as far as it goes. Not for two threads at once."""

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._namespace = namespace
        self._upto = 0
        self._ranges: list[tuple[int, int]] = []
        self._begun: dict[int, bool] = {}
        """Each ``Erased`` by its sequence, and whether a record says what it deletes."""

    def ranges(self) -> list[tuple[int, int]]:
        """Return the sequences that erasures cover, as ranges with both ends included.

        Raises:
            StorageError: the file cannot be read.
        """
        self._read()
        return self._ranges

    def unfinished(self) -> list[int]:
        """Return the sequences of the erasures that no record says the deletions of.

        Those are cut off, or there was nothing to delete.
        """
        self._read()
        return [sequence for sequence, told in self._begun.items() if not told]

    def _read(self) -> None:
        upto = self._log.sequence
        for rows in self._log.pages(_RECORDS, [self._upto, upto, FACET], CHUNK):
            for row in rows:
                sequence, time_ns, subject, payload, msg_id, redacted = row
                leaf = NO_LEAF if redacted else None
                message = Recorded(sequence, time_ns, subject, payload, msg_id, leaf)
                for event in read_message(self._namespace, message, time_us=0):
                    if isinstance(event, Event):
                        self._take(event)
        self._upto = upto

    def _take(self, event: Event) -> None:
        match event.data:
            case Erased():
                self._begun[event.sequence] = False
            case Redacted(erasure=erasure, sequences=sequences):
                self._begun[erasure] = True
                self._ranges.extend((first, last) for first, last in sequences)
            case _:
                pass
