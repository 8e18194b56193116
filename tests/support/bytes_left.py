"""Looks for text in every byte of a directory's files, and in every value that they give back."""

from __future__ import annotations

import base64
from pathlib import Path

import duckdb


def files_with(directory: Path, *words: str) -> list[str]:
    """Return the files below a directory whose bytes hold one of the words, plain or in base64."""
    wanted = {form for word in words for form in _forms(word.encode())}
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in wanted)
    )


def columns_with(directory: Path, *words: str) -> list[str]:
    """Return the columns of the DuckDB files below a directory that give back one of the words.

    DuckDB compresses what it stores, so the bytes alone do not tell. Nobody may have them open.
    """
    found: list[str] = []
    forms = [form for word in words for form in _forms(word.encode())]
    for path in sorted(directory.rglob("*.duckdb")):
        with duckdb.connect(str(path), read_only=True) as database:
            columns = database.execute(
                "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
            ).fetchall()
            for table, column, kind in columns:
                if kind not in {"VARCHAR", "BLOB"}:
                    continue
                cursor = database.execute(f'SELECT "{column}" FROM "{table}"')  # noqa: S608
                for (value,) in cursor.fetchall():
                    data = value.encode() if isinstance(value, str) else bytes(value or b"")
                    if any(form in data for form in forms):
                        found.append(f"{path.name} {table}.{column}")
                        break
    return found


def _forms(word: bytes) -> list[bytes]:
    """Return a word as it stands, and what base64 makes of it at each place in three bytes."""
    forms = [word]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + word)
        # The characters at both ends depend on what stands beside.
        forms.append(encoded[2 if shift else 0 : -4].lstrip(b"A") if shift else encoded[:-4])
    return [form for form in forms if len(form) >= 8]
