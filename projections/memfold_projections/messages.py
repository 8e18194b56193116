"""Reads of messages: pages in either direction, windows around one of them, counts.

All of them hold as of one sequence, so that pages of one list fit together whatever is written
meanwhile. Their order is the log's, which leaves no ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from memfold.provenance import Position
from memfold.state import Message
from memfold_projections.metadata import ANY, FITS, Wanted
from memfold_projections.rows import MESSAGE_COLUMNS, message_from
from memfold_projections.views import message_json

if TYPE_CHECKING:
    from memfold_projections.reader import Reader

_THREAD_KEYS: Final = """
SELECT key, id FROM thread
WHERE resource = $resource AND ($threads IS NULL OR list_contains($threads::TEXT[], id)) AND live
  AND valid_from <= $as_of AND valid_to > $as_of
"""
_MEANT: Final = f"""
FROM message
WHERE thread IN (SELECT unnest($keys::INTEGER[])) AND valid_from <= $as_of AND valid_to > $as_of
  AND ($since IS NULL OR created_at_us >= $since) AND ($until IS NULL OR created_at_us <= $until)
  AND {FITS}
"""  # constants only
_OLDEST_FIRST: Final = f"""
SELECT {MESSAGE_COLUMNS} {_MEANT} AND (sequence, index) > ($sequence, $index)
ORDER BY sequence, index LIMIT $limit OFFSET $offset
"""  # constants only
_NEWEST_FIRST: Final = f"""
SELECT {MESSAGE_COLUMNS} {_MEANT} AND (sequence, index) < ($sequence, $index)
ORDER BY sequence DESC, index DESC LIMIT $limit OFFSET $offset
"""  # constants only
_COUNT: Final = f"SELECT count(*) {_MEANT}"  # constants only
_METADATA: Final = f"SELECT metadata {_MEANT}"  # constants only
_TARGETS: Final = """
SELECT thread, sequence, index FROM message
WHERE thread IN (SELECT unnest($keys::INTEGER[])) AND id = $id
  AND valid_from <= $as_of AND valid_to > $as_of
ORDER BY sequence, index
"""
FILTERED_ROWS: Final = 512
"""Rows asked for at once where not all of them may fit the filter."""
_LAST: Final = (1 << 62, 0)
_FIRST: Final = (-1, 0)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages of a resource are meant.

    ``threads`` None: of all its threads. ``since`` and ``until``: creation times in microseconds,
    both included. ``metadata``: each key must be there with just this value.
    """

    resource: str
    threads: tuple[str, ...] | None
    as_of: int
    since: int | None = None
    until: int | None = None
    metadata: Wanted = ANY


@dataclass(frozen=True, slots=True)
class Page:
    """Encoded messages, oldest first; ``next`` is where to go on in the asked direction."""

    messages: list[bytes]
    next: Position | None


EMPTY: Final = Page([], None)


@dataclass(frozen=True, slots=True)
class Direction:
    """Newest or oldest first, from behind a place or from the end."""

    newest: bool
    beyond: Position | None


def message_page(
    reader: Reader,
    meant: Selection,
    *,
    limit: int,
    bytes_max: int,
    newest: bool = False,
    beyond: Position | None = None,
    skip: int = 0,
) -> Page:
    """Return a page: oldest first from behind ``beyond``, or with ``newest`` the newest before it.

    A page ends at ``limit`` messages or ``bytes_max`` bytes, whichever comes first, and holds at
    least one message if there is one.
    """
    names = _threads(reader, meant)
    if not names or limit < 1:
        return EMPTY
    found: list[bytes] = []
    size = 0
    last: Position | None = None
    direction = Direction(newest, beyond)
    for name, message in _messages(reader, meant, names, direction, limit=limit + 1, skip=skip):
        if len(found) == limit:
            break
        encoded = message_json(name, message)
        if found and size + len(encoded) > bytes_max:
            break
        found.append(encoded)
        size += len(encoded) + 1
        last = message.position
    else:
        last = None
    if newest:
        found.reverse()
    return Page(found, last)


def count_messages(reader: Reader, meant: Selection) -> int:
    """Return how many messages are meant in all."""
    names = _threads(reader, meant)
    parameters = _parameters(meant, names)
    if not meant.metadata:
        [[number]] = reader.rows(_COUNT, parameters)
        return int(number)
    rows = reader.rows(_METADATA, parameters)
    return sum(1 for row in rows if meant.metadata.fits_text(row[0]))


def message_window(
    reader: Reader, meant: Selection, message: str, before: int, after: int, *, bytes_max: int
) -> list[bytes]:
    """Return a message with so many neighbours of its own thread, oldest first; none if unknown.

    Where several threads have a message of that id, each gives its window. What does not fit
    ``bytes_max`` is left out from the newest on.
    """
    names = _threads(reader, meant)
    found: dict[Position, bytes] = {}
    targets = list(
        reader.rows(_TARGETS, {"keys": list(names), "id": message, "as_of": meant.as_of})
    )
    for key, sequence, index in targets:
        alone = {key: names[key]}
        older = Direction(newest=True, beyond=(sequence, index + 1))
        newer = Direction(newest=False, beyond=(sequence, index))
        for direction, count in ((older, before + 1), (newer, after)):
            rows = _messages(reader, meant, alone, direction, limit=count)
            for name, each in islice(rows, count):
                found[each.position] = message_json(name, each)
    ordered = [found[position] for position in sorted(found)]
    size = 0
    for number, encoded in enumerate(ordered):
        size += len(encoded) + 1
        if size > bytes_max:
            return ordered[:number]
    return ordered


def _messages(
    reader: Reader,
    meant: Selection,
    names: dict[int, str],
    direction: Direction,
    *,
    limit: int,
    skip: int = 0,
) -> Iterator[tuple[str, Message]]:
    """Yield messages in blocks of about ``limit`` rows: none sorts more of a long thread."""
    if limit < 1:
        return
    statement = _NEWEST_FIRST if direction.newest else _OLDEST_FIRST
    sequence, index = direction.beyond or (_LAST if direction.newest else _FIRST)
    offset = skip
    if meant.metadata:
        # What the statement finds may still be too much: more rows at once, and counted here.
        limit, offset = max(limit, FILTERED_ROWS), 0
    skip -= offset
    while True:
        place = {"sequence": sequence, "index": index, "limit": limit, "offset": offset}
        number = 0
        for row in reader.rows(statement, {**_parameters(meant, names), **place}):
            number += 1
            sequence, index = row[2], row[3]
            if not meant.metadata.fits_text(row[6]):
                continue
            if skip:
                skip -= 1
                continue
            yield names[row[0]], message_from(row)
        if number < limit:
            return
        offset = 0


def _threads(reader: Reader, meant: Selection) -> dict[int, str]:
    wanted = None if meant.threads is None else list(meant.threads)
    parameters = {"resource": meant.resource, "threads": wanted, "as_of": meant.as_of}
    return dict(reader.rows(_THREAD_KEYS, parameters))


def _parameters(meant: Selection, names: dict[int, str]) -> dict[str, Any]:
    return {
        "keys": list(names),
        "as_of": meant.as_of,
        "since": meant.since,
        "until": meant.until,
        "needles": meant.metadata.needles,
    }
