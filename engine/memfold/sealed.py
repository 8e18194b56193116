"""Sealed events: their data encrypted under a key of their resource (AES-256-GCM). Pure.

A sealed event is an ordinary envelope with the attribute ``keyid`` and ``{"sealed": text}`` in
place of its data: base64 of nonce, ciphertext and tag. It opens only under its own envelope and
address, and is then read as the plain event that it was. Where keys are kept is ``sealing``'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeGuard

from memfold.canonical import encode, is_array, is_object
from memfold.errors import InvalidEvent
from memfold.gate import check, parse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from memfold.subjects import Address

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
KEYID: Final = "keyid"
"""The attribute that names the key; an event with it is a sealed one."""
KEYID_FORM: Final = re.compile("[0-9a-f]{16}")

_SEALED: Final = "sealed"
_TAG_BYTES: Final = 16
_BOUND: Final = ("id", "type", "dataversion", "source", KEYID)
"""Attributes without which, as they were, a sealed event does not open."""
_MORE_BYTES: Final = 128
"""The attribute, the object around the text, nonce, tag and padding take less."""


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One key of one resource: ``id`` stands in its events, ``secret`` is 32 bytes, never shown."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id!r})"


class KeyFinder(Protocol):
    """What finds the keys of sealed events."""

    def find(self, resource: str, keyid: str, /) -> Key | None:
        """Return a key of a resource, retired or not; None if it is not here.

        What stands in the way for a while, a disk or a network, is raised, never told as None.
        """
        ...


class Keys(KeyFinder, Protocol):
    """Where keys are kept: a ``KeyDirectory``, or your own way to a service that keeps them.

    Called in the event loop before each publish, and from several threads of an engine, so it
    answers from memory where it can. The current key of a resource is the one not retired.
    """

    def current(self, resource: str, /) -> Key:
        """Return the current key of a resource, made now if there is none: one for all callers."""
        ...

    def retire(self, resource: str, /) -> Sequence[str]:
        """Let a resource have no current key, and return the ids of all its retired ones."""
        ...

    def retired(self, resource: str, /) -> Sequence[str]:
        """Return the ids of the retired keys of a resource, those not destroyed yet."""
        ...

    def destroy(self, resource: str, keyids: Sequence[str], /) -> int:
        """Destroy keys of a resource for good, and return how many were still there."""
        ...


def seal_bytes(data: bytes, resource: str, key: Key) -> bytes:
    """Return an attachment sealed: the same bytes under the same key give the same again.

    So they are stored once. The nonce is drawn from them by the key: none without it can tell
    what it was drawn from, and no other bytes have it.
    """
    nonce = hmac.new(key.secret, b"attachment" + hashlib.sha256(data).digest(), hashlib.sha256)
    used = nonce.digest()[:NONCE_BYTES]
    return used + _cipher(key).encrypt(used, data, _bound_bytes(resource, key.id))


def open_bytes(stored: bytes, resource: str, key: Key) -> bytes | None:
    """Return the bytes of a sealed attachment; None if they were altered or sealed elsewhere."""
    from cryptography.exceptions import InvalidTag

    nonce, rest = stored[:NONCE_BYTES], stored[NONCE_BYTES:]
    try:
        return _cipher(key).decrypt(nonce, rest, _bound_bytes(resource, key.id))
    except (InvalidTag, ValueError):
        return None


def is_sealed(raw: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether a parsed event is a sealed one, well formed or not."""
    return is_object(raw) and KEYID in raw


def seal(raw: Mapping[str, Any], address: Address, key: Key, nonce: bytes) -> dict[str, Any]:
    """Return a gated plain event sealed; the nonce, 12 bytes, serves once for a key.

    The salt is left out: what is under a nonce cannot be guessed.
    """
    sealed = {name: value for name, value in raw.items() if name not in {"data", "salt"}}
    sealed[KEYID] = key.id
    box = _cipher(key).encrypt(nonce, encode(raw["data"]), _bound(sealed, address))
    sealed["data"] = {_SEALED: base64.b64encode(nonce + box).decode()}
    return sealed


