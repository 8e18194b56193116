"""Merkle leaves (RFC 6962): the fingerprint of one recorded message. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memfold.wire import Recorded


def leaf_hash(message: Recorded) -> bytes:
    """Return the 32-byte leaf of a message as the stream recorded it.

    SHA-256 of 0x00 || u64be sequence || u64be server time in ns || u16be length + subject ||
    u16be length + Msg-Id || SHA-256 of the payload.
    """
    subject, msg_id = message.subject.encode(), message.msg_id.encode()
    return hashlib.sha256(
        b"\x00"
        + message.sequence.to_bytes(8, "big")
        + message.time_ns.to_bytes(8, "big")
        + len(subject).to_bytes(2, "big")
        + subject
        + len(msg_id).to_bytes(2, "big")
        + msg_id
        + hashlib.sha256(message.payload).digest()
    ).digest()
