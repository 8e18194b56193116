"""The content of a generation as one digest: what two folds of one log must have in common."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from memfold_projections.generation import TABLES

if TYPE_CHECKING:
    from memfold_projections.generation import Generation


def content_digests(generation: Generation) -> dict[str, str]:
    """Return the SHA-256 of each table's rows, independent of their physical order."""
    cursor = generation.cursor()
    try:
        found: dict[str, str] = {}
        for table in ["checkpoint", *TABLES]:
            digest = hashlib.sha256()
            # How often the log was written anew is a matter of one directory.
            what = "* EXCLUDE (rewrite)" if table == "checkpoint" else "*"
            cursor.execute(f"SELECT {what} FROM {table} ORDER BY ALL")  # noqa: S608  # our own names
            while rows := cursor.fetchmany(1000):
                for row in rows:
                    digest.update(repr(row).encode())
            found[table] = digest.hexdigest()
        return found
    finally:
        cursor.close()
