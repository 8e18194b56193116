"""Whether ``log.duckdb`` can be read, for when no engine can start on it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import duckdb

if TYPE_CHECKING:
    from pathlib import Path

_TABLES: Final = ("checkpoint", "event", "leaf", "erased")
_LOCKED: Final = "could not set lock"


def is_damaged(path: Path) -> bool:
    """Tell whether a log's file is there and cannot be read as a whole; it is left as it is.

    Call it only while holding the data directory's lock. It reads all of the file.
    """
    if not path.is_file():
        return False
    try:
        with closing(duckdb.connect(str(path), read_only=True)) as connection:
            for table in _TABLES:
                # Every column of every row is read: much damage shows only then.
                connection.execute(f"SELECT bit_xor(hash({table})) FROM {table}")  # noqa: S608  # our names
                connection.fetchall()
    except duckdb.OutOfMemoryException:
        return False
    except duckdb.Error as error:
        return _LOCKED not in str(error).lower()
    return False
