"""What engines publish of the tree: leaves in blocks, and heads. Their forms, and pure.

Anyone may keep a head elsewhere: one line of JSON. A log that gives another root at its size is not
the log that it was made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from memfold.audit.merkle import HASH_BYTES
from memfold.canonical import encode, is_object
from memfold.errors import InvalidEvent
from memfold.gate import check, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK_LEAVES_MAX: Final = 10_000
"""Leaves in one message of the audit stream: 320 KB."""
_NUMBER_BYTES: Final = 8
_SIZE_MAX: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Head:
    """The root of the tree over the first ``size`` messages, and which engine said so when.

    ``time`` is RFC 3339 text of the engine's clock. Nothing proves it, nor ``engine``.
    """

    size: int
    root: bytes
    time: str = ""
    engine: str = ""

    def encode(self) -> bytes:
        """Return it as canonical JSON, on one line."""
        return encode(
            {
                "size": self.size,
                "root": self.root.hex(),
                "time": self.time,
                "engine": self.engine,
            }
        )


def read_head(line: bytes) -> Head:
    """Read a head; members that it does not know are left alone.

    Raises:
        ValueError: it is none.
    """
    try:
        found = parse(line)
        check(found)
    except InvalidEvent as error:
        message = f"no head: {error.message}"
        raise ValueError(message) from None
    if not is_object(found):
        message = "no head: not a JSON object"
        raise ValueError(message)
    size, root = found.get("size"), found.get("root")
    time, engine = found.get("time", ""), found.get("engine", "")
    if type(size) is not int or not 0 <= size < _SIZE_MAX:
        message = "no head: size is a whole number"
        raise ValueError(message)
    if type(root) is not str or not _is_hash(root):
        message = "no head: root is a SHA-256 in lower case hexadecimal digits"
        raise ValueError(message)
    if type(time) is not str or type(engine) is not str:
        message = "no head: time and engine are text"
        raise ValueError(message)
    return Head(size, bytes.fromhex(root), time, engine)


def encode_block(first: int, leaves: Sequence[bytes]) -> bytes:
    """Return a block: the first leaf's sequence as u64be, then the leaves of 32 bytes."""
    return first.to_bytes(_NUMBER_BYTES, "big") + b"".join(leaves)


def read_block(payload: bytes) -> tuple[int, list[bytes]]:
    """Return the first sequence and the leaves of a block.

    Raises:
        ValueError: it is none.
    """
    size = len(payload) - _NUMBER_BYTES
    first = int.from_bytes(payload[:_NUMBER_BYTES], "big")
    if size <= 0 or size % HASH_BYTES or not 0 < first < _SIZE_MAX:
        message = "no block of leaves"
        raise ValueError(message)
    places = range(_NUMBER_BYTES, len(payload), HASH_BYTES)
    return first, [payload[place : place + HASH_BYTES] for place in places]


def audit_stream(namespace: str) -> str:
    """Return the name of the stream that holds leaves and heads."""
    return f"{namespace}-audit"


def leaves_subject(namespace: str) -> str:
    """Return the subject of blocks of leaves."""
    return f"{namespace}.audit.leaves"


def heads_subject(namespace: str) -> str:
    """Return the subject of heads."""
    return f"{namespace}.audit.heads"


def _is_hash(text: str) -> bool:
    return len(text) == 2 * HASH_BYTES and not set(text) - set("0123456789abcdef")
