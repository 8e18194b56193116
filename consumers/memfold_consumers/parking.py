"""Answers about parked events: a page of them, and which of them could be read by now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memfold.canonical import encode, from_us
from memfold.limits import FOLD_VERSION
from memfold.wire import Event
from memfold_projections.history import events_at

if TYPE_CHECKING:
    from memfold_consumers.requests import ParkedRequest
    from memfold_projections.reader import Reader
    from memfold_projections.store import Store


def parked_page(
    reader: Reader, store: Store, resource: str | None, request: ParkedRequest
) -> bytes:
    """Return a page of parked events with their reasons."""
    rows = reader.parked(
        resource,
        after=request.after,
        limit=request.limit + 1,
        everything=request.everything,
    )
    found = [_parked(row) for row in rows[: request.limit]]
    if request.check:
        for each in found:
            each["readable"] = _readable(store, each)
    more = len(rows) > request.limit
    after = [found[-1]["sequence"], found[-1]["index"]] if more else None
    return encode(
        {
            "sequence": reader.sequence,
            "fold_version": FOLD_VERSION,
            "parked": found,
            "next": after,
        }
    )


def _readable(store: Store, parked: dict[str, Any]) -> bool:
    """Tell whether this code would read an event with these keys.

    One whose id was used could always be read.
    """
    if parked["reason"] in {"id_reused", "discarded"} or parked["discarded"] is not None:
        return False
    return any(
        event.index == parked["index"] and isinstance(event, Event)
        for event in events_at(store.log, store.namespace, parked["sequence"], store.keys)
    )


def _parked(row: tuple[Any, ...]) -> dict[str, Any]:
    sequence, index, resource, thread, reason, detail, time_us, *gone = row
    return {
        "sequence": sequence,
        "index": index,
        "time": from_us(time_us),
        "resource": resource or None,
        "thread": thread or None,
        "reason": reason,
        "detail": detail,
        "discarded": None
        if gone[0] is None
        else {
            "sequence": gone[0],
            "index": gone[1],
            "actor": gone[2],
            "reason": gone[3],
            "time": from_us(gone[4]),
        },
    }
