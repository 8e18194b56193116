"""From NATS messages to events and back: one event, or a JSON array of them, per message.

Reading never raises for bad content: each event of a batch is readable or parked by itself, so its
neighbours are folded. Only text that is not JSON at all parks the whole message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from memfold.canonical import encode, is_array, is_object
from memfold.envelope import Envelope
from memfold.errors import InvalidEvent
from memfold.events import (
    DATA_TYPES,
    Data,
    Erased,
    MemoryMerged,
    Scoped,
    WorkingMemoryUpdated,
)
from memfold.gate import check, parse
from memfold.limits import BATCH_EVENTS_MAX, EVENT_BYTES_MAX, PAYLOAD_BYTES_MAX
from memfold.sealed import KEYID, KeyFinder, is_sealed, opened
from memfold.subjects import Address, parse_stored
from memfold.upcast import UPCASTERS, Upcaster, upcast

DIGEST_BYTES: Final = 16

_ENVELOPE: Final = TypeAdapter(Envelope).validator
_UPDATED: Final = "WorkingMemoryUpdated"
_READERS: Final = {
    _UPDATED: (MemoryMerged.version, "memory", TypeAdapter[Data](WorkingMemoryUpdated).validator),
    **{cls.type: (cls.version, cls.facet, TypeAdapter[Data](cls).validator) for cls in DATA_TYPES},
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message as the stream recorded it: the unit of the log."""

    sequence: int
    time_ns: int
    subject: str
    payload: bytes
    msg_id: str = ""
    leaf: bytes | None = None
    """Set where the message was erased, in part or (without a payload) as a whole: what is left
    does not give the leaf of what was recorded. Erased events of a batch are null."""