def opened(raw: Mapping[str, Any], address: Address, keys: KeyFinder | None) -> dict[str, Any]:
    """Return a sealed event as the plain one that it was, its data parsed but not yet checked.

    Raises:
        InvalidEvent: reason ``seal_invalid`` (it has another form), ``key_missing``,
            ``seal_broken`` (altered, or moved from another place), or what the gate says.
    """
    check(raw)
    keyid, box = raw[KEYID], _box(raw.get("data"))
    if not isinstance(keyid, str) or not KEYID_FORM.fullmatch(keyid) or box is None:
        message = "a sealed event has a keyid of 16 hexadecimal digits and its data in base64"
        raise InvalidEvent(message, reason="seal_invalid")
    if address.resource is None or address.facet == "erasure":
        message = "definitions for all resources and records of the log are never sealed"
        raise InvalidEvent(message, reason="seal_invalid")
    key = None if keys is None else keys.find(address.resource, keyid)
    if key is None:
        _miss(keyid, has_keys=keys is not None)
    from cryptography.exceptions import InvalidTag

    try:
        nonce, rest = box[:NONCE_BYTES], box[NONCE_BYTES:]
        data = _cipher(key).decrypt(nonce, rest, _bound(raw, address))
    except InvalidTag:
        message = "the event does not open: it was altered, or sealed for another place"
        raise InvalidEvent(message, reason="seal_broken") from None
    plain = {name: value for name, value in raw.items() if name != KEYID}
    plain["data"] = parse(data)
    return plain


def opened_parts(payload: bytes, address: Address, keys: KeyFinder | None) -> bytes:
    """Return what is sealed in a payload, opened where that is possible, for searching in it."""
    found = [_searchable(item, address, keys) for item in _items(payload) if is_sealed(item)]
    return b"\n".join(found)


def keyids(payload: bytes) -> list[str]:
    """Return the ids of the keys that the sealed events of a payload name, one for each event."""
    named = [item[KEYID] for item in _items(payload) if is_sealed(item)]
    return [keyid for keyid in named if isinstance(keyid, str)]


def sealed_bytes_max(size: int) -> int:
    """Return the most bytes that an event of so many takes once it is sealed."""
    return size * 4 // 3 + _MORE_BYTES


def _searchable(item: dict[str, Any], address: Address, keys: KeyFinder | None) -> bytes:
    try:
        return encode(opened(item, address, keys))
    except (InvalidEvent, TypeError, ValueError, RecursionError):
        return b""


def _items(payload: bytes) -> list[Any]:
    # An escape could write the attribute's name in another way; plain payloads cost a search only.
    if b'"keyid"' not in payload and b"\\u00" not in payload:
        return []
    try:
        parsed = parse(payload)
    except InvalidEvent:
        return []
    return parsed if is_array(parsed) else [parsed]


def _box(data: object) -> bytes | None:
    """Return nonce, ciphertext and tag; None if the data has another form than a sealed one's."""
    text = data.get(_SEALED) if is_object(data) and len(data) == 1 else None
    if not isinstance(text, str):
        return None
    try:
        box = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return box if len(box) >= NONCE_BYTES + _TAG_BYTES else None


def _bound(raw: Mapping[str, Any], address: Address) -> bytes:
    """Return what a sealed event is bound to. Not to its namespace: logs are restored elsewhere."""
    return encode([address.resource, address.thread, *(raw.get(name) for name in _BOUND)])


def _bound_bytes(resource: str, keyid: str) -> bytes:
    return encode(["attachment", resource, keyid])


def _cipher(key: Key) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key.secret)


def _miss(keyid: str, *, has_keys: bool) -> NoReturn:
    where = "the keys here lack it" if has_keys else "no keys are configured here (MEMFOLD_KEYS)"
    message = f"sealed under key {keyid}; {where}: put it there, then re-drive"
    raise InvalidEvent(message, reason="key_missing")
