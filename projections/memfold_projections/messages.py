"""Reads of messages: pages in either direction, windows around one of them, counts.

All of them hold as of one sequence, so that pages of one list fit together whatever is written
meanwhile. Their order is the log's, which leaves no ties. Places are found first, without contents;
of these only as many are read as an answer holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final

from memfold.provenance import Position
from memfold_projections.metadata import ANY, FITS, Wanted
from memfold_projections.rows import MESSAGE_COLUMNS, Row, message_from
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
_PLACE: Final = "rowid, sequence, index, CASE WHEN $filtered THEN metadata END"
_OLDEST_FIRST: Final = f"""
SELECT {_PLACE} {_MEANT} AND (sequence, index) > ($sequence, $index)
ORDER BY sequence, index LIMIT $limit OFFSET $offset
"""  # constants only
_NEWEST_FIRST: Final = f"""
SELECT {_PLACE} {_MEANT} AND (sequence, index) < ($sequence, $index)
ORDER BY sequence DESC, index DESC LIMIT $limit OFFSET $offset
"""  # constants only
_COUNT: Final = f"SELECT count(*) {_MEANT}"  # constants only
_METADATA: Final = f"SELECT metadata {_MEANT}"  # constants only
_TARGETS: Final = """
SELECT thread, rowid, sequence, index FROM message
WHERE thread IN (SELECT unnest($keys::INTEGER[])) AND id = $id
  AND valid_from <= $as_of AND valid_to > $as_of AND (sequence, index) > ($sequence, $index)
ORDER BY sequence, index LIMIT $limit
"""
FILTERED_ROWS: Final = 512
"""Rows asked for at once where not all of them may fit the filter."""
UNSIZED_ROWS: Final = 32
"""Rows that are read without asking how long they are: at most so many of the largest."""
PROBED_ROWS: Final = 8
"""Of more rows, the first ones are read as they are: where they fill an answer, that was all."""
MESSAGE_BYTES_MIN: Final = 128
"""What an encoded message takes at least, in bytes: names of fields and times."""
TARGETS_MAX: Final = 100
"""Windows in one answer."""
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
    direction = Direction(newest, beyond)
    # More than that cannot fit, whatever is asked for.
    most = min(limit, bytes_max // MESSAGE_BYTES_MIN + 1)
    places = list(_places(reader, meant, names, direction, limit=most + 1, skip=skip))
    found = _that_fit(reader, names, places[:most], bytes_max)
    last = places[len(found) - 1].position if len(found) < len(places) else None
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


@dataclass(frozen=True, slots=True)
class Windows:
    """Messages with their neighbours, oldest first.

    ``older`` and ``newer`` neighbours did not fit; then there is one window alone. ``next`` is the
    message behind whose window further ones can be asked for.
    """

    messages: list[bytes]
    older: int = 0
    newer: int = 0
    next: Position | None = None


def message_windows(
    reader: Reader,
    meant: Selection,
    message: str,
    before: int,
    after: int,
    *,
    bytes_max: int,
    behind: Position | None = None,
) -> Windows:
    """Return a message with so many neighbours of its own thread; none if unknown.

    Where several threads have a message of that id, each gives its window, one after the other in
    the log's order, as many as fit; at least one, of which what is nearest to the message fits
    first.
    """
    names = _threads(reader, meant)
    sequence, index = behind or _FIRST
    asked = {"keys": list(names), "id": message, "as_of": meant.as_of}
    asked |= {"sequence": sequence, "index": index, "limit": TARGETS_MAX + 1}
    targets = list(reader.rows(_TARGETS, asked))
    found: list[bytes] = []
    size = 0
    for number, (key, rowid, *place) in enumerate(targets):
        if number == TARGETS_MAX:
            break
        target = _Place(rowid, (place[0], place[1]))
        alone = {key: names[key]}
        older_way = Direction(newest=True, beyond=target.position)
        newer_way = Direction(newest=False, beyond=target.position)
        older = list(_places(reader, meant, alone, older_way, limit=before))
        newer = list(_places(reader, meant, alone, newer_way, limit=after))
        outwards = [each for pair in zip_longest(older, newer) for each in pair if each is not None]
        window = _that_fit(reader, alone, [target, *outwards], bytes_max - size)
        if found and (len(window) <= len(outwards) or size + len(window[0]) > bytes_max):
            break
        kept = {each.rowid for each in outwards[: len(window) - 1]}
        encoded = dict(zip(chain([target], outwards), window, strict=False))
        found += [encoded[each] for each in sorted(encoded, key=_position)]
        size += sum(map(len, window)) + len(window)
        behind = target.position
        missing_older = sum(each.rowid not in kept for each in older)
        missing_newer = sum(each.rowid not in kept for each in newer)
        if missing_older or missing_newer:
            further = behind if number + 1 < len(targets) else None
            return Windows(found, missing_older, missing_newer, further)
    else:
        behind = None
    return Windows(found, next=behind)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message's row is, and its position."""

    rowid: int
    position: Position


