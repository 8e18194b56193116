"""Every error a caller can meet: one root, each with a stable ``code``.

The same code stands in NATS replies, command-line JSON and logs, so it is a promise: a code is
never renamed and never reused for something else.
"""

from __future__ import annotations

from typing import ClassVar


class MemfoldError(Exception):
    """Something memfold refused or could not do; ``code`` says what, stably."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        """A sentence for people."""
        self.detail = detail
        """More of it for programs, or None."""


class InvalidEvent(MemfoldError):
    """The event cannot be published: ``reason`` is the code under which the fold would park it."""

    code = "invalid_event"

    def __init__(self, message: str, *, reason: str, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.reason = reason
        """The code under which the fold would park it."""


class InvalidId(InvalidEvent):
    """An id is empty, longer than 256 bytes of UTF-8, or not text."""

    code = "invalid_id"

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="invalid_id")


class TooLarge(InvalidEvent):
    """An event, batch or message exceeds its size limit; nothing was sent."""

    code = "too_large"


class InvalidRequest(MemfoldError):
    """The arguments of a call or query do not fit; nothing was sent."""

    code = "invalid_request"


class ReadOnly(MemfoldError):
    """The handle came from ``read_only()``: it refuses every write, and nothing was sent."""

    code = "read_only"


class RevisionConflict(MemfoldError):
    """Someone else wrote after the ``expected`` revision; read again and decide anew."""

    code = "conflict"


class Rejected(MemfoldError):
    """The fold understood the event, but it broke a rule: no effect, final."""

    code = "rejected"

    def __init__(self, message: str, *, reason: str, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.reason = reason
        """The rule that was broken, a code. From a receipt, ``detail`` is the event's id."""


class Parked(MemfoldError):
    """The fold could not read or understand the event: it is kept, with its reason."""

    code = "parked"

    def __init__(self, message: str, *, reason: str, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.reason = reason
        """What could not be understood, a code. From a receipt, ``detail`` is the event's id."""


class NotFound(MemfoldError):
    """The named resource, thread, message or position does not exist."""

    code = "not_found"


class AttachmentDamaged(MemfoldError):
    """What is stored of an attachment is not what its reference says: size or SHA-256 differ."""

    code = "attachment_damaged"


class BrokerUnavailable(MemfoldError):
    """No NATS server answered; what was not acknowledged may or may not be in the log."""

    code = "broker_unavailable"


class PublishDenied(MemfoldError):
    """The NATS server's permissions do not allow this actor to publish there."""

    code = "publish_denied"


class StreamMissing(MemfoldError):
    """The namespace has no event stream yet: start an engine, or call ``ensure_streams()``."""

    code = "stream_missing"


class StreamFull(MemfoldError):
    """The stream refused the message: its storage limit is reached."""

    code = "stream_full"


class UnsafeStream(MemfoldError):
    """A stream's settings would lose or rewrite history; memfold refuses to run on them."""

    code = "unsafe_stream"


class LogDiverged(MemfoldError):
    """The stream is not the log that was folded (truncated, replaced, forked): folding stopped."""

    code = "log_diverged"


class EngineUnavailable(MemfoldError):
    """No engine answered the query."""

    code = "engine_unavailable"


class EngineInUse(MemfoldError):
    """Another process owns this data directory."""

    code = "engine_in_use"


class EngineBusy(MemfoldError):
    """The engine is at another job, and does one at a time."""

    code = "engine_busy"


class NotYetConsistent(MemfoldError):
    """The engine did not reach the asked-for sequence in time; ask again."""

    code = "not_yet_consistent"


class StorageError(MemfoldError):
    """A projection or log file could not be read or written."""

    code = "storage_error"


class ExtraMissing(MemfoldError):
    """What was asked for is a part of memfold that is not installed."""

    code = "extra_missing"


class KeyMissing(MemfoldError):
    """Sealed events must be opened for this, and their key is not here; nothing was changed."""

    code = "key_missing"

    def __init__(self, message: str, *, detail: str | None = None, erasure: int = 0) -> None:
        super().__init__(message, detail=detail)
        self.erasure = erasure
        """The erasure that cannot be carried out without the key, by its sequence; 0: none."""


def error_classes() -> dict[str, type[MemfoldError]]:
    """Return every error class by its code, for decoding replies."""
    found: dict[str, type[MemfoldError]] = {}
    todo: list[type[MemfoldError]] = [MemfoldError]
    while todo:
        cls = todo.pop()
        found[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return found
