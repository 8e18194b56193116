"""Stream and log, message by message: what of the log the stream still has, and what it has else.

Reads only. The alignment looks at the end alone; this looks at everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memfold.audit.findings import Findings
from memfold.errors import StorageError
from memfold.jetstream import NO_STREAM, JetStreamError, api
from memfold.leaf import leaf_hash
from memfold_consumers.stream_reading import read_stream
from memfold_projections.leaves import WHERE
from memfold_projections.leaves import check_log as check_log_tables
from memfold_projections.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    from memfold_projections.log import Log


@dataclass(slots=True)
class Diagnosis:
    """What a stream has of a log that ends at ``log``; of a stream that is gone ``last`` is 0.

    ``whole``: up to here it has all of the log. ``last_own``: behind this nothing is the log's.
    ``altered``: other messages than the log's up to there. ``foreign``: messages behind that.
    """

    log: int
    exists: bool = False
    last: int = 0
    whole: int = 0
    own: int = 0
    last_own: int = 0
    altered: int = 0
    foreign: int = 0

    @property
    def kind(self) -> str:
        """``intact``, ``lost``, ``truncated``, ``forked`` or ``damaged``."""
        if self.whole >= self.log:
            return "intact"
        if self.last == 0:
            return "lost"
        if self.altered or self.whole < self.last_own:
            return "damaged"
        if self.foreign:
            return "forked"
        return "truncated" if self.appendable else "damaged"

    @property
    def appendable(self) -> bool:
        """Whether the log's missing messages can follow what the stream has."""
        return self.last == self.whole


async def stream_info(connection: Client, stream: str) -> dict[str, Any] | None:
    """Return the stream's settings and state, None if there is no such stream."""
    try:
        return await api(connection, f"STREAM.INFO.{stream}")
    except JetStreamError as error:
        if error.code == NO_STREAM:
            return None
        raise


async def diagnose(
    connection: Client, stream: str, log: Log, told: Callable[[int], None]
) -> Diagnosis:
    """Compare every message of the stream with its leaf in the log.

    What follows an unbroken log is no fork: it was not folded yet.

    Raises:
        BrokerUnavailable: the server fell silent.
    """
    found = Diagnosis(log.sequence)
    info = await stream_info(connection, stream)
    if info is None:
        return found
    found.exists, found.last = True, info["state"]["last_seq"]
    erased = Erased(log)
    behind = 0
    async for messages in read_stream(connection, stream, found.last):
        leaves = log.leaves(messages[0].sequence - 1, messages[-1].sequence)
        for message in messages:
            if leaves.get(message.sequence) == leaf_hash(message):
                found.own += 1
                found.altered += behind
                behind = 0
                if erased.all_between(found.whole, message.sequence):
                    found.whole = message.sequence
                found.last_own = message.sequence
            else:
                behind += 1
        told(messages[-1].sequence)
    if found.last >= found.log and erased.all_between(found.whole, found.log + 1):
        found.whole = found.log
    elif erased.all_between(found.whole, found.last + 1):
        found.whole = found.last
    if found.whole < found.log:
        found.foreign = behind
    return found


class Erased:
    """Which sequences of a log have a leaf but no whole message any more."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def all_between(self, before: int, behind: int) -> bool:
        """Tell whether every sequence between two others was erased."""
        if behind <= before + 1:
            return True
        chunks = self._log.read(before, behind - 1)
        return all(message.leaf is not None for messages in chunks for message in messages)


def check_log(log: Log, namespace: str, told: Callable[[int], None]) -> None:
    """Check that the log has each message, as its leaf says: it is about to be the only copy.

    What is missing must stand in the records of erasures. One that was cut off has not told yet
    what it deletes, so as much may be missing as was taken out of the file for it.

    Raises:
        StorageError: naming the first that is wrong.
    """
    findings, records = Findings(), Records(log, namespace).now()
    doubtful = check_log_tables(log, log.sequence, records, findings, told)
    untold = set(records.untold())
    owed = sum(messages for erasure, messages, _ in log.erased() if erasure in untold)
    if not findings.total and sum(last - first + 1 for first, last in doubtful) > owed:
        first, _ = doubtful[0]
        text = f"message {first} is missing or not what was left of it, and no erasure says why"
        findings.add("event_missing", first, WHERE, text)
    if findings.total:
        first_found = findings.to_json()[0]["text"]
        message = (
            f"log.duckdb is not what was folded, so nothing was changed: {first_found}. Verify "
            "names all that is wrong; use a copy of the directory that is whole"
        )
        raise StorageError(message)
