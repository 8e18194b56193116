"""Snapshots: memories, thread and last messages of one sequence, joined from their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from memfold.canonical import encode
from memfold.limits import PAYLOAD_BYTES_MAX
from memfold_projections.messages import EMPTY, Page, Selection, message_page
from memfold_projections.parked import with_parked
from memfold_projections.past import snapshot_as_of
from memfold_projections.recent import Hit
from memfold_projections.views import memory_json

if TYPE_CHECKING:
    from memfold_consumers.requests import SnapshotRequest
    from memfold_projections.reader import Reader
    from memfold_projections.recent import Recent

ENVELOPE_BYTES: Final = 4096
"""Room for everything of an answer that is not its list."""


def load_snapshot(
    recent: Recent, reader: Reader, name: str, request: SnapshotRequest
) -> tuple[Hit, list[int] | None]:
    """Read a snapshot from the file, and keep it in memory for the next one.

    Returns the snapshot, and where older messages go on if they did not fit.
    """
    thread, past = request.thread, request.past()
    page, rest = _messages(reader, name, request, reader.sequence if past is None else past)
    if past is not None:
        return snapshot_as_of(reader, name, thread, past, page.messages), rest
    resource_memory = memory_json(reader.memory(name, None))
    parked = reader.parked_counts(name)
    if thread is None:
        recent.remember(reader.sequence, {(name, None): resource_memory}, {}, {})
        count = parked.seen_from(name, None)
        hit = Hit(reader.sequence, resource_memory, b"null", b"null", page.messages, count)
        return hit, rest
    thread_memory = memory_json(reader.memory(name, thread))
    state = reader.thread(name, thread)
    recent.remember(
        reader.sequence,
        {(name, None): resource_memory, (name, thread): thread_memory},
        {(name, thread): state},
        {(name, thread): reader.tail(name, thread)},
    )
    shown = with_parked(state.encoded, parked.of_thread(name, thread))
    count = parked.seen_from(name, thread)
    hit = Hit(reader.sequence, resource_memory, thread_memory, shown, page.messages, count)
    return hit, rest


def _messages(
    reader: Reader, name: str, request: SnapshotRequest, as_of: int
) -> tuple[Page, list[int] | None]:
    """Return the last messages, and where older ones go on if they did not fit."""
    if not request.last:
        return EMPTY, None
    thread = request.thread
    meant = Selection(name, None if thread is None else (thread,), as_of)
    page = message_page(reader, meant, limit=request.last, bytes_max=PAYLOAD_BYTES_MAX, newest=True)
    if page.next is None or len(page.messages) == request.last:
        return page, None
    return page, list(page.next)


def snapshot_json(
    hit: Hit, name: str, thread: str | None, *, lag: int, rest: list[int] | None
) -> bytes:
    """Join a snapshot's parts; messages that do not fit are left out from the oldest on.

    ``next`` is the position before which they can be asked for.
    """
    budget = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES
    budget -= len(hit.resource_memory) + len(hit.thread_memory) + len(hit.thread)
    kept = _newest_that_fit(hit.messages, budget)
    if len(kept) < len(hit.messages):
        rest = _position(kept[0]) if kept else [hit.sequence + 1, 0]
    return b"".join(
        (
            b'{"sequence":%d,"lag":%d,"resource":' % (hit.sequence, lag),
            encode(name),
            b',"thread":',
            encode(thread),
            b',"working_memory":{"resource":',
            hit.resource_memory,
            b',"thread":',
            hit.thread_memory,
            b'},"thread_state":',
            hit.thread,
            b',"messages":[',
            b",".join(kept),
            b'],"next":',
            encode(rest),
            b',"parked":%d}' % hit.parked,
        )
    )


def _newest_that_fit(messages: list[bytes], budget: int) -> list[bytes]:
    size = 0
    for number, message in enumerate(reversed(messages)):
        size += len(message) + 1
        if size > budget:
            return messages[len(messages) - number :]
    return messages


def _position(message: bytes) -> list[int]:
    decoded = orjson.loads(message)
    return [decoded["sequence"], decoded["index"]]