def _position(place: _Place) -> Position:
    return place.position


def _places(
    reader: Reader,
    meant: Selection,
    names: dict[int, str],
    direction: Direction,
    *,
    limit: int,
    skip: int = 0,
) -> Iterator[_Place]:
    """Yield where messages are, ``limit`` at most: none sorts more of a long thread."""
    if limit < 1:
        return
    statement = _NEWEST_FIRST if direction.newest else _OLDEST_FIRST
    sequence, index = direction.beyond or (_LAST if direction.newest else _FIRST)
    offset, rows_max = skip, limit
    if meant.metadata:
        # What the statement finds may still be too much: counted here, and read in blocks.
        offset, rows_max = 0, FILTERED_ROWS
    skip -= offset
    while True:
        place = {"sequence": sequence, "index": index, "limit": rows_max, "offset": offset}
        asked = {**_parameters(meant, names), **place, "filtered": bool(meant.metadata)}
        number = 0
        for rowid, sequence, index, metadata in reader.rows(statement, asked):
            number += 1
            if not meant.metadata.fits_text(metadata):
                continue
            if skip:
                skip -= 1
                continue
            yield _Place(rowid, (sequence, index))
            limit -= 1
            if not limit:
                return
        if number < rows_max:
            return


def _that_fit(
    reader: Reader, names: dict[int, str], places: Sequence[_Place], bytes_max: int
) -> list[bytes]:
    """Return the first of these messages, encoded: as many as fit, and one at least."""
    found: list[bytes] = []
    if len(places) > UNSIZED_ROWS:
        # Asking for sizes costs as much as reading where messages are large.
        found = _that_fit(reader, names, places[:PROBED_ROWS], bytes_max)
        if len(found) < PROBED_ROWS:
            return found
        places = _shortened(reader, places, bytes_max)
    rows = {
        row[:2]: row[2:] for row in _read(reader, f"sequence, index, {MESSAGE_COLUMNS}", places)
    }
    found = []
    size = 0
    for place in places:
        row = rows[place.position]
        encoded = message_json(names[row[0]], message_from(row))
        size += len(encoded) + 1
        if found and size > bytes_max:
            break
        found.append(encoded)
    return found


def _shortened(reader: Reader, places: Sequence[_Place], bytes_max: int) -> Sequence[_Place]:
    """Return the first places, so many that an answer cannot hold more of them."""
    sizes: dict[int, int] = dict(_read(reader, "rowid, strlen(content) + strlen(metadata)", places))
    size = 0
    for number, place in enumerate(places):
        size += sizes[place.rowid]
        if size > bytes_max:
            return places[: number + 1]
    return places


def _read(reader: Reader, columns: str, places: Sequence[_Place]) -> Iterator[Row]:
    """Read columns of rows; numbers written out reach them without looking at the others."""
    if places:
        rowids = ",".join(f"{place.rowid:d}" for place in places)
        yield from reader.rows(f"SELECT {columns} FROM message WHERE rowid IN ({rowids})", {})  # noqa: S608  # numbers only


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
