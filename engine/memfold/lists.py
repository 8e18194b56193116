"""Lists that are read in parts: all of them at once, or page by page, as of one sequence.

Every list is read as of the sequence of its first answer, so what is written meanwhile neither
hides an entry nor shows one twice. A page's ``next`` carries that sequence along.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, cast

import orjson

from memfold.arguments import Moment, count, count_or_none, past
from memfold.canonical import encode, from_us, to_us
from memfold.errors import InvalidEvent, InvalidRequest
from memfold.gate import check
from memfold.reads import Read
from memfold.requests import PAGE_MAX, Queries

T = TypeVar("T", bound=Read)

PAGE_DEFAULT: Final = 100
SKIP_MAX: Final = 1 << 53
"""Entries before a page, at most."""

ThreadOrder = Literal["created_at", "updated_at", "last_message_at"]
"""What threads are ordered by; "created_at" if not given."""
ResourceOrder = Literal["created_at", "updated_at"]
"""What resources are ordered by; "created_at" if not given."""


class ThreadFilter(TypedDict, total=False):
    """Which threads a list holds, and in which order.

    ``metadata``: entries that must be there, each with exactly this JSON value. ``archived``: True
    for the archived ones alone, False for the others alone. ``order`` with ``descending`` (True if
    not given). ``as_of``: the state at an earlier sequence or time. ``fresh``: False to take any
    engine's answer, however old.
    """

    metadata: Mapping[str, Any] | None
    archived: bool | None
    order: ThreadOrder
    descending: bool
    as_of: Moment | None
    fresh: bool


class ResourceFilter(TypedDict, total=False):
    """Which resources a list holds, and in which order; ``descending`` is False if not given."""

    metadata: Mapping[str, Any] | None
    order: ResourceOrder
    descending: bool
    as_of: Moment | None
    fresh: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list as of ``sequence``; ``next`` is what ``after=`` takes, None at the end.

    What is written meanwhile neither hides an entry nor shows one twice, and equal times keep the
    order of the log. ``total`` is the number of all entries, None if that was not asked. A page of
    ``limit=0`` is empty, and its ``next`` is where it stands. ``redacted`` says of a past one that
    something of the resource was erased since.
    """

    items: tuple[T, ...]
    next: str | None
    sequence: int
    total: int | None = None
    redacted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "items": [item.to_json() for item in self.items],
            "next": self.next,
            "sequence": self.sequence,
            "total": self.total,
            "redacted": self.redacted,
        }


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a list a page is: behind another one's ``next``, or the n-th, from 0."""

    limit: int = PAGE_DEFAULT
    after: str | None = None
    page: int | None = None
    total: bool = False


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """One list: the operation that answers it, about whom, and what it asks for.

    With ``way`` "before" it is read from its end, and still returned oldest first.
    """

    operation: str
    resource: str | None
    decode: Callable[[Mapping[str, Any]], T]
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    way: Literal["after", "before"] = "after"
    as_of: int | str | None = None
    fresh: bool = True

    def mark(self) -> int:
        """Return what tells this list from others, to keep a ``next`` to the list it is of."""
        return zlib.crc32(encode([self.operation, self.resource, self.arguments, self.way]))


def listing(
    operation: str,
    resource: str | None,
    decode: Callable[[Mapping[str, Any]], T],
    filters: Mapping[str, Any],
    known: type,
) -> Listing[T]:
    """Return the list that keyword arguments ask for.

    Raises:
        InvalidRequest: metadata that is no JSON object, or ``as_of`` that is no moment.
        TypeError: an argument that this list does not take.
    """
    unknown = sorted(filters.keys() - known.__annotations__.keys())
    if unknown:
        problem = f"unexpected keyword argument {unknown[0]!r}"
        raise TypeError(problem)
    given = {key: value for key, value in filters.items() if value is not None}
    fresh, as_of = given.pop("fresh", True), past(given.pop("as_of", None)).get("as_of")
    if "metadata" in given:
        given["metadata"] = checked_metadata(given["metadata"])
    try:
        encode(given)
    except TypeError as error:
        problem = f"an argument is no JSON: {error}"
        raise InvalidRequest(problem) from None
    return Listing(operation, resource, decode, given, as_of=as_of, fresh=fresh)


