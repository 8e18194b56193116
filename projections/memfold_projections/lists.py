"""Lists of threads and of resources: filtered, ordered, page by page as of one sequence.

A list's order is a number, then the integer key or position that was given out in the log's order:
so equal times have one order, the same on every machine, and a place in a list is two numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

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

Place = tuple[int, ...]

ROWS_FIRST: Final = 128
"""Rows read at once of a list, in the first block; the next ones are larger."""
ROWS_MAX: Final = 512
"""In any block: what is read may hold so many times the largest metadata."""
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
SELECT key, resource, id, source_sequence, source_messages FROM thread
WHERE source_resource = $resource AND source_thread = $thread AND live
  AND valid_from <= $as_of AND valid_to > $as_of AND key > $after
ORDER BY key LIMIT $limit
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
    rows = _rows(reader, kind, meant, sorting, part)
    return _fill(((kind.show(row), (row[-1], *kind.tie_of(row))) for row in rows), part)


def count_entries(reader: Reader, kind: Kind, meant: Filter) -> int:
    """Return how many entries a list has in all."""
    statement = f"SELECT metadata FROM ({kind.statement})"  # noqa: S608  # constants only
    if not meant.metadata:
        statement = f"SELECT count(*) FROM ({kind.statement})"  # noqa: S608  # constants only
        [[number]] = reader.rows(statement, _parameters(kind, meant, "created_at"))
        return int(number)
    rows = reader.rows(statement, _parameters(kind, meant, "created_at"))
    return sum(1 for row in rows if meant.metadata.fits_text(row[0]))


def clone_page(reader: Reader, resource: str, thread: str, as_of: int, part: Part) -> ListPage:
    """Return a part of the live threads that were cloned from this one, in order of creation."""
    names = ("resource", "thread", "sequence", "messages")
    asked = {"resource": resource, "thread": thread, "as_of": as_of, "limit": part.limit + 1}
    asked["after"] = part.after[0] if part.after else -1
    rows = reader.rows(_CLONES, asked)
    shown = ((encode(dict(zip(names, row[1:], strict=True))), (row[0],)) for row in rows)
    return _fill(shown, part)


def _fill(shown: Iterable[tuple[bytes, Place]], part: Part) -> ListPage:
    """Take entries with their places up to the limit or the bytes of a part; one at least."""
    found: list[bytes] = []
    size = 0
    last: Place | None = None
    for encoded, place in shown:
        if len(found) == part.limit or (found and size + len(encoded) > part.bytes_max):
            return ListPage(found, last)
        found.append(encoded)
        size += len(encoded) + 1
        last = place
    return ListPage(found, None)


def _rows(reader: Reader, kind: Kind, meant: Filter, sorting: Sorting, part: Part) -> Iterator[Row]:
    """Yield rows in order, one more than the limit at most, read in blocks of bounded size."""
    place, skip, left = part.after, part.skip, part.limit + 1
    rows_max = ROWS_FIRST
    while left > 0:
        offset = 0 if meant.metadata else skip
        # With a filter on metadata what is found may still be too much, and is counted here.
        limit = rows_max if meant.metadata else min(left, rows_max)
        number = 0
        for row in reader.rows(*_block(kind, meant, sorting, place, (limit, offset))):
            number += 1
            place = (row[-1], *kind.tie_of(row))
            if not meant.metadata.fits_text(row[kind.metadata]):
                continue
            if skip > offset:
                skip -= 1
                continue
            yield row
            left -= 1
        if number < limit:
            return
        skip -= offset
        rows_max = min(4 * rows_max, ROWS_MAX)


def _block(
    kind: Kind, meant: Filter, sorting: Sorting, after: Place | None, rows: tuple[int, int]
) -> tuple[str, dict[str, Any]]:
    """Return the statement of so many rows behind a place, leaving out the first of them."""
    way, sign = ("DESC", "<") if sorting.descending else ("ASC", ">")
    columns = ("place", *kind.ties)
    parameters = _parameters(kind, meant, sorting.by)
    behind = ""
    if after is not None:
        names = [f"after_{number}" for number in range(len(columns))]
        parameters |= dict(zip(names, after, strict=True))
        placeholders = ", ".join(f"${name}" for name in names)
        behind = f"WHERE ({', '.join(columns)}) {sign} ({placeholders})"
    order = ", ".join(f"{column} {way}" for column in columns)
    statement = f"SELECT * FROM ({kind.statement}) {behind} ORDER BY {order}"  # noqa: S608  # constants only
    return f"{statement} LIMIT {rows[0]:d} OFFSET {rows[1]:d}", parameters


def _parameters(kind: Kind, meant: Filter, order: str) -> dict[str, Any]:
    parameters = {"as_of": meant.as_of, "needles": meant.metadata.needles, "order": order}
    if kind is THREADS:
        parameters |= {"resource": meant.resource, "archived": meant.archived}
    return parameters
