"""Answers in JSON: pages of threads, resources or messages, and single documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from memfold.canonical import encode, from_us, to_us
from memfold.errors import InvalidEvent, InvalidRequest
from memfold.gate import check
from memfold.limits import PAYLOAD_BYTES_MAX
from memfold_consumers.snapshots import ENVELOPE_BYTES
from memfold_projections import lists
from memfold_projections.lists import RESOURCES, THREADS, Filter, Part, Sorting
from memfold_projections.messages import Selection, count_messages, message_page, message_windows
from memfold_projections.metadata import Wanted
from memfold_projections.parked import ParkedCounts, with_parked
from memfold_projections.recorded import Meant, recorded_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from memfold.state import Memory, Resource, Thread
    from memfold_consumers.requests import (
        ClonesRequest,
        ListRequest,
        MessagesRequest,
        PastRequest,
        ProofsRequest,
        RecordedRequest,
        ResourcesRequest,
        ThreadsRequest,
        WindowRequest,
    )
    from memfold_projections.log import Log
    from memfold_projections.proofs import Proofs
    from memfold_projections.reader import Reader
    from memfold_projections.rows import Row

BYTES_MAX: Final = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES
"""What a reply holds of a list, in bytes."""


def threads(reader: Reader, resource: str | None, request: ThreadsRequest) -> bytes:
    """Return a page of threads."""
    meant = Filter(as_of(reader, request), resource, request.archived, _wanted(request))
    parked = reader.parked_counts(resource)
    return _page(reader, THREADS, "threads", meant, request, lambda each: _told(each, parked))


def resources(reader: Reader, request: ResourcesRequest) -> bytes:
    """Return a page of resources."""
    meant = Filter(as_of(reader, request), metadata=_wanted(request))
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
        as_of=as_of(reader, request),
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
    return answer(meant.as_of, "messages", page.messages, page.next, total)


def window(reader: Reader, resource: str, request: WindowRequest) -> bytes:
    """Return a message with its neighbours, and what of them did not fit."""
    meant = Selection(
        resource=resource,
        threads=None if request.thread is None else (request.thread,),
        as_of=as_of(reader, request),
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
    answered = answer(meant.as_of, "messages", found.messages, found.next)
    return b'%b,"older":%d,"newer":%d}' % (answered[:-1], found.older, found.newer)


def clones(reader: Reader, resource: str, request: ClonesRequest) -> bytes:
    """Return a page of the threads that were cloned from one."""
    part = Part(request.limit, BYTES_MAX, request.after)
    page = lists.clone_page(reader, resource, request.thread, reader.sequence, part)
    return answer(reader.sequence, "clones", page.entries, page.next)


def recorded(reader: Reader, log: Log, resource: str | None, request: RecordedRequest) -> bytes:
    """Return a page of recorded messages, up to what is folded."""
    if resource is None and request.thread is not None:
        message = "a thread needs a resource in the subject"
        raise InvalidRequest(message)
    if request.whole_log and resource is not None:
        message = "whole_log goes with the resource token _"
        raise InvalidRequest(message)
    upto = reader.sequence if request.upto is None else min(request.upto, reader.sequence)
    meant = Meant(resource, request.thread, upto, request.whole_log)
    found, after = recorded_page(
        log, meant, request.after, limit=request.limit, bytes_max=BYTES_MAX
    )
    return answer(reader.sequence, "recorded", found, after)


def proofs(reader: Reader, found: Proofs, request: ProofsRequest) -> bytes:
    """Return the root of a tree that is folded, with inclusion and consistency proofs in it."""
    highest = max([0, *request.sequences, *request.older])
    if request.size > reader.sequence or highest > request.size:
        message = f"there is no such tree, or no such leaf: {reader.sequence} messages are folded"
        raise InvalidRequest(message)
    root, included, grown = found.prove(request.size, request.sequences, request.older)
    return encode(
        {
            "sequence": reader.sequence,
            "size": request.size,
            "root": root.hex(),
            "proofs": [[node.hex() for node in path] for path in included],
            "older": [
                {"root": old.hex(), "proof": [node.hex() for node in path]} for old, path in grown
            ],
        }
    )


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


def document(
    sequence: int, name: str, entity: Memory | Thread | Resource | None, shown: bytes
) -> bytes:
    """Answer with one document; the revision of its subject counts even where there is none."""
    revision = 0 if entity is None else entity.revision
    parts = (sequence, revision, name.encode(), shown)
    return b'{"sequence":%d,"revision":%d,"%b":%b}' % parts


def parked(row: Row) -> dict[str, Any]:
    """Return a parked event as it is shown."""
    sequence, index, resource, thread, reason, detail, time_us = row
    return {
        "sequence": sequence,
        "index": index,
        "time": from_us(time_us),
        "resource": resource or None,
        "thread": thread or None,
        "reason": reason,
        "detail": detail,
    }


def _page(
    reader: Reader,
    kind: lists.Kind,
    name: str,
    meant: Filter,
    request: ThreadsRequest | ResourcesRequest,
    shown: Callable[[bytes], bytes] = bytes,
) -> bytes:
    part = Part(request.limit, BYTES_MAX, request.after, request.skip)
    sorting = Sorting(request.order, request.descending)
    page = lists.list_page(reader, kind, meant, sorting, part)
    total = lists.count_entries(reader, kind, meant) if request.total else None
    return answer(meant.as_of, name, list(map(shown, page.entries)), page.next, total)


def _told(thread: bytes, parked: ParkedCounts) -> bytes:
    """Return a thread with its number of parked events, as of now."""
    if not parked:
        return thread
    raw = orjson.loads(thread)
    return with_parked(thread, parked.of_thread(raw["resource"], raw["id"]))


def as_of(reader: Reader, request: PastRequest) -> int:
    """Return the sequence that an answer is of: the one asked for, or the newest."""
    past = request.past()
    return reader.sequence if past is None else past


def _wanted(request: ListRequest) -> Wanted:
    try:
        check(request.metadata)
    except InvalidEvent as error:
        message = f"metadata: {error.message}"
        raise InvalidRequest(message) from None
    return Wanted(request.metadata)
