"""``incidents.ndjson``: what a start found that should not be, kept until someone has seen it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from memfold.canonical import encode, from_us, is_object, to_us
from memfold.errors import InvalidEvent
from memfold.gate import parse
from memfold_consumers.line_files import append_line, read_lines, repair

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "incidents.ndjson"
ACKNOWLEDGED: Final = "acknowledged"
"""The kind of a line that says: all above it has been seen."""

_log = structlog.get_logger(__name__)


class Incidents:
    """The incidents of one data directory. Blocking: each line is on the disk before it counts."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        repair(self._path)

    def record(self, kind: str, place: str, text: str) -> None:
        """Keep an incident, and warn in the log."""
        _log.warning("incident_recorded", kind=kind, place=place, text=text)
        self._append(kind, place, text)

    def acknowledge(self, published: int = 0) -> None:
        """Note that someone has seen all of them, and the heads published up to that place."""
        if published > self.seen() or any(not each["acknowledged"] for each in self.read()):
            self._append(ACKNOWLEDGED, "", "", published=published)

    def seen(self) -> int:
        """Return up to which place of the audit stream someone knows what became of the heads."""
        found = (_parsed(line) for line in read_lines(self._path))
        places = (each.get("published") for each in found if each.get("kind") == ACKNOWLEDGED)
        return max((place for place in places if type(place) is int), default=0)

    def read(self) -> list[dict[str, Any]]:
        """Return all incidents, oldest first, each with whether it was acknowledged."""
        found: list[dict[str, Any]] = []
        for line in read_lines(self._path):
            incident = _incident(line)
            if incident["kind"] == ACKNOWLEDGED:
                for each in found:
                    each["acknowledged"] = True
            else:
                found.append(incident)
        return found

    def _append(self, kind: str, place: str, text: str, **more: int) -> None:
        line = {"time": now(), "kind": kind, "place": place, "text": text, **more}
        append_line(self._path, encode(line))


def now() -> str:
    """Return this moment as RFC 3339 text in UTC."""
    return from_us(to_us(datetime.now(UTC)))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = parse(line)
    except InvalidEvent:
        found = None
    if not is_object(found):
        # Someone wrote into the file: that itself is worth a look.
        return {"kind": "incident_unreadable", "place": FILE, "text": "no JSON object"}
    return found


def _incident(line: bytes) -> dict[str, Any]:
    found = _parsed(line)
    texts = {name: str(found.get(name, "")) for name in ("time", "kind", "place", "text")}
    return {**texts, "acknowledged": False}
