"""What a restore keeps in the data directory while it is at work: its plan, and saved messages.

Both are written whole or not at all, and synced, before anything is deleted that they speak of.
"""

from __future__ import annotations

import base64
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from memfold.wire import Recorded
from memfold_consumers.flock import PRIVATE_FILE
from memfold_consumers.ownership import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAN: Final = "restore.json"
AHEAD: Final = "restore-ahead.ndjson"
"""Messages that the stream accepted behind the cut; they go back behind the log's last one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A stream is to be deleted and made anew: its mark and settings, and what follows the log."""

    id: str
    log: int
    foreign: int
    altered: str | None
    settings: dict[str, Any]


class RestoreFiles:
    """The files of one data directory."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def plan(self) -> Plan | None:
        """Return the plan of a restore that has not ended."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            return Plan(**orjson.loads((self._data / PLAN).read_bytes()))
        return None

    def write_plan(self, plan: Plan) -> None:
        """From now on the stream may be deleted."""
        write_atomically(self._data / PLAN, orjson.dumps(asdict(plan)) + b"\n")

    def forget(self) -> None:
        """End: everything stands in the stream again. The plan goes first."""
        (self._data / PLAN).unlink(missing_ok=True)
        (self._data / AHEAD).unlink(missing_ok=True)
        for unfinished in self._data.glob("restore-*.ndjson.new"):
            unfinished.unlink(missing_ok=True)

    def saver(self, name: str) -> Saver:
        """Begin to save messages under a name."""
        return Saver(self._data / name)

    def ahead(self) -> Iterator[Recorded]:
        """Yield the saved messages that go behind the log, in their order."""
        with suppress(FileNotFoundError), (self._data / AHEAD).open("rb") as file:
            for line in file:
                yield _decoded(orjson.loads(line))


class Saver:
    """Writes messages to a file that appears under its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh = path.with_name(f"{path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._file = os.fdopen(os.open(self._fresh, flags, PRIVATE_FILE), "wb")
        self.count = 0

    def add(self, message: Recorded) -> None:
        """Write one message."""
        self._file.write(orjson.dumps(_encoded(message)) + b"\n")
        self.count += 1

    def keep(self) -> None:
        """Sync the file and give it its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._fresh.replace(self._path)

    def drop(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._fresh.unlink(missing_ok=True)


def _encoded(message: Recorded) -> dict[str, Any]:
    return {
        "sequence": message.sequence,
        "time_ns": message.time_ns,
        "subject": message.subject,
        "msg_id": message.msg_id,
        "payload": base64.b64encode(message.payload).decode(),
    }


def _decoded(found: dict[str, Any]) -> Recorded:
    payload = base64.b64decode(found["payload"])
    return Recorded(found["sequence"], found["time_ns"], found["subject"], payload, found["msg_id"])