def checked_metadata(metadata: object) -> dict[str, Any]:
    """Return a filter on metadata.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    if not isinstance(metadata, Mapping):
        problem = "metadata= takes the entries that must be there, as in {'category': 'billing'}"
        raise InvalidRequest(problem)
    found = dict(cast("Mapping[str, Any]", metadata))
    try:
        check(found)
    except InvalidEvent as error:
        problem = f"metadata= is no JSON: {error.message}"
        raise InvalidRequest(problem) from None
    return found


def checked_time(name: str, moment: object) -> str:
    """Return a bound of time as the wire has it.

    Raises:
        InvalidRequest: it is no time with an offset, or outside the years 1 to 9999 of UTC.
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        problem = f"{name}= takes a datetime with a time zone"
        raise InvalidRequest(problem)
    try:
        return from_us(to_us(moment))
    except OverflowError:
        problem = f"{name}= is outside the years 1 to 9999 of UTC"
        raise InvalidRequest(problem) from None


async def read_all(
    queries: Queries, asked: Listing[T], *, limit: int | None = None, place: object = None
) -> list[T]:
    """Return all entries of a list, or the first ``limit`` ones, from behind a place."""
    count_or_none(limit, "limit=")
    start = _Start(asked.as_of, place)
    found, _ = await _collect(queries, asked, start, limit)
    return found


async def read_page(queries: Queries, asked: Listing[T], part: Part) -> Page[T]:
    """Return one page of a list.

    Raises:
        InvalidRequest: what is no number from 0 on, ``after`` together with ``page``, an ``after``
            that is not the ``next`` of a page of this very list, or an ``as_of`` that is not its.
    """
    count(part.limit, "limit=")
    count_or_none(part.page, "page=")
    if part.after is not None and part.page is not None:
        problem = "after= and page= exclude each other"
        raise InvalidRequest(problem)
    skip = (part.page or 0) * part.limit
    if skip > SKIP_MAX:
        problem = f"page {part.page} is beyond the end of every list"
        raise InvalidRequest(problem)
    if part.after is None:
        start = _Start(asked.as_of, None, skip, part.total)
    else:
        sequence, place = _decode(part.after, asked)
        if asked.as_of not in {None, sequence}:
            problem = f"after= is of a list as of {sequence}: leave out as_of=, or give that"
            raise InvalidRequest(problem)
        start = _Start(sequence, place, total=part.total)
    found, end = await _collect(queries, asked, start, part.limit)
    following = _encode(end.sequence, end.place, asked) if end.more else None
    return Page(tuple(found), following, end.sequence, end.total, end.redacted)


@dataclass(frozen=True, slots=True)
class _Start:
    as_of: int | str | None
    place: object
    skip: int = 0
    total: bool = False


@dataclass(frozen=True, slots=True)
class _End:
    sequence: int
    place: object
    total: int | None
    more: bool
    redacted: bool


async def _collect(
    queries: Queries, asked: Listing[T], start: _Start, limit: int | None
) -> tuple[list[T], _End]:
    found: list[T] = []
    arguments = dict(asked.arguments)
    as_of, place, skip, total = start.as_of, start.place, start.skip, None
    first, sequence, redacted = True, 0, False
    while first or (place is not None and (limit is None or len(found) < limit)):
        missing = PAGE_MAX if limit is None else min(limit - len(found), PAGE_MAX)
        if place is not None:
            arguments[asked.way] = place
        if as_of is not None:
            arguments["as_of"] = as_of
        arguments |= {"limit": max(missing, 1), "skip": skip, "total": start.total and first}
        # Another engine must first have come to where the first page was read.
        minimum = as_of if isinstance(as_of, int) else 0
        answer = await queries.ask(
            asked.operation, asked.resource, arguments, fresh=asked.fresh, min_sequence=minimum
        )
        # The first page turns a time into the sequence that all are of.
        sequence = as_of = int(answer["sequence"])
        if first:
            total, redacted = answer.get("total"), bool(answer.get("redacted"))
        first, skip = False, 0
        if missing:
            # None is asked for as one: even that tells the sequence and the total.
            page = [asked.decode(item) for item in answer[asked.operation]]
            # Backwards, each answer is older than the one before, and oldest first in itself.
            found = page + found if asked.way == "before" else found + page
            place = answer["next"]
        else:
            more = bool(answer[asked.operation])
            return found, _End(sequence, place, total, more, redacted)
    return found, _End(sequence, place, total, place is not None, redacted)


def _encode(sequence: int, place: object, asked: Listing[Any]) -> str:
    raw = orjson.dumps([sequence, place, asked.mark()])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: object, asked: Listing[Any]) -> tuple[int, object]:
    sequence, place, mark = 0, None, None
    with suppress(binascii.Error, ValueError, TypeError):
        raw = base64.urlsafe_b64decode(f"{text}{'=' * (-len(f'{text}') % 4)}")
        sequence, place, mark = orjson.loads(raw)
    if mark != asked.mark():
        problem = "after= takes the next of a page of the same list, asked with the same filters"
        raise InvalidRequest(problem)
    return sequence, place
