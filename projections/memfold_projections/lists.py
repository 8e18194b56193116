"""Lists of threads and of resources: filtered, ordered, page by page as of one sequence.

A list's order is a number, then the integer key or position that was given out in the log's order:
so equal times have one order, the same on every machine, and a place in a list is two numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from memfold.canonical import encode
from memfold_projections.metadata import ANY, FITS, Wanted
from memfold_projections.rows import (
    RESOURCE_COLUMNS,
    THREAD_COLUMNS,
    Row,
    resource_from,
    thread_from,
)
from memfold_projections.views import Activity, resource_view, thread_json

if TYPE_CHECKING:
    from memfold_projections.reader import Reader

ThreadOrder = Literal["created_at", "updated_at", "last_message_at"]
ResourceOrder = Literal["created_at", "updated_at"]
Place = tuple[int, ...]

_UNSET: Final = -(1 << 62)
"""Stands for a time that is not there: behind all others when the newest come first."""

# Messages carry their own times: what they say of their thread is gathered when it is asked for.
_THREADS: Final = f"""
WITH meant AS (
    SELECT {THREAD_COLUMNS} FROM thread
    WHERE ($resource IS NULL OR resource = $resource) AND live
      AND valid_from <= $as_of AND valid_to > $as_of
      AND ($archived IS NULL OR $archived = (archived_at_us IS NOT NULL)) AND {FITS}
), activity AS (
    SELECT thread AS key, max(created_at_us) AS last_us, max(updated_at_us) AS changed_us
    FROM message WHERE thread IN (SELECT key FROM meant)
      AND valid_from <= $as_of AND valid_to > $as_of GROUP BY thread
)
SELECT meant.*, last_us, changed_us,
    CASE $order WHEN 'created_at' THEN created_at_us
                WHEN 'updated_at' THEN greatest(updated_at_us, coalesce(changed_us, 0))
                ELSE coalesce(last_us, {_UNSET}) END AS place
FROM meant LEFT JOIN activity USING (key)
"""  # noqa: S608  # constants only
_RESOURCES: Final = f"""
SELECT {RESOURCE_COLUMNS},
    CASE $order WHEN 'created_at' THEN created_at_us ELSE updated_at_us END AS place
FROM resource
WHERE began > 0 AND valid_from <= $as_of AND valid_to > $as_of AND {FITS}
"""  # noqa: S608  # constants only
_CLONES: Final = """
SELECT resource, id, source_sequence, source_messages FROM thread
WHERE source_resource = $resource AND source_thread = $thread AND live
  AND valid_from <= $as_of AND valid_to > $as_of
ORDER BY key
"""


@dataclass(frozen=True, slots=True)
class Sorting:
    """What a list is ordered by."""

    by: str
    descending: bool


@dataclass(frozen=True, slots=True)
class ListPage:
    """Encoded entries; ``next`` is the place of the last one if there are more."""

    entries: list[bytes]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list is asked for: ``limit`` entries behind a place, or behind so many."""

    limit: int
    bytes_max: int
    after: Place | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are meant, as of which sequence; ``resource`` None: those of all of them."""

    as_of: int
    resource: str | None = None
    archived: bool | None = None
    metadata: Wanted = ANY


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of list: its statement, its columns for ties, and how its rows are shown."""

    statement: str
    ties: tuple[str, ...]
    show: Callable[[Row], bytes]
    tie_of: Callable[[Row], Place]
    metadata: int
    """Which column is the metadata."""


def _show_thread(row: Row) -> bytes:
    activity = Activity(row[-3], row[-2] or 0)
    return thread_json(row[1], row[2], thread_from(row), activity)


def _show_resource(row: Row) -> bytes:
    return encode(resource_view(row[0], resource_from(row)))


THREADS: Final = Kind(_THREADS, ("key",), _show_thread, lambda row: (row[0],), 7)
RESOURCES: Final = Kind(
    _RESOURCES, ("began", "began_index"), _show_resource, lambda row: (row[2], row[3]), 1
)


def list_page(reader: Reader, kind: Kind, meant: Filter, sorting: Sorting, part: Part) -> ListPage:
    """Return a part of a list; it ends at its limit or at ``bytes_max``, and holds at least one."""
    found: list[bytes] = []
    size = 0
    last: Place | None = None
    for row in _rows(reader, kind, meant, sorting, part):
        encoded = kind.show(row)
        if len(found) == part.limit or (found and size + len(encoded) > part.bytes_max):
            return ListPage(found, last)
        found.append(encoded)
        size += len(encoded) + 1
        last = (row[-1], *kind.tie_of(row))
    return ListPage(found, None)


def count_entries(reader: Reader, kind: Kind, meant: Filter) -> int:
    """Return how many entries a list has in all."""
    statement = f"SELECT metadata FROM ({kind.statement})"  # noqa: S608  # constants only
    if not meant.metadata:
        statement = f"SELECT count(*) FROM ({kind.statement})"  # noqa: S608  # constants only
        [[number]] = reader.rows(statement, _parameters(kind, meant, "created_at"))
        return int(number)
    rows = reader.rows(statement, _parameters(kind, meant, "created_at"))
    return sum(1 for row in rows if meant.metadata.fits_text(row[0]))


def clones(reader: Reader, resource: str, thread: str, as_of: int) -> list[dict[str, Any]]:
    """Return the live threads that were cloned from this one, in order of creation."""
    asked = {"resource": resource, "thread": thread, "as_of": as_of}
    names = ("resource", "thread", "sequence", "messages")
    return [dict(zip(names, row, strict=True)) for row in reader.rows(_CLONES, asked)]


def _rows(reader: Reader, kind: Kind, meant: Filter, sorting: Sorting, part: Part) -> Iterator[Row]:
    way, sign = ("DESC", "<") if sorting.descending else ("ASC", ">")
    columns = ("place", *kind.ties)
    parameters = _parameters(kind, meant, sorting.by)
    behind = ""
    if part.after is not None:
        names = [f"after_{number}" for number in range(len(columns))]
        parameters |= dict(zip(names, part.after, strict=True))
        placeholders = ", ".join(f"${name}" for name in names)
        behind = f"WHERE ({', '.join(columns)}) {sign} ({placeholders})"
    order = ", ".join(f"{column} {way}" for column in columns)
    statement = f"SELECT * FROM ({kind.statement}) {behind} ORDER BY {order}"  # noqa: S608  # constants only
    skip = part.skip
    if not meant.metadata:
        # Else what the statement finds may still be too much, and is counted here.
        statement += f" LIMIT {part.limit + 1:d} OFFSET {skip:d}"
        skip = 0
    for row in reader.rows(statement, parameters):
        if meant.metadata.fits_text(row[kind.metadata]):
            if skip:
                skip -= 1
            else:
                yield row


def _parameters(kind: Kind, meant: Filter, order: str) -> dict[str, Any]:
    parameters = {"as_of": meant.as_of, "needles": meant.metadata.needles, "order": order}
    if kind is THREADS:
        parameters |= {"resource": meant.resource, "archived": meant.archived}
    return parameters
