"""The rows of Mastra's memory: of a libSQL (SQLite) database file, or of an export in JSON.

An export may have its rows in any order and be larger than memory, so they go through a database
of our own, on disk and gone at the end. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from memfold.canonical import is_object
from memfold.errors import InvalidEvent
from memfold_consumers.formats.conversations import Misfit, Skipped
from memfold_consumers.formats.stable import Fault, InvalidInput
from memfold_consumers.formats.values import Bytes, Value, parse_value, values

SQLITE: Final = b"SQLite format 3\0"
LISTS: Final = ("threads", "messages", "resources")

_TABLES: Final = "SELECT name FROM sqlite_master WHERE name LIKE 'mastra!_%' ESCAPE '!'"
_MESSAGES: Final = """
    SELECT m.*, m.thread_id AS "of"
    FROM mastra_messages AS m LEFT JOIN mastra_threads AS t ON t.id = m.thread_id
    ORDER BY t.createdAt, t.id, m.thread_id, m.rowid
"""
_THREAD: Final = "SELECT * FROM mastra_threads WHERE id = ?"
_EMPTY_THREADS: Final = """
    SELECT *, id AS "of" FROM mastra_threads
    WHERE id IS NULL
    OR id NOT IN (SELECT thread_id FROM mastra_messages WHERE thread_id IS NOT NULL)
    ORDER BY createdAt, id
"""
_RESOURCES: Final = "SELECT * FROM mastra_resources ORDER BY createdAt, id"

_SPOOL: Final = """
    PRAGMA journal_mode = OFF;
    CREATE TABLE thread (id TEXT PRIMARY KEY, place TEXT, "row" BLOB);
    CREATE TABLE message (thread TEXT, place TEXT, "row" BLOB);
    CREATE TABLE resource (id TEXT PRIMARY KEY, place TEXT, "row" BLOB);
"""
_ADD: Final = {
    "threads": "INSERT OR IGNORE INTO thread VALUES (?, ?, ?)",
    "messages": "INSERT INTO message VALUES (?, ?, ?)",
    "resources": "INSERT OR IGNORE INTO resource VALUES (?, ?, ?)",
}
_SPOOLED_MESSAGES: Final = """
    SELECT m.thread, m.place, m."row"
    FROM message AS m LEFT JOIN thread AS t ON t.id = m.thread
    ORDER BY t.rowid, m.thread, m.rowid
"""
_SPOOLED_THREAD: Final = 'SELECT place, "row" FROM thread WHERE id = ?'
_SPOOLED_EMPTY_THREADS: Final = """
    SELECT id, place, "row" FROM thread WHERE id NOT IN (SELECT thread FROM message) ORDER BY rowid
"""
_SPOOLED_BEFORE: Final = {
    "threads": _SPOOLED_THREAD,
    "resources": 'SELECT place, "row" FROM resource WHERE id = ?',
}
_SPOOLED_RESOURCES: Final = 'SELECT place, "row" FROM resource ORDER BY rowid'


@dataclass(frozen=True, slots=True)
class Row:
    """One row, by the names of its columns, and where it stands."""

    place: str
    cells: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ThreadRows:
    """The messages of one thread in the order of the file, and the thread's own row if any."""

    id: str
    thread: Row | None
    messages: list[Row] = field(default_factory=list[Row])


class Rows(ABC):
    """What there is to import."""

    @abstractmethod
    def threads(self) -> Iterator[ThreadRows | Fault]:
        """Yield all threads, each with its messages; those without any come last."""

    @abstractmethod
    def resources(self) -> Iterator[Row]:
        """Yield the rows of resources."""

    def problems(self) -> Iterator[Fault | Skipped]:
        """Yield what could not be read as a row, and what is left out."""
        yield from ()


