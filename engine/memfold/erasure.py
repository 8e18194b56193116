"""What an ``Erased`` covers in the log, and what is left of a message that it covers in part. Pure.

Whoever erases (a client in the stream, each engine in its own copies) asks here, so that all come
to the same bytes. Payloads are anything that a publisher could send.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from memfold.canonical import is_array, is_object
from memfold.errors import InvalidEvent, KeyMissing
from memfold.events import Erased, ErasureCompleted, ParkedDiscarded, Redacted, Restated
from memfold.gate import parse
from memfold.provenance import Position
from memfold.sealed import KeyFinder, is_sealed, opened
from memfold.subjects import Address
from memfold.wire import Recorded

FACET: Final = "erasure"
KEPT: Final = frozenset({Erased.type, Redacted.type, ErasureCompleted.type, ParkedDiscarded.type})
"""Records of the log itself: they hold ids, positions and reasons, and explain the holes."""

_TOKENS: Final = 7
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_ERASED_ITEM: Final = b"null"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One ``Erased``: all of its target below ``sequence`` is to go.

    ``resource`` and ``thread`` are None where the subject has ``_``.
    """

    sequence: int
    resource: str | None
    thread: str | None
    target: str
    message: str | None = None
    position: Position | None = None

    @classmethod
    def of(cls, sequence: int, address: Address, data: Erased) -> Erasure:
        """Return what an ``Erased`` at a sequence and address asks for."""
        return cls(
            sequence,
            address.resource,
            address.thread,
            data.target,
            data.message,
            None if data.position is None else (data.position[0], data.position[1]),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What an erasure covers of one message, and what it leaves.

    ``covered`` are the indexes of its events that go; ``kept`` the others by index, as JSON. With
    nothing kept the message goes as a whole.
    """

    covered: tuple[int, ...]
    kept: Mapping[int, bytes] = field(default_factory=dict[int, bytes])


def part_of(erasure: Erasure, message: Recorded, keys: KeyFinder | None = None) -> Part | None:
    """Return what an erasure covers of a message; None if nothing.

    What cannot be read goes with its resource or thread, and by its position.

    Raises:
        KeyMissing: only what is sealed in it says whether it is covered.
    """
    if message.sequence >= erasure.sequence:
        return None
    tokens = message.subject.split(".")
    if len(tokens) != _TOKENS:
        return None
    _, _, _, resource, thread, facet, _ = tokens
    # The subject is the authority for what may be erased, too.
    ours = same_token(resource, erasure.resource) and (
        erasure.target == "resource" or same_token(thread, erasure.thread)
    )
    elsewhere = erasure.position is not None and erasure.position[0] != message.sequence
    if not ours or (elsewhere and facet != FACET):
        return None
    return _part(erasure, facet, message, keys)


def without_erased(
    message: Recorded,
    erasures: Iterable[Erasure],
    leaf: bytes,
    keys: KeyFinder | None = None,
) -> tuple[Recorded, list[tuple[Erasure, Part]]]:
    """Return what erasures leave of a message, and what each of them takes.

    Raises as :func:`part_of`.
    """
    taken: list[tuple[Erasure, Part]] = []
    # What goes as a whole needs no key, and may have none any more: one message comes last.
    for erasure in sorted(erasures, key=lambda each: each.target == "message"):
        part = part_of(erasure, message, keys)
        if part is not None:
            taken.append((erasure, part))
            message = redacted(message, part, leaf)
            if not message.payload:
                break
    return message, taken


def _part(erasure: Erasure, facet: str, message: Recorded, keys: KeyFinder | None) -> Part | None:
    items = _items(message.payload)
    if items is None:
        whole = erasure.target in {"resource", "thread"} or (
            erasure.position is not None and facet != FACET
        )
        return Part((0,)) if whole else None
    covered: list[int] = []
    kept: dict[int, bytes] = {}
    for index, item in enumerate(items):
        if item is None and message.leaf is not None:
            continue
        if _covers(erasure, facet, (message.sequence, index), item, keys):
            covered.append(index)
        else:
            kept[index] = _encoded(item)
    return Part(tuple(covered), kept) if covered else None


def _covers(
    erasure: Erasure,
    facet: str,
    position: Position,
    item: Any,  # noqa: ANN401  # any JSON value
    keys: KeyFinder | None,
) -> bool:
    if facet == FACET:
        return _covers_record(erasure, item, keys)
    match erasure.target:
        case "event":
            return position == erasure.position
        case "message":
            if facet != "messages":
                return False
            return erasure.message in _message_ids(_readable(erasure, item, keys))
        case _:
            return True


def _readable(erasure: Erasure, item: Any, keys: KeyFinder | None) -> Any:  # noqa: ANN401  # JSON
    """Return an event opened, if it is sealed; one that does not open says nothing."""
    if not is_sealed(item):
        return item
    try:
        return opened(item, Address(erasure.resource, erasure.thread, "messages", ""), keys)
    except InvalidEvent as error:
        if error.reason != "key_missing" or keys is not None:
            # Nobody who has these keys can read it; one that is not of the target stays sealed.
            return None
        message = (
            "which message a sealed event is about cannot be told without its key: configure the "
            "keys (MEMFOLD_KEYS), or erase the whole thread or resource"
        )
        raise KeyMissing(message, detail=error.message, erasure=erasure.sequence) from None


def _covers_record(erasure: Erasure, item: Any, keys: KeyFinder | None) -> bool:  # noqa: ANN401  # JSON
    """Tell whether a record of the log goes: only what holds contents does."""
    type_ = item.get("type") if is_object(item) else None
    if isinstance(type_, str) and type_ in KEPT:
        return False
    if erasure.target in {"resource", "thread"}:
        return True
    inner = restated(item) if type_ == Restated.type else None
    if inner is None:
        return False
    return _covers(erasure, _facet(inner), inner.position, _parsed(inner.event), keys)


@dataclass(frozen=True, slots=True)
class Survivor:
    """An event that was said again, from a message that is gone."""

    position: Position
    subject: str
    time_ns: int
    event: bytes


def restated(item: Any) -> Survivor | None:  # noqa: ANN401  # any JSON value
    """Return what a raw ``Restated`` says; None if it cannot be read."""
    try:
        data = Restated.model_validate(item["data"])
        event = base64.b64decode(data.event, validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None
    return Survivor((data.position[0], data.position[1]), data.subject, data.time_ns, event)


def restatements(erasure: int, message: Recorded, part: Part) -> list[dict[str, Any]]:
    """Return the ``data`` of the ``Restated`` that keep what an erasure leaves of a message.

    What was said again before is said once more, in the same words.
    """
    found: list[dict[str, Any]] = []
    for index, event in part.kept.items():
        again = restated(_parsed(event)) if _facet(message) == FACET else None
        if again is None and _facet(message) == FACET:
            # Records travel alone; one that somebody put beside contents goes with those.
            continue
        survivor = again or Survivor(
            (message.sequence, index), message.subject, message.time_ns, event
        )
        found.append(
            {
                "erasure": erasure,
                "position": list(survivor.position),
                "subject": survivor.subject,
                "time_ns": survivor.time_ns,
                "event": base64.b64encode(survivor.event).decode(),
            }
        )
    return found


def said_again(message: Recorded) -> list[bytes]:
    """Return the events that a message of the facet says again, as JSON."""
    if _facet(message) != FACET:
        return []
    inner = [restated(item) for item in _items(message.payload) or ()]
    return [survivor.event for survivor in inner if survivor is not None]


def redacted_payload(kept: Mapping[int, bytes]) -> bytes:
    """Return the payload that is left of a message: its kept events, null where one is gone."""
    if not kept:
        return b""
    items = [kept.get(index, _ERASED_ITEM) for index in range(max(kept) + 1)]
    return b"[" + b",".join(items) + b"]"


def redacted(message: Recorded, part: Part, leaf: bytes) -> Recorded:
    """Return what is left of a message as the log keeps it. A ``Msg-Id`` is an id of an event.

    What said events again goes as a whole: those that are kept are said once more, elsewhere.
    """
    if not part.kept or _facet(message) == FACET:
        return gone(message.sequence, leaf)
    payload = redacted_payload(part.kept)
    return Recorded(message.sequence, message.time_ns, message.subject, payload, "", leaf)


def gone(sequence: int, leaf: bytes) -> Recorded:
    """Return what is left of a message of which nothing is left."""
    return Recorded(sequence, 0, "", b"", "", leaf)


def ranges(sequences: Sequence[int]) -> list[list[int]]:
    """Return sorted sequences as ranges, both ends included."""
    found: list[list[int]] = []
    for sequence in sequences:
        if found and found[-1][1] == sequence - 1:
            found[-1][1] = sequence
        else:
            found.append([sequence, sequence])
    return found


def _facet(message: Recorded | Survivor) -> str:
    return "".join(message.subject.split(".")[5:6])


def _items(payload: bytes) -> list[Any] | None:
    """Return the items of a payload as a reader of the log counts them; None if it is no JSON."""
    try:
        parsed = parse(payload)
    except InvalidEvent:
        return None
    return parsed if is_array(parsed) else [parsed]


def _parsed(event: bytes) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return parse(event)
    except InvalidEvent:
        return None


def _encoded(item: Any) -> bytes:  # noqa: ANN401  # any JSON value
    """Return an item's JSON: also of what the canonical writer refuses, a number beyond 64 bits."""
    return json.dumps(item, separators=(",", ":")).encode()


def _message_ids(item: Any) -> tuple[object, ...]:  # noqa: ANN401  # any JSON value
    """Return the message ids that an event of the facet ``messages`` may be about."""
    data = item.get("data") if is_object(item) else None
    if not is_object(data):
        return ()
    body = data.get("message")
    return data.get("id"), body.get("id") if is_object(body) else None


@lru_cache(maxsize=65536)
def same_token(written: str, name: str | None) -> bool:
    """Tell whether a token of a subject means an id, in its own form or another one."""
    if name is None:
        return written == "_"
    if written == "_":
        return False
    raw = _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), written)
    try:
        return raw.encode("latin-1") == name.encode()
    except UnicodeEncodeError:
        return written == name
