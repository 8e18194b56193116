"""Delivery of one NATS message to the stream, exactly once: the retry protocol.

The same bytes go out under the same Msg-Id until the stream has answered. Whatever it answers is
taken at its word only when the log agrees.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import nats.errors
import orjson

from memfold.connection import ConnectionCut
from memfold.errors import (
    BrokerUnavailable,
    EngineUnavailable,
    NotYetConsistent,
    PublishDenied,
    RevisionConflict,
    StreamFull,
    StreamMissing,
    TooLarge,
)
from memfold.jetstream import NO_STREAM, JetStreamError, api
from memfold.landing import Landed, LogReader, Outgoing
from memfold.subjects import stored_filter

if TYPE_CHECKING:
    from memfold.connection import Connection

ATTEMPT_S: Final = 5.0
BACK_OFF_FIRST_S: Final = 0.05
BACK_OFF_MAX_S: Final = 1.0
MISSING_SURE: Final = 2
FRESH_BYTES: Final = 8

# JetStream's error codes (nats-server, server/errors.json).
WRONG_LAST_SEQUENCE: Final = 10071
WRONG_LAST_SEQUENCE_PENDING: Final = 10164
MESSAGE_TOO_LARGE: Final = frozenset({10052, 10054})
NO_RESOURCES: Final = frozenset({10023, 10028, 10047})
STORE_FAILED: Final = 10077
UNAVAILABLE: Final = 503

_NUMBER: Final = re.compile(r"wrong last sequence: (\d+)")
_PASSING: Final = (
    ConnectionCut,
    TimeoutError,
    nats.errors.Error,
    JetStreamError,
    EngineUnavailable,
    NotYetConsistent,
)
"""What says nothing about the fate of a message: the next try will tell."""


class Delivery:
    """One message on its way: what was tried, what is known, until when to go on."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        log: LogReader,
        outgoing: Outgoing,
        deadline: float,
        *,
        attempt_s: float = ATTEMPT_S,
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._log = log
        self._outgoing = outgoing
        self._deadline = deadline
        self._attempt_s = attempt_s
        self._clock = asyncio.get_running_loop().time
        self._missing = 0
        self._asked_engine = False
        self._last: BaseException | None = None

    async def run(self) -> Landed:
        """Publish until the message stands in the log.

        Raises:
            RevisionConflict: another write came after the expected revision.
            PublishDenied, TooLarge, StreamMissing, StreamFull: the message was refused.
            BrokerUnavailable: not acknowledged in time; it may or may not be in the log.
        """
        back_off_s = BACK_OFF_FIRST_S
        while True:
            try:
                async with asyncio.timeout_at(self._deadline):
                    landed = await self._attempt()
                if landed is not None:
                    return landed
                continue
            except nats.errors.NoRespondersError as error:
                self._last = error
                await self._check_stream()
            except _PASSING as error:
                self._last = error
            pause_s = back_off_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients.
            if self._clock() + pause_s >= self._deadline:
                self._give_up()
            await asyncio.sleep(pause_s)
            back_off_s = min(2 * back_off_s, BACK_OFF_MAX_S)

    async def _attempt(self) -> Landed | None:
        """Publish once; None: something was learnt that makes the next try a different one."""
        outgoing = self._outgoing
        headers = {"Nats-Msg-Id": outgoing.msg_id}
        if outgoing.expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(outgoing.expected)
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = stored_filter(
                self._namespace, outgoing.address
            )
        reply = await self._connection.request(
            outgoing.subject, outgoing.payload, self._attempt_s, headers
        )
        answer: dict[str, Any] = orjson.loads(reply.data)
        self._missing = 0
        error = answer.get("error")
        if error is not None:
            return await self._refused(error)
        if answer.get("stream") != self._namespace:
            message = f"stream {answer.get('stream')} took the message, not {self._namespace}"
            raise StreamMissing(message)
        sequence: int = answer["seq"]
        if not answer.get("duplicate"):
            return Landed(sequence, 0, duplicate=False)
        landed = await self._log.find_at(outgoing, sequence)
        if landed is None:
            # Someone else's event has our Msg-Id: under a fresh one ours is not taken for it.
            fresh = f"{_base(outgoing.msg_id)}.{secrets.token_hex(FRESH_BYTES)}"
            self._outgoing = replace(outgoing, msg_id=fresh)
        return landed

    async def _refused(self, error: dict[str, Any]) -> Landed | None:
        code, description = error.get("err_code"), str(error.get("description", ""))
        if code in (WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_PENDING):
            return await self._moved_on(description)
        if code in MESSAGE_TOO_LARGE:
            message = f"the stream refused the message: {description}"
            raise TooLarge(message, reason="message_too_large")
        if code in NO_RESOURCES or (code == STORE_FAILED and "exceeded" in description):
            message = f"the stream refused the message: {description}"
            raise StreamFull(message)
        if error.get("code") == UNAVAILABLE:
            raise JetStreamError(int(code or 0), description)
        message = f"the stream refused the message: {description} ({code})"
        raise BrokerUnavailable(message)

    async def _moved_on(self, description: str) -> Landed | None:
        """Find out who wrote after the expected sequence: we, another, or nobody."""
        outgoing = self._outgoing
        assert outgoing.expected is not None
        match = _NUMBER.search(description)
        last = None if match is None else int(match.group(1))
        if last is not None and last < outgoing.expected:
            await self._rewound(last, outgoing.expected)
            return None
        try:
            landed = await self._log.find_next(outgoing, outgoing.expected, last)
        except LookupError:
            raise JetStreamError(WRONG_LAST_SEQUENCE_PENDING, description) from None
        if landed is not None:
            return landed
        if outgoing.expected == 0 and not self._asked_engine:
            # Rejected and parked events move the subject on, too, and leave nothing there.
            known = await self._log.revision(outgoing.address, last or 1)
            self._asked_engine = True
            if known is not None and not known[1]:
                self._outgoing = replace(outgoing, expected=known[0])
                return None
        message = f"someone else wrote after revision {outgoing.expected}"
        raise RevisionConflict(message)

    async def _rewound(self, last: int, expected: int) -> None:
        """Go on from the stream's last sequence of the document if the expected one was erased.

        Erasing a document's last messages moves its baseline back. Only an engine can tell that
        from a revision that never was this document's, which must not pass for a match.
        """
        known = await self._log.revision(self._outgoing.address, last)
        if known is None or known[0] != expected:
            message = f"the document is at revision {last}, not {expected}"
            raise RevisionConflict(message)
        self._outgoing = replace(self._outgoing, expected=last)

    async def _check_stream(self) -> None:
        """Raise ``StreamMissing`` once the server has said twice that there is no such stream."""
        try:
            async with asyncio.timeout_at(self._deadline):
                await api(self._connection, f"STREAM.INFO.{self._namespace}")
        except JetStreamError as error:
            self._missing = self._missing + 1 if error.code == NO_STREAM else 0
            if self._missing >= MISSING_SURE:
                self._give_up()
        except (PublishDenied, *_PASSING):
            # An agent may not be allowed to ask: then only the deadline makes it certain.
            return

    def _give_up(self) -> NoReturn:
        if isinstance(self._last, nats.errors.NoRespondersError):
            message = f"no stream takes what is published in namespace {self._namespace}"
            raise StreamMissing(message)
        message = "the publish was not acknowledged in time; it may or may not be in the log"
        raise BrokerUnavailable(message, detail=_explain(self._last))


def _base(msg_id: str) -> str:
    """Return the resource token and event id of a Msg-Id; tokens hold no dots."""
    return ".".join(msg_id.split(".")[:2])


def _explain(error: BaseException | None) -> str | None:
    return None if error is None else (str(error) or type(error).__name__)
