"""Puts messages back into a stream at their own sequences, each only if it is the next one."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from memfold.errors import BrokerUnavailable, StorageError
from memfold.jetstream import api, read_recorded
from memfold.refilled import HEADER, header_for
from memfold.subjects import refill_subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from memfold.wire import Recorded

WINDOW_MESSAGES: Final = 256
WINDOW_BYTES: Final = 4 * 1024 * 1024
ACKNOWLEDGED_S: Final = 30.0
EXPECTED: Final = "Nats-Expected-Last-Sequence"

_PLAIN: Final = re.compile(r"[A-Za-z0-9_%-]+(?:\.[A-Za-z0-9_%-]+)*")
_ODD: Final = "odd"
_HOLE: Final = "hole"


class Refill:
    """One connection's way to put messages back; the stream listens to nothing else meanwhile."""

    def __init__(self, connection: Client, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._prefix = refill_subjects(namespace).removesuffix(">")
        self._inbox = connection.new_inbox()
        self._answers: dict[int, dict[str, Any]] = {}
        self._wanted = 0
        self._complete = asyncio.Event()

    async def put(
        self,
        last: int,
        messages: Iterable[Recorded],
        *,
        upto: int,
        times: bool,
        told: Callable[[int], None],
    ) -> None:
        """Put messages behind the stream's ``last`` one, and holes where sequences are left out.

        The last one comes to stand at ``upto``. With ``times`` they keep their recorded time.

        Raises:
            BrokerUnavailable: the server did not take one; begin again at its last sequence.
            StorageError: something else came between; begin again.
        """
        subscription = await self._connection.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        try:
            for window in _windows(last, messages, upto):
                await self._send(window, times=times)
                for sequence, message in window:
                    if message is None:
                        await self._delete(sequence)
                told(window[-1][0])
        finally:
            await subscription.unsubscribe()

    async def clear_holes(self) -> None:
        """Delete the placeholders that a crash has left: they hold nothing."""
        subject = f"{self._namespace}.{_HOLE}"
        while True:
            found = await read_recorded(
                self._connection, self._namespace, 1, subject_filter=subject
            )
            if found is None:
                return
            await self._delete(found.sequence)

    async def _delete(self, sequence: int) -> None:
        body = {"seq": sequence, "no_erase": True}
        await api(self._connection, f"STREAM.MSG.DELETE.{self._namespace}", body)

    async def _send(self, window: list[tuple[int, Recorded | None]], *, times: bool) -> None:
        self._answers, self._wanted = {}, len(window)
        self._complete.clear()
        for sequence, message in window:
            headers = {EXPECTED: str(sequence - 1)}
            subject, payload = _HOLE, b""
            if message is not None:
                subject, payload = self._subject(message.subject), message.payload
                headers[HEADER] = header_for(message, time=times, subject=subject == _ODD)
            await self._connection.publish(
                self._prefix + subject, payload, f"{self._inbox}.{sequence}", headers
            )
        try:
            async with asyncio.timeout(ACKNOWLEDGED_S):
                await self._complete.wait()
        except TimeoutError:
            text = "the server did not acknowledge what was put back: run the restore again"
            raise BrokerUnavailable(text) from None
        for sequence, _ in window:
            answer = self._answers[sequence]
            if answer.get("seq") != sequence or "error" in answer:
                why = answer.get("error", {}).get("description", f"stands at {answer.get('seq')}")
                text = f"message {sequence} could not be put back ({why}): run the restore again"
                raise StorageError(text)

    async def _on_answer(self, message: Msg) -> None:
        answer = {"error": {"description": "no stream"}} if not message.data else None
        self._answers[int(message.subject.rsplit(".", 1)[-1])] = answer or orjson.loads(
            message.data
        )
        if len(self._answers) >= self._wanted:
            self._complete.set()

    def _subject(self, stored: str) -> str:
        """Return what goes behind the prefix: the stream puts the namespace back in front."""
        own = stored.removeprefix(f"{self._namespace}.")
        # A wildcard in a subject keeps the transform from working; then the header has it.
        return own if own != stored and _PLAIN.fullmatch(stored) else _ODD


def _windows(
    last: int, messages: Iterable[Recorded], upto: int
) -> Iterator[list[tuple[int, Recorded | None]]]:
    """Yield what is to be sent at once: (sequence, message), None for a hole."""
    window: list[tuple[int, Recorded | None]] = []
    size = 0
    for sequence, message in _with_holes(last, messages, upto):
        window.append((sequence, message))
        size += 0 if message is None else len(message.payload)
        if len(window) == WINDOW_MESSAGES or size > WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


def _with_holes(
    last: int, messages: Iterable[Recorded], upto: int
) -> Iterator[tuple[int, Recorded | None]]:
    for message in messages:
        for hole in range(last + 1, message.sequence):
            yield hole, None
        yield message.sequence, message
        last = message.sequence
    for hole in range(last + 1, upto + 1):
        yield hole, None
