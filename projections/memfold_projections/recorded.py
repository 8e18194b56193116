"""Raw reads of the log: recorded messages with their leaves, a bounded page at a time."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from memfold.canonical import encode
from memfold.ids import encode_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from memfold_projections.log import Log
    from memfold_projections.rows import Row

SCAN_SEQUENCES: Final = 1 << 16
"""Sequences that are searched at once, so that a page costs no pass over the whole log."""
FETCH_MESSAGES: Final = 16
"""Messages held at once besides the page: each may be almost 1 MiB."""

Place = tuple[int, int]
"""(sequence, byte of its payload): what a page goes on with."""

_MEANT: Final = """
split_part(subject, '.', 4) = $resource
AND ($thread IS NULL OR split_part(subject, '.', 5) = $thread)
"""
_FIND: Final = f"""
SELECT sequence, octet_length(payload) FROM event
WHERE sequence >= $first AND sequence <= $upto AND {_MEANT}
ORDER BY sequence LIMIT $limit
"""  # noqa: S608  # constants only
_READ: Final = f"""
SELECT event.sequence, time_ns, time_us, subject, msg_id, payload, hash, redacted
FROM event JOIN leaf ON event.sequence = leaf.sequence
WHERE event.sequence >= $first AND event.sequence <= $upto
  AND leaf.sequence >= $first AND leaf.sequence <= $upto AND {_MEANT}
ORDER BY event.sequence
"""  # noqa: S608  # constants only
# Of what was erased as a whole the leaf is left; nothing says any more whose it was.
_FIND_ALL: Final = """
SELECT leaf.sequence, coalesce(octet_length(payload), 0)
FROM leaf LEFT JOIN event ON event.sequence = leaf.sequence
WHERE leaf.sequence >= $first AND leaf.sequence <= $upto
ORDER BY leaf.sequence LIMIT $limit
"""
_READ_ALL: Final = """
SELECT leaf.sequence, coalesce(time_ns, 0), coalesce(time_us, 0), coalesce(subject, ''),
    coalesce(msg_id, ''), coalesce(payload, ''::BLOB), hash, coalesce(redacted, true)
FROM leaf LEFT JOIN event ON event.sequence = leaf.sequence
WHERE leaf.sequence >= $first AND leaf.sequence <= $upto
ORDER BY leaf.sequence
"""


@dataclass(frozen=True, slots=True)
class Meant:
    """Whose messages up to which sequence; ``resource`` None: the namespace's defaults.

    With ``whole_log`` it is all messages, those included whose subject names no id, and the leaves
    of those that were erased.
    """

    resource: str | None
    thread: str | None
    upto: int
    whole_log: bool = False

    def parameters(self) -> dict[str, Any]:
        """Return what the statements take."""
        if self.whole_log:
            return {}
        return {
            "resource": "_" if self.resource is None else encode_token(self.resource),
            "thread": None if self.thread is None else encode_token(self.thread),
        }


def recorded_page(
    log: Log, meant: Meant, after: Place, *, limit: int, bytes_max: int
) -> tuple[list[bytes], Place | None]:
    """Return encoded messages from a place on, and where to go on.

    A payload that does not fit a page of its own comes in parts: ``start`` is the byte at which one
    begins, ``size`` the whole payload's.
    """
    found = _found(log, meant, after[0], limit + 1, bytes_max)
    if not found:
        return [], None
    encoded: list[bytes] = []
    left = bytes_max
    asked = {**meant.parameters(), "first": found[0], "upto": found[-1]}
    for rows in log.pages(_READ_ALL if meant.whole_log else _READ, asked, FETCH_MESSAGES):
        for row in rows:
            start = after[1] if row[0] == after[0] else 0
            if len(encoded) == limit:
                return encoded, (row[0], 0)
            entry, end = _encode(row, start, left if not encoded else None)
            if len(entry) > left and encoded:
                return encoded, (row[0], start)
            encoded.append(entry)
            left -= len(entry) + 1
            if end < len(row[5]):
                return encoded, (row[0], end)
    more = next(_sequences(log, meant, found[-1] + 1, 1), None)
    return encoded, None if more is None else (more[0], 0)


def _found(log: Log, meant: Meant, first: int, limit: int, bytes_max: int) -> list[int]:
    """Return the sequences that can be on a page, and the next one."""
    found: list[int] = []
    size = 0
    for sequence, length in _sequences(log, meant, first, limit):
        found.append(sequence)
        size += length
        if len(found) == limit or size > bytes_max:
            break
    return found


def _sequences(log: Log, meant: Meant, first: int, limit: int) -> Iterator[tuple[int, int]]:
    """Yield (sequence, bytes of payload) in order, so many at most for each stretch of the log."""
    while first <= meant.upto:
        upto = min(first + SCAN_SEQUENCES - 1, meant.upto)
        asked = {**meant.parameters(), "first": first, "upto": upto, "limit": limit}
        for rows in log.pages(_FIND_ALL if meant.whole_log else _FIND, asked, limit):
            yield from ((row[0], row[1]) for row in rows)
        first = upto + 1


def _encode(row: Row, start: int, bytes_max: int | None) -> tuple[bytes, int]:
    """Return a message as JSON, and the byte of its payload behind what that has of it."""
    sequence, time_ns, time_us, subject, msg_id, payload, leaf, redacted = row
    shown: dict[str, Any] = {
        "sequence": sequence,
        "time_ns": time_ns,
        "time_us": time_us,
        "subject": subject,
        "msg_id": msg_id,
        "leaf": leaf.hex(),
        "size": len(payload),
        "start": start,
        "redacted": redacted,
        "payload": "",
    }
    end = len(payload)
    if bytes_max is not None:
        # Base64 makes four characters of three bytes.
        end = min(end, start + max(0, bytes_max - len(encode(shown))) // 4 * 3)
    shown["payload"] = binascii.b2a_base64(payload[start:end], newline=False).decode()
    return encode(shown), end
