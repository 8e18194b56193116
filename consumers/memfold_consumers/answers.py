"""Answers on their way out: small enough to be sent, and errors in the shape of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from memfold.errors import InvalidRequest
from memfold.limits import PAYLOAD_BYTES_MAX

if TYPE_CHECKING:
    from memfold.errors import MemfoldError


def sendable(answer: bytes) -> bytes:
    """Return the answer; one that is too large would never be sent, and its asker wait in vain."""
    if len(answer) > PAYLOAD_BYTES_MAX:
        message = "the answer does not fit a message: ask for less at once"
        raise InvalidRequest(message)
    return answer


def error_json(error: MemfoldError) -> bytes:
    """Return an error as the answer to a question."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    reason = getattr(error, "reason", None)
    if reason is not None:
        body["reason"] = reason
    return orjson.dumps({"error": body})
