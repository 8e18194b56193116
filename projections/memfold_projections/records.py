"""Which messages may be gone or redacted: the log's own records of erasures say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.erasure import FACET
from memfold.erasure_records import ErasureRecords
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
        self._rewrite = log.rewrite
        self._records = ErasureRecords()

    def now(self) -> ErasureRecords:
        """Return what they say by now.

        Raises:
            StorageError: the file cannot be read.
        """
        if self._log.rewrite != self._rewrite:
            # What was said again may have been erased, too.
            self._rewrite, self._upto, self._records = self._log.rewrite, 0, ErasureRecords()
        upto = self._log.sequence
        for rows in self._log.pages(_RECORDS, [self._upto, upto, FACET], CHUNK):
            for row in rows:
                sequence, time_ns, subject, payload, msg_id, redacted = row
                leaf = NO_LEAF if redacted else None
                message = Recorded(sequence, time_ns, subject, payload, msg_id, leaf)
                for event in read_message(self._namespace, message, time_us=0):
                    if isinstance(event, Event):
                        self._records.add(event)
        self._upto = upto
        return self._records