@dataclass(frozen=True, slots=True)
class Event:
    """One readable event at its position in the log."""

    sequence: int
    index: int
    time_us: int
    address: Address
    envelope: Envelope
    data: Data
    digest: bytes

    def shown(self) -> dict[str, Any]:
        """Return what the event says, for people: nearly none reverts, so that is left out."""
        data = self.data.model_dump(mode="json")
        if data.get("reverts", data) is None:
            del data["reverts"]
        return data


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One event that could not be read or understood: it will be parked with this reason.

    ``address`` is None where the subject itself is not one of ours.
    """

    sequence: int
    index: int
    time_us: int
    address: Address | None
    reason: str
    detail: str


def digest(raw: Mapping[str, Any]) -> bytes:
    """Return the identity of an event's content: all of it but the salt, canonically hashed.

    The salt stays out so that one event published twice by a publisher that draws salts anew is
    still the same event; the digest is dropped with the event when that is erased.
    """
    return _hash(_unsalted(raw))


def read_event(
    raw: Any,  # noqa: ANN401  # any JSON value
    address: Address,
    *,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
) -> tuple[Envelope, Data]:
    """Validate one parsed plain event against its address.

    Raises:
        InvalidEvent: its ``reason`` is the code the event is parked under.
    """
    if is_sealed(raw):
        message = f"the attribute {KEYID} is set where an event is sealed, not before"
        raise InvalidEvent(message, reason="seal_invalid")
    _check_limits(raw, address)
    return _read(raw, address, upcasters)


def read_message(
    namespace: str,
    message: Recorded,
    *,
    time_us: int,
    upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS,
    keys: KeyFinder | None = None,
) -> Iterator[Event | Unreadable]:
    """Read all events of one recorded message, in order; bad ones come as :class:`Unreadable`.

    ``time_us`` is the log's time of the message, made monotone by the caller. Sealed events are
    opened with ``keys``; what these raise is raised.
    """
    if message.leaf is not None and not message.payload:
        return
    address: Address | None = None
    try:
        address = parse_stored(namespace, message.subject)
        items = _split(message.payload)
    except InvalidEvent as error:
        yield Unreadable(message.sequence, 0, time_us, address, error.reason, error.message)
        return
    for index, item in enumerate(items):
        if item is None and message.leaf is not None:
            continue
        try:
            raw = opened(item, address, keys) if is_sealed(item) else item
            content = _check_limits(raw, address)
            envelope, data = _read(raw, address, upcasters)
        except InvalidEvent as error:
            yield Unreadable(message.sequence, index, time_us, address, error.reason, error.message)
            continue
        if envelope.resourceid != address.resource or envelope.threadid != address.thread:
            # What the body leaves to the subject is part of what the event says.
            content = f"{address.document_tokens()} ".encode() + content
        yield Event(message.sequence, index, time_us, address, envelope, data, _hash(content))


def message_digests(
    payload: bytes, address: Address, keys: KeyFinder | None = None
) -> Sequence[bytes]:
    """Return the digests of the events in a payload that a client once encoded.

    A sealed one has the digest of the plain one, or none if it cannot be opened.

    Raises:
        InvalidEvent: the payload is not JSON.
    """
    return [_digest(item, address, keys) for item in _split(payload)]


def _digest(item: Any, address: Address, keys: KeyFinder | None) -> bytes:  # noqa: ANN401  # JSON
    if not is_object(item):
        return b""
    try:
        return digest(opened(item, address, keys) if is_sealed(item) else item)
    except InvalidEvent:
        return b""


def _split(payload: bytes) -> list[Any]:
    parsed = parse(payload)
    if not is_array(parsed):
        return [parsed]
    if not parsed:
        message = "a batch holds at least one event"
        raise InvalidEvent(message, reason="batch_empty")
    if len(parsed) > BATCH_EVENTS_MAX:
        message = f"a batch holds at most {BATCH_EVENTS_MAX} events, this one {len(parsed)}"
        raise InvalidEvent(message, reason="batch_too_large")
    return parsed


def _unsalted(raw: Any) -> bytes:  # noqa: ANN401  # any JSON value
    if is_object(raw) and "salt" in raw:
        raw = raw.copy()
        del raw["salt"]
    return encode(raw)


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def _check_limits(raw: Any, address: Address) -> bytes:  # noqa: ANN401  # any JSON value
    """Return the canonical bytes of an event without its salt, once it is within the limits.

    They are measured rather than the payload, whose spaces and escapes depend on who wrote it.
    """
    check(raw)
    content = _unsalted(raw)
    # What says a large event again is itself larger.
    limit = PAYLOAD_BYTES_MAX if address.facet == "erasure" else EVENT_BYTES_MAX
    if len(content) > limit:
        message = f"the event is larger than {limit} bytes"
        raise InvalidEvent(message, reason="event_too_large")
    return content


def _read(
    raw: Any,  # noqa: ANN401  # any JSON value
    address: Address,
    upcasters: Mapping[tuple[str, int], Upcaster],
) -> tuple[Envelope, Data]:
    try:
        envelope: Envelope = _ENVELOPE.validate_python(raw)
    except ValidationError as error:
        message = f"the envelope does not fit: {_explain(error)}"
        raise InvalidEvent(message, reason="invalid_envelope") from None
    reader = _READERS.get(envelope.type)
    if reader is None:
        message = "unknown event type"
        raise InvalidEvent(message, reason="unknown_type")
    version, facet, validator = reader
    _check_authority(envelope, facet, address)
    data = raw.get("data")
    if not is_object(data):
        message = "data must be an object"
        raise InvalidEvent(message, reason="invalid_data")
    if envelope.dataversion != version:
        data = upcast(
            envelope.type, envelope.dataversion, data, current=version, upcasters=upcasters
        )
    try:
        parsed: Data = validator.validate_python(data)
    except ValidationError as error:
        message = f"the data of {envelope.type} does not fit: {_explain(error)}"
        raise InvalidEvent(message, reason="invalid_data") from None
    _check_scope(parsed, address)
    return envelope, parsed


def _check_authority(envelope: Envelope, facet: str, address: Address) -> None:
    if facet != address.facet:
        message = f"{envelope.type} belongs to the facet {facet}, not {address.facet}"
        raise InvalidEvent(message, reason="facet_mismatch")
    if envelope.source != address.actor:
        message = "the source is not the actor of the subject"
        raise InvalidEvent(message, reason="source_mismatch")
    # A body may leave out what the subject says already; it may not say something else.
    if envelope.resourceid is not None and envelope.resourceid != address.resource:
        message = "the resourceid is not the resource of the subject"
        raise InvalidEvent(message, reason="resource_mismatch")
    if envelope.threadid is not None and envelope.threadid != address.thread:
        message = "the threadid is not the thread of the subject"
        raise InvalidEvent(message, reason="thread_mismatch")


def _check_scope(data: Data, address: Address) -> None:
    if data.facet == "erasure":
        _check_erasure_scope(data, address)
        return
    wants_thread = data.scope == "thread" if isinstance(data, Scoped) else data.facet != "resource"
    if wants_thread != (address.thread is not None):
        message = "the subject's thread token does not fit the event's scope"
        raise InvalidEvent(message, reason="scope_mismatch")
    if address.resource is None and data.type != "WorkingMemoryDefined":
        message = "only definitions can be published for the resource _"
        raise InvalidEvent(message, reason="resource_mismatch")


def _check_erasure_scope(data: Data, address: Address) -> None:
    """Check that a thread is named where one is erased; all else may speak of any part of a log."""
    if not isinstance(data, Erased) or data.target == "event":
        return
    wants_thread = data.target != "resource"
    if address.resource is None or wants_thread != (address.thread is not None):
        message = "the subject does not name the target that is to be erased"
        raise InvalidEvent(message, reason="scope_mismatch")


def _explain(error: ValidationError) -> str:
    """Name the first misfit without quoting what stands there, be it a value or an unknown key."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place, text = first["loc"], first["msg"]
    if first["type"] == "extra_forbidden":
        place, text = place[:-1], "unknown field"
    elif first["type"] == "union_tag_invalid":
        text = "unknown mode"
    return f"{'.'.join(str(part) for part in place) or 'event'}: {text}"
