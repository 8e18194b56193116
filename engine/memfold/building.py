"""The edge where events get their ids, times and salts, and are checked before they are sent.

The only module of the client with a clock and randomness. What it refuses is exactly what the fold
would park, under the same reason.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from uuid_utils import uuid7

from memfold.canonical import from_us
from memfold.errors import InvalidEvent, TooLarge
from memfold.gate import parse
from memfold.sealed import NONCE_BYTES, Key, seal
from memfold.subjects import Address
from memfold.wire import read_event

SALT_BYTES: Final = 16
NS_PER_US: Final = 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """One event, checked and encoded, with the address it goes to."""

    address: Address
    id: str
    type: str
    payload: bytes
    keyid: str = ""
    """The key that it is sealed under."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an event says of its circumstances: what led to it, in which run, in which life."""

    causation: str | None = None
    correlation: str | None = None
    incarnation: int | None = None


NO_CONTEXT: Final = Context()


def new_id() -> str:
    """Return a fresh id that sorts by time (UUID version 7)."""
    return str(uuid7())


def build(
    address: Address, type_: str, data: Mapping[str, Any], context: Context = NO_CONTEXT
) -> Prepared:
    """Make a fresh event of this address out of its ``data``.

    Raises:
        InvalidEvent: the fold would park it, under this ``reason``.
        TooLarge: it is larger than 512 KiB.
    """
    raw: dict[str, Any] = {
        "specversion": "1.0",
        "id": new_id(),
        "type": type_,
        "source": address.actor,
        "time": from_us(time.time_ns() // NS_PER_US),
        "dataversion": 1,
        "salt": base64.b64encode(os.urandom(SALT_BYTES)).decode(),
    }
    if address.resource is not None:
        raw["resourceid"] = address.resource
    if address.thread is not None:
        raw["threadid"] = address.thread
    if context.causation is not None:
        raw["causationid"] = context.causation
    if context.correlation is not None:
        raw["correlationid"] = context.correlation
    if context.incarnation is not None:
        raw["incarnation"] = context.incarnation
    raw["data"] = dict(data)
    return prepare(raw, address)


def prepare(raw: Mapping[str, Any], address: Address) -> Prepared:
    """Check and encode a ready-made event.

    Raises:
        InvalidEvent: the fold would park it, under this ``reason``.
        TooLarge: it is larger than 512 KiB.
    """
    plain = dict(raw)
    try:
        envelope, _ = read_event(plain, address)
    except InvalidEvent as error:
        if error.reason == "event_too_large":
            raise TooLarge(error.message, reason=error.reason) from None
        raise
    return Prepared(address, envelope.id, envelope.type, orjson.dumps(plain))


def sealed(event: Prepared, key: Key) -> Prepared:
    """Return an event sealed under a key of its resource, under a fresh nonce."""
    raw = seal(parse(event.payload), event.address, key, os.urandom(NONCE_BYTES))
    return replace(event, payload=orjson.dumps(raw), keyid=key.id)
