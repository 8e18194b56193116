"""Events that come out the same each time: ids from content, batches from order and size alone.

So an ingest can be run again, or go on where it was cut, and the log gets nothing twice.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from memfold.building import Prepared, prepare
from memfold.canonical import encode_text
from memfold.errors import MemfoldError
from memfold.gate import check, parse
from memfold.limits import BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX
from memfold.sealed import Key, Keys
from memfold.subjects import Address
from memfold.wire import digest

ACTOR: Final = "ingest"
"""Who publishes what other formats hold; our own lines name their sources themselves."""

EVENT_IDS: Final = uuid.UUID("7a1de5c4-5b0a-4d53-9c35-9f0d0c6f3b58")
"""The name space of ids made from content; another one would make every old input new."""

Salts = Callable[[], str]
"""Draws a fresh salt: randomness is an argument here, and no part of an event's identity."""


class InvalidInput(MemfoldError):
    """A file is not of the format it is said to be; the message says where."""

    code = "invalid_input"


@dataclass(frozen=True, slots=True)
class Item:
    """One event of an input; ``origin`` says where it stands there, for people.

    ``given_id`` tells that the id was the input's own, so it says nothing of the content.
    """

    event: Prepared
    origin: str
    digest: bytes
    given_id: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of an input that has no effect, and why; its neighbours go on.

    ``reason`` is the code of a rejected or parked event, or ``invalid_input``.
    """

    origin: str
    reason: str
    message: str


def make_item(
    event: tuple[str, Mapping[str, Any]],
    address: Address,
    *,
    origin: str,
    salts: Salts,
    time: str | None = None,
    causation: str | None = None,
) -> Item:
    """Make an event, (type, data), whose id comes from all that it says.

    Raises:
        InvalidEvent: the fold would park it, under this ``reason``.
    """
    raw: dict[str, Any] = {
        "specversion": "1.0",
        "type": event[0],
        "source": address.actor,
        "dataversion": 1,
        "data": event[1],
    }
    optional = {
        "time": time,
        "resourceid": address.resource,
        "threadid": address.thread,
        "causationid": causation,
    }
    raw |= {name: value for name, value in optional.items() if value is not None}
    check(raw)
    raw["id"] = stable_id(raw)
    return Item(prepare({**raw, "salt": salts()}, address), origin, digest(raw))


def stable_id(content: Mapping[str, Any], occurrence: int = 1) -> str:
    """Return the id of an event without one: the same content at the same occurrence, the same id.

    ``content`` must have passed the gate and say all that tells the event from others.
    """
    return str(uuid.uuid5(EVENT_IDS, f"{occurrence} {encode_text(content)}"))


def keyed(items: Sequence[Item], keys: Keys | None) -> list[Item]:
    """Return events with the ids that were made from content made from a key of their resource.

    So nobody can tell by an id what was said, who only guesses it. The ids are the same as long as
    the key is current. What was caused by another one of ``items`` goes on naming it.
    """
    if keys is None:
        return list(items)
    ids = {
        item.event.id: _keyed_id(item.event.id, keys.current(item.event.address.resource))
        for item in items
        if not item.given_id and item.event.address.resource is not None
    }
    return [_renamed(item, ids) if item.event.id in ids else item for item in items]


def _keyed_id(id_: str, key: Key) -> str:
    made = hmac.new(key.secret, f"ingested {id_}".encode(), hashlib.sha256).digest()
    return str(uuid.UUID(bytes=made[:16], version=5))


def _renamed(item: Item, ids: Mapping[str, str]) -> Item:
    raw = cast("dict[str, Any]", parse(item.event.payload))
    raw["id"] = ids[item.event.id]
    if "causationid" in raw:
        raw["causationid"] = ids.get(raw["causationid"], raw["causationid"])
    return replace(item, event=prepare(raw, item.event.address), digest=digest(raw))


def runs(
    items: Iterable[Item],
    bytes_of: Callable[[Prepared], int] = lambda event: len(event.payload),
) -> Iterator[list[Item]]:
    """Split into batches: consecutive events of one address, within the limits of a message.

    ``bytes_of`` says how many bytes an event will take in it.
    """
    run: list[Item] = []
    size = 2
    for item in items:
        more = bytes_of(item.event) + 1
        full = len(run) == BATCH_EVENTS_MAX or size + more > PAYLOAD_BYTES_MAX
        if run and (full or item.event.address != run[0].event.address):
            yield run
            run, size = [], 2
        run.append(item)
        size += more
    if run:
        yield run
