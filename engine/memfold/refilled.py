"""Messages that a restore has put back into a stream, and how they say what they were. Pure.

A server gives each message its own time, so a message put back carries what was recorded of the
first one in a header. That counts only for sequences that the stream's own settings name: whoever
may change those may delete the stream as well, but no publisher can make a header count.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from memfold.wire import Recorded

HEADER: Final = "Memfold-Recorded"
"""JSON with what the message was recorded with first: time (ns), id (Nats-Msg-Id), subject."""
METADATA: Final = "memfold_refilled"
"""In a stream's metadata: the ranges of sequences that were put back, as ``1-600,900-950``."""

_RANGE: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Refilled:
    """Which sequences of a stream were put back by a restore."""

    ranges: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Refilled:
        """Read them from a stream's settings."""
        metadata: dict[str, str] = config.get("metadata") or {}
        matches = (_RANGE.fullmatch(part) for part in metadata.get(METADATA, "").split(","))
        return cls(tuple((int(match[1]), int(match[2])) for match in matches if match))

    def __contains__(self, sequence: int) -> bool:
        """Tell whether a sequence was put back."""
        return any(first <= sequence <= last for first, last in self.ranges)

    def plus(self, first: int, last: int) -> Refilled:
        """Return these and one more range, joined where they touch."""
        joined: list[tuple[int, int]] = []
        for begin, end in sorted([*self.ranges, (first, last)]):
            if joined and begin <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], end))
            else:
                joined.append((begin, end))
        return Refilled(tuple(joined))

    def to_text(self) -> str:
        """Return the value for the stream's metadata."""
        return ",".join(f"{first}-{last}" for first, last in self.ranges)

    def original(self, message: Recorded, header: str) -> Recorded:
        """Return a message as it was recorded first, if it was put back; else as it is."""
        if not header or message.sequence not in self:
            return message
        try:
            said = json.loads(header)
            return replace(
                message,
                time_ns=int(said.get("time", message.time_ns)),
                msg_id=str(said.get("id", message.msg_id)),
                subject=str(said.get("subject", message.subject)),
            )
        except (ValueError, TypeError, AttributeError):
            # Not what a restore writes: its leaf will not fit, and that is told.
            return message


def header_for(message: Recorded, *, time: bool, subject: bool) -> str:
    """Return the header under which a message is put back."""
    said: dict[str, Any] = {"id": message.msg_id}
    if time:
        said["time"] = message.time_ns
    if subject:
        said["subject"] = message.subject
    return json.dumps(said, separators=(",", ":"))