@contextmanager
def open_rows(path: Path, stream: Bytes) -> Generator[Rows]:
    """Open the rows of a file for the length of a block; they are those of one moment.

    Raises:
        InvalidInput: it is not a database or an export of Mastra.
    """
    is_database = stream.begins(SQLITE)
    uri = f"{path.absolute().as_uri()}?mode=ro" if is_database else ""
    try:
        with closing(sqlite3.connect(uri, uri=is_database, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            if is_database:
                # A broken text is the fault of its row alone.
                connection.text_factory = _text
                connection.execute("BEGIN")
            yield _Database(connection, path) if is_database else _Spool(connection, path, stream)
    except sqlite3.Error as error:
        message = f"{path}: it cannot be read as a database: {error}"
        raise InvalidInput(message) from None


def _text(text: bytes) -> str:
    return text.decode(errors="surrogateescape")


class _Database(Rows):
    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._tables = {row[0] for row in connection.execute(_TABLES)}
        for table in ("mastra_threads", "mastra_messages"):
            if table not in self._tables:
                message = f"{path}: not a database of Mastra: it has no table {table}"
                raise InvalidInput(message)

    def threads(self) -> Iterator[ThreadRows | Fault]:
        rows = self._connection.execute(_MESSAGES)
        for id_, of_one in groupby(rows, key=lambda row: row["of"]):
            if not isinstance(id_, str) or not _is_unicode(id_):
                yield from (self._no_thread("mastra_messages", row, "thread_id") for row in of_one)
                continue
            thread = self._connection.execute(_THREAD, (id_,)).fetchone()
            own = None if thread is None else _row("mastra_threads", thread)
            yield ThreadRows(id_, own, [_row("mastra_messages", row) for row in of_one])
        for row in self._connection.execute(_EMPTY_THREADS):
            id_ = row["of"]
            if isinstance(id_, str) and _is_unicode(id_):
                yield ThreadRows(id_, _row("mastra_threads", row))
            else:
                yield self._no_thread("mastra_threads", row, "id")

    def _no_thread(self, table: str, row: sqlite3.Row, name: str) -> Fault:
        problem = f"{name} is {_shown(row['of'])[:40]}, not a text"
        return Fault(f"{self._path}: {_row(table, row).place}", "invalid_input", problem)

    def resources(self) -> Iterator[Row]:
        if "mastra_resources" in self._tables:
            for row in self._connection.execute(_RESOURCES):
                yield _row("mastra_resources", row)


def _row(table: str, row: sqlite3.Row) -> Row:
    cells = {name: row[name] for name in row.keys() if name != "of"}  # noqa: SIM118 - not a dict.
    return Row(f"{table}, {_shown(cells.get('id'))}", cells)


def _is_unicode(text: str) -> bool:
    """Tell whether a text can be stored: one with half a character cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(id_: object) -> str:
    """Return an id for people, whatever it is."""
    return str(id_).encode(errors="backslashreplace").decode()


class _Spool(Rows):
    def __init__(self, connection: sqlite3.Connection, path: Path, stream: Bytes) -> None:
        self._connection = connection
        self._path = path
        self._problems: list[Fault | Skipped] = []
        connection.executescript(_SPOOL)
        connection.execute("BEGIN")
        for number, value in enumerate(values(stream, lists=LISTS), start=1):
            place = f"{value.name or 'row'} {value.place or value.top}"
            try:
                self._add(value, place)
            except Misfit as error:
                if number == 1 and not value.problem:
                    message = f"{path}: {error}"
                    raise InvalidInput(message) from None
                self._problems.append(Fault(f"{path}: {place}", "invalid_input", str(error)))
            except InvalidEvent as error:
                if number == 1 and not value.payload.startswith(b"{"):
                    message = f"{path}: not rows of Mastra: {error.message}"
                    raise InvalidInput(message) from None
                self._problems.append(Fault(f"{path}: {place}", error.reason, error.message))

    def _add(self, value: Value, place: str) -> None:
        if value.problem:
            raise Misfit(value.problem)
        cells = parse_value(value.payload)
        if not is_object(cells):
            problem = "a row is an object"
            raise Misfit(problem)
        kind = value.name or _kind(cells)
        id_ = cells.get("id")
        place = f"{place} ({_shown(id_)})"
        key: object = None
        if kind == "threads":
            key = id_
        elif kind == "resources":
            key = id_ if isinstance(id_, str) else None
        else:
            key = cells.get("threadId", cells.get("thread_id"))
        if kind != "resources" and not isinstance(key, str):
            problem = "a thread has an id" if kind == "threads" else "a message has a threadId"
            raise Misfit(problem)
        if isinstance(key, str) and not _is_unicode(key):
            problem = f"the id {_shown(key)} holds a lone surrogate"
            raise Misfit(problem)
        added = self._connection.execute(_ADD[kind], (key, place, value.payload)).rowcount
        if not added:
            before = self._connection.execute(_SPOOLED_BEFORE[kind], (key,)).fetchone()
            if _spooled(before).cells != cells:
                problem = f"{before['place']} has the same id, and says something else"
                raise Misfit(problem)
            self._problems.append(Skipped("duplicate_id"))

    def threads(self) -> Iterator[ThreadRows | Fault]:
        rows = self._connection.execute(_SPOOLED_MESSAGES)
        for id_, of_one in groupby(rows, key=lambda row: row["thread"]):
            found = self._connection.execute(_SPOOLED_THREAD, (id_,)).fetchone()
            own = None if found is None else _spooled(found)
            yield ThreadRows(id_, own, [_spooled(row) for row in of_one])
        for row in self._connection.execute(_SPOOLED_EMPTY_THREADS):
            yield ThreadRows(row["id"], _spooled(row))

    def resources(self) -> Iterator[Row]:
        for row in self._connection.execute(_SPOOLED_RESOURCES):
            yield _spooled(row)

    def problems(self) -> Iterator[Fault | Skipped]:
        yield from self._problems


def _spooled(row: sqlite3.Row) -> Row:
    return Row(row["place"], parse_value(row["row"]))


def _kind(cells: dict[str, Any]) -> str:
    """Tell of which list a row is that stands by itself."""
    if "role" in cells:
        return "messages"
    if "workingMemory" in cells or "working_memory" in cells:
        return "resources"
    if "resourceId" in cells or "resource_id" in cells:
        return "threads"
    problem = "not rows of Mastra: neither threads, messages nor resources"
    raise Misfit(problem)
