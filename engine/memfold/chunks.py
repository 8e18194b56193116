"""Where attachments are kept: chunks in the blob stream, each under a subject of its own.

``{namespace}.blob.{resource}.{sha256}.{actor}.{upload}.{count}.{index}``: whose it is, the SHA-256
of the whole, who stored it, one try to store it, and which of how many chunks. The payload is the
chunk's bytes and nothing else. One upload's chunks together are a copy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from memfold.errors import InvalidId
from memfold.ids import decode_token, encode_token

CHUNK_BYTES_MAX: Final = 512 * 1024
"""Largest chunk, in bytes: as base64 it still fits one answer of an engine."""
CHUNKS_MAX: Final = 128
"""Most chunks of a copy."""
ATTACHMENT_BYTES_MAX: Final = CHUNKS_MAX * CHUNK_BYTES_MAX
"""Largest attachment: 64 MiB."""

HASH: Final = re.compile("[0-9a-f]{64}")
"""A SHA-256 in lower-case hexadecimal digits."""
_UPLOAD: Final = re.compile("[A-Za-z0-9_-]{1,64}")
_NUMBER: Final = re.compile("0|[1-9][0-9]{0,2}")
_TOKENS: Final = 8
_COPY_TOKENS: Final = 3


@dataclass(frozen=True, slots=True, order=True)
class Copy:
    """One try of one actor to store an attachment, in ``count`` chunks."""

    actor: str
    upload: str
    count: int

    def __str__(self) -> str:
        return f"{encode_token(self.actor)}.{self.upload}.{self.count}"


def stream_name(namespace: str) -> str:
    """Return the name of the blob stream."""
    return f"{namespace}-blob"


def blob_filter(namespace: str, resource: str, sha256: str) -> str:
    """Return the filter that matches all chunks of one attachment of a resource."""
    return f"{namespace}.blob.{encode_token(resource)}.{sha256}.>"


def chunk_subject(namespace: str, resource: str, sha256: str, copy: Copy, index: int) -> str:
    """Return the subject that a chunk is published to."""
    return f"{namespace}.blob.{encode_token(resource)}.{sha256}.{copy}.{index}"


def parse_copy(text: str) -> Copy | None:
    """Return the copy of its tokens ``{actor}.{upload}.{count}``, or None if they are not ours."""
    tokens = text.split(".")
    if len(tokens) != _COPY_TOKENS:
        return None
    actor, upload, count = tokens
    if not (_UPLOAD.fullmatch(upload) and _NUMBER.fullmatch(count)):
        return None
    if not 1 <= int(count) <= CHUNKS_MAX:
        return None
    try:
        return Copy(decode_token(actor), upload, int(count))
    except InvalidId:
        return None


def parse_chunk(namespace: str, subject: str) -> tuple[str, str, Copy, int] | None:
    """Return resource, SHA-256, copy and index of a chunk's subject; None if it is not ours."""
    tokens = subject.split(".")
    if len(tokens) != _TOKENS or tokens[:2] != [namespace, "blob"]:
        return None
    copy = parse_copy(".".join(tokens[4:7]))
    if copy is None or not HASH.fullmatch(tokens[3]) or not _NUMBER.fullmatch(tokens[7]):
        return None
    index = int(tokens[7])
    try:
        resource = decode_token(tokens[2])
    except InvalidId:
        return None
    return None if index >= copy.count else (resource, tokens[3], copy, index)


def count_chunks(size: int) -> int:
    """Return how many chunks an attachment of so many bytes is stored in; at least one."""
    return max(1, -(-size // CHUNK_BYTES_MAX))
