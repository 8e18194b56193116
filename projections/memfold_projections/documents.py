"""The table ``change``: which event did what to which document, in the log's order.

It serves histories, and the steps between two keyframes, without reading the log again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.canonical import encode_text
from memfold.events import MemoryReplaced
from memfold.wire import Event, Unreadable

if TYPE_CHECKING:
    from memfold.steps import Step
    from memfold_projections.loader import Loader
    from memfold_projections.rows import Row

MEMORY: Final = 0
THREAD: Final = 1
RESOURCE: Final = 2


def change_row(loader: Loader, event: Event | Unreadable, step: Step) -> Row | None:
    """Return what an event did to the document of its subject; None where it has none.

    Call once the keys of what the step puts are given out.
    """
    address = event.address
    if address is None:
        return None
    applied = step.outcome.kind == "applied" and isinstance(event, Event)
    match address.facet:
        case "memory":
            number = loader.memory_keys[address.resource, address.thread]
            return event_row(MEMORY, number, event, applied=applied)
        case "thread" if applied and address.resource is not None and address.thread is not None:
            key = loader.thread_keys[address.resource, address.thread]
            return event_row(THREAD, key, event, applied=True)
        case "resource" if applied and address.resource is not None:
            known = (step.resources or {}).get(address.resource)
            resource = known or loader.state.resources[address.resource]
            return event_row(RESOURCE, resource.began[0], event, applied=True)
        case _:
            return None


def event_row(kind: int, key: int, event: Event | Unreadable, *, applied: bool) -> Row:
    """Return the columns of a change."""
    head = (kind, key, event.sequence, event.index, event.time_us, applied)
    actor = "" if event.address is None else event.address.actor
    if isinstance(event, Unreadable):
        return (*head, False, actor, "", "", None, None, None)
    envelope = event.envelope
    return (
        *head,
        applied and isinstance(event.data, MemoryReplaced),
        actor,
        envelope.id,
        envelope.type,
        envelope.causationid,
        envelope.correlationid,
        encode_text(event.data.model_dump(mode="json")) if applied else None,
    )
