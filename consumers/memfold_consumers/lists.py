"""Answers of the lists: a page of threads, resources or messages as one JSON reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.canonical import encode, to_us
from memfold.errors import InvalidEvent, InvalidRequest
from memfold.gate import check
from memfold.limits import PAYLOAD_BYTES_MAX
from memfold_consumers.snapshots import ENVELOPE_BYTES
from memfold_projections import lists
from memfold_projections.lists import RESOURCES, THREADS, Filter, Part, Sorting
from memfold_projections.messages import Selection, count_messages, message_page, message_windows
from memfold_projections.metadata import Wanted

if TYPE_CHECKING:
    from memfold_consumers.requests import (
        ClonesRequest,
        ListRequest,
        MessagesRequest,
        ResourcesRequest,
        ThreadsRequest,
        WindowRequest,
    )
    from memfold_projections.reader import Reader

BYTES_MAX: Final = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES
"""What a reply holds of a list, in bytes."""


def threads(reader: Reader, resource: str | None, request: ThreadsRequest) -> bytes:
    """Return a page of threads."""
    meant = Filter(_as_of(reader, request.as_of), resource, request.archived, _wanted(request))
    return _page(reader, THREADS, "threads", meant, request)


def resources(reader: Reader, request: ResourcesRequest) -> bytes:
    """Return a page of resources."""
    meant = Filter(_as_of(reader, request.as_of), metadata=_wanted(request))
    return _page(reader, RESOURCES, "resources", meant, request)


def messages(reader: Reader, resource: str, request: MessagesRequest) -> bytes:
    """Return a page of messages, oldest first."""
    if request.thread is not None and request.threads is not None:
        message = "thread and threads exclude each other"
        raise InvalidRequest(message)
    several = None if request.threads is None else tuple(request.threads)
    meant = Selection(
        resource=resource,
        threads=several if request.thread is None else (request.thread,),
        as_of=_as_of(reader, request.as_of),
        since=None if request.since is None else to_us(request.since),
        until=None if request.until is None else to_us(request.until),
        metadata=_wanted(request),
    )
    page = message_page(
        reader,
        meant,
        limit=request.limit,
        bytes_max=BYTES_MAX,
        newest=request.newest,
        beyond=request.before if request.newest else request.after,
        skip=request.skip,
    )
    total = count_messages(reader, meant) if request.total else None
    return answer(reader.sequence, "messages", page.messages, page.next, total)


def window(reader: Reader, resource: str, request: WindowRequest) -> bytes:
    """Return a message with its neighbours, and what of them did not fit."""
    meant = Selection(
        resource=resource,
        threads=None if request.thread is None else (request.thread,),
        as_of=_as_of(reader, request.as_of),
    )
    found = message_windows(
        reader,
        meant,
        request.message,
        request.before,
        request.after,
        bytes_max=BYTES_MAX,
        behind=request.behind,
    )
    answered = answer(reader.sequence, "messages", found.messages, found.next)
    return b'%b,"older":%d,"newer":%d}' % (answered[:-1], found.older, found.newer)


def clones(reader: Reader, resource: str, request: ClonesRequest) -> bytes:
    """Return a page of the threads that were cloned from one."""
    part = Part(request.limit, BYTES_MAX, request.after)
    page = lists.clone_page(reader, resource, request.thread, reader.sequence, part)
    return answer(reader.sequence, "clones", page.entries, page.next)


def answer(
    sequence: int, name: str, items: list[bytes], after: object, total: int | None = None
) -> bytes:
    """Return a list's reply: its entries, where it goes on, and its length if that was asked."""
    count = b"" if total is None else b',"total":%d' % total
    return b'{"sequence":%d,"%b":[%b],"next":%b%b}' % (
        sequence,
        name.encode(),
        b",".join(items),
        encode(after),
        count,
    )


def _page(
    reader: Reader,
    kind: lists.Kind,
    name: str,
    meant: Filter,
    request: ThreadsRequest | ResourcesRequest,
) -> bytes:
    part = Part(request.limit, BYTES_MAX, request.after, request.skip)
    sorting = Sorting(request.order, request.descending)
    page = lists.list_page(reader, kind, meant, sorting, part)
    total = lists.count_entries(reader, kind, meant) if request.total else None
    return answer(reader.sequence, name, page.entries, page.next, total)


def _as_of(reader: Reader, asked: int | None) -> int:
    if asked is not None and asked > reader.sequence:
        message = f"as_of {asked} is not folded yet"
        raise InvalidRequest(message)
    return reader.sequence if asked is None else asked


def _wanted(request: ListRequest) -> Wanted:
    try:
        check(request.metadata)
    except InvalidEvent as error:
        message = f"metadata: {error.message}"
        raise InvalidRequest(message) from None
    return Wanted(request.metadata)
