"""Limits of ``fold_version`` 3. They decide outcomes, so changing one needs a new fold version.

Settings may only be stricter, and only in the client.
"""

from __future__ import annotations

from typing import Final

FOLD_VERSION: Final = 3

ID_BYTES_MAX: Final = 256
"""Longest id (resource, thread, message, event, actor), in bytes of UTF-8."""

JSON_DEPTH_MAX: Final = 64
"""Deepest nesting of one event, the envelope being level 1."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
"""Integers are 64 bits, signed or unsigned: what every JSON writer we rely on keeps exactly."""

EVENT_BYTES_MAX: Final = 512 * 1024
"""Largest event, in bytes of its canonical JSON without the salt."""

BATCH_EVENTS_MAX: Final = 1000
"""Most events in one NATS message."""

MESSAGE_BYTES_MAX: Final = 1024 * 1024
"""Largest NATS message (headers and payload) that the event stream takes."""

HEADER_RESERVE_BYTES: Final = 64 * 1024
"""Room kept free below the server's limit, so that headers never close the connection."""

PAYLOAD_BYTES_MAX: Final = MESSAGE_BYTES_MAX - HEADER_RESERVE_BYTES
"""Largest payload that a client publishes, in bytes."""

DOCUMENT_BYTES_MAX: Final = 256 * 1024
"""Largest working memory, in bytes of its canonical form."""

WRITTEN_BYTES_MAX: Final = 384 * 1024
"""Longest text of a working memory as JSON writes it, escapes included: two fit one snapshot."""

PATHS_BYTES_MAX: Final = 8 * 1024 * 1024
"""Longest paths of a working memory's leaves in all: each has its own, with every key above it."""

PATHS_FREE_BYTES: Final = 4096
"""A document up to this size is never near that: it has at most 1,024 leaves."""

METADATA_BYTES_MAX: Final = 64 * 1024
"""Largest metadata of one thread (with its title), resource or message, in canonical bytes."""

SCHEMA_BYTES_MAX: Final = 64 * 1024
"""Largest template or JSON Schema, in bytes of its canonical form."""

SCHEMA_VALUES_MAX: Final = 10_000
"""Most values in a JSON Schema with its references put in place: none may stop the fold."""

SCHEMA_PATTERNS_MAX: Final = 32
PATTERN_BYTES_MAX: Final = 1024 * 1024
"""Most patterns in a JSON Schema, and the memory that one compiled pattern may take, in bytes."""

VIOLATION_CHECKS_MAX: Final = 200_000
"""Violations are told apart up to this product of the schema's and the document's values."""

KEYFRAME_STEPS_MIN: Final = 64
KEYFRAME_BYTES_PER_STEP: Final = 1024
"""A document gets a keyframe after max(64, its size / 1 KiB) changes: at most 256 steps."""
