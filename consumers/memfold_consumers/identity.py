"""Which engine this is: an id that stays with its data directory."""

from __future__ import annotations

import os
import re
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = "engine-id"
_ID: Final = re.compile(r"[0-9a-f]{32}")


def engine_id(directory: Path) -> str:
    """Return the id of the engine of a data directory, made when it is first asked for.

    Call it only while holding the directory's lock.
    """
    path = directory / FILE
    try:
        found = path.read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        found = ""
    if _ID.fullmatch(found):
        return found
    made = uuid.uuid4().hex
    directory.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="ascii") as file:
        file.write(f"{made}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return made
