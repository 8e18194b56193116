"""Reading recorded messages from a stream's leader. Never by direct get: that may be stale."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from memfold.refilled import HEADER, Refilled
from memfold.wire import Recorded

if TYPE_CHECKING:
    from nats.aio.msg import Msg

REQUEST_S: Final = 5.0
NO_MESSAGE: Final = 10037
"""JetStream's error code for "no message found"."""
DELETE_REFUSED: Final = frozenset({10037, 10043, 10057})
"""JetStream's error codes for deleting what is deleted already, but also for failing to."""
NO_STREAM: Final = 10059
"""JetStream's error code for "stream not found"."""

_TIME: Final = re.compile(r"(.{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class Requester(Protocol):
    """What can send requests: a nats-py client, or a :class:`memfold.connection.Connection`."""

    async def request(self, subject: str, payload: bytes = b"", timeout: float = ...) -> Msg:
        """Return the reply to a request."""
        ...


class JetStreamError(Exception):
    """The JetStream API answered with an error; ``code`` is its ``err_code``."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code


async def api(connection: Requester, operation: str, body: object = None) -> dict[str, Any]:
    """Send one request to ``$JS.API`` and return its answer.

    Raises:
        JetStreamError: the API refused.
        nats.errors.Error: no answer within 5 s, or not connected.
    """
    payload = b"" if body is None else orjson.dumps(body)
    reply = await connection.request(f"$JS.API.{operation}", payload, timeout=REQUEST_S)
    answer: dict[str, Any] = orjson.loads(reply.data)
    error = answer.get("error")
    if error is not None:
        raise JetStreamError(int(error.get("err_code", 0)), str(error.get("description", "")))
    return answer


async def read_recorded(
    connection: Requester,
    stream: str,
    sequence: int,
    *,
    subject_filter: str | None = None,
    refilled: Refilled = Refilled(),  # noqa: B008  # frozen
) -> Recorded | None:
    """Return the message at ``sequence``, or with a filter the first matching one from there on.

    ``refilled`` says which messages of the stream are given as they were recorded first. None if
    there is no message. Raises as :func:`api`.
    """
    body: dict[str, object] = {"seq": sequence}
    if subject_filter is not None:
        body["next_by_subj"] = subject_filter
    return await _read(connection, stream, body, refilled)


async def read_last(connection: Requester, stream: str, subject: str) -> Recorded | None:
    """Return the last message of a subject, None if there is none. Raises as :func:`api`."""
    return await _read(connection, stream, {"last_by_subj": subject}, Refilled())


async def _read(
    connection: Requester, stream: str, body: object, refilled: Refilled
) -> Recorded | None:
    try:
        answer = await api(connection, f"STREAM.MSG.GET.{stream}", body)
    except JetStreamError as error:
        if error.code == NO_MESSAGE:
            return None
        raise
    message = answer["message"]
    headers = base64.b64decode(message.get("hdrs", ""))
    recorded = Recorded(
        sequence=message["seq"],
        time_ns=time_ns(message["time"]),
        subject=message["subject"],
        payload=base64.b64decode(message.get("data", "")),
        msg_id=_header(headers, "Nats-Msg-Id"),
    )
    return refilled.original(recorded, _header(headers, HEADER))


async def erase_message(connection: Requester, stream: str, sequence: int) -> bool:
    """Overwrite and delete one message; False if it was gone already. Raises as :func:`api`."""
    body = {"seq": sequence, "no_erase": False}
    try:
        await api(connection, f"STREAM.MSG.DELETE.{stream}", body)
    except JetStreamError as error:
        there = await read_recorded(connection, stream, sequence)
        if error.code not in DELETE_REFUSED or there is not None:
            raise
        return False
    return True


def time_ns(text: str) -> int:
    """Return RFC 3339 text with up to nine decimals as nanoseconds since 1970, exactly."""
    match = _TIME.fullmatch(text)
    if match is None:
        message = f"not an RFC 3339 time: {text[:40]!r}"
        raise ValueError(message)
    whole, fraction, zone = match.groups()
    moment = datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def _header(block: bytes, name: str) -> str:
    """Return a header as nats-py reads it from a delivered message, so that both give one leaf.

    Names are case-sensitive, of several the last one counts, bytes that are no UTF-8 are replaced.
    """
    found = ""
    for line in block.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and key.strip() == name.encode():
            found = value.strip().decode(errors="replace")
    return found
