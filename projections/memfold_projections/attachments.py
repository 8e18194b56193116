"""Which attachments a resource's events refer to: kept with the generation, asked before a sweep.

Every event counts, applied or not, of whatever type: a rejected one is still shown by a history, a
parked one may be read after an upgrade, and an earlier version of a message can be read as of then.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from memfold.canonical import encode
from memfold.errors import InvalidEvent
from memfold.gate import parse
from memfold.ids import encode_token
from memfold.sealed import opened_parts
from memfold.subjects import parse_stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from memfold.sealed import KeyFinder
    from memfold.wire import Recorded
    from memfold_projections.generation import Generation

    Row = tuple[str, bytes, int]

_HASHES: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_KEY: Final = b"attachment"
_SEALED: Final = b'"keyid"'
_CLOSED: Final = """
SELECT 1 FROM parked WHERE resource = $1 AND reason IN ('key_missing', 'seal_broken') LIMIT 1
"""
_ESCAPE: Final = b"\\u00"
_RESOURCE_TOKEN: Final = 3
_REFERRED: Final = """
SELECT DISTINCT sha256 FROM attachment
WHERE resource = $1 AND sha256 IN (SELECT unnest($2::BLOB[]))
"""


def attachment_rows(messages: Sequence[Recorded], keys: KeyFinder | None = None) -> list[Row]:
    """Return a row for each SHA-256 that a message of the log may refer to an attachment by.

    Rather one too many: it only keeps something from being swept. Of sealed events it is those that
    can be opened; the others are parked, see :func:`referred`.
    """
    rows: list[Row] = []
    for message in messages:
        payload = message.payload
        # Nearly every message has neither, and these two searches cost it less than 1 us.
        if _KEY not in payload and _ESCAPE not in payload and _SEALED not in payload:
            continue
        tokens = message.subject.split(".")
        if len(tokens) > _RESOURCE_TOKEN:
            rows.extend(
                (tokens[_RESOURCE_TOKEN], bytes.fromhex(found.decode()), message.sequence)
                for found in sorted(set(_HASHES.findall(_readable(message, keys))))
            )
    return rows


def referred(generation: Generation, resource: str, hashes: Iterable[str]) -> set[str]:
    """Return those of these SHA-256s that an event of the resource may refer to; for any thread.

    While some of its events cannot be opened, that is all of them.
    """
    cursor = generation.cursor()
    try:
        if cursor.execute(_CLOSED, [resource]).fetchone() is not None:
            return set(hashes)
        wanted = [bytes.fromhex(sha256) for sha256 in hashes]
        rows = cursor.execute(_REFERRED, [encode_token(resource), wanted]).fetchall()
    finally:
        cursor.close()
    return {row[0].hex() for row in rows}


def _readable(message: Recorded, keys: KeyFinder | None) -> bytes:
    """Return what a message says where it can be searched, what is sealed in it as well."""
    payload = _unescaped(message.payload)
    try:
        address = parse_stored(message.subject.partition(".")[0], message.subject)
    except InvalidEvent:
        return payload
    return payload + opened_parts(message.payload, address, keys)


def _unescaped(payload: bytes) -> bytes:
    """Return JSON with plain letters where a publisher wrote escapes; what is no JSON as it is."""
    if _ESCAPE not in payload:
        return payload
    try:
        return encode(parse(payload))
    except (InvalidEvent, TypeError, ValueError, RecursionError):
        return payload
