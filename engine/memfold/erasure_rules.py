"""What the events of the facet ``erasure`` do to the state. Pure.

An ``Erased`` hides at once what it covers; what it covers is then taken out of the log, and the log
folded again. Both come to the same: nothing here depends on what was erased, only on the record.
"""

from __future__ import annotations

from dataclasses import replace

from memfold.events import Data, Erased
from memfold.state import Memory, Resource, State, Thread, ThreadKey
from memfold.steps import APPLIED, Step
from memfold.wire import Event


def erased(state: State, event: Event, data: Data) -> Step:
    """End what an ``Erased`` names; what it names by position waits for the next fold."""
    assert isinstance(data, Erased)
    resource, thread = event.address.resource, event.address.thread
    if resource is None or data.target == "event":
        return Step(APPLIED)
    if data.target == "resource":
        return _resource_erased(state, event, resource)
    assert thread is not None
    if data.target == "thread":
        return _thread_erased(state, event, (resource, thread))
    assert data.message is not None
    step = Step(APPLIED)
    if (resource, thread, data.message) in state.messages:
        step.messages = {(resource, thread, data.message): None}
        touched = replace(state.threads[resource, thread], updated_at_us=event.time_us)
        step.threads = {(resource, thread): touched}
    return step


def recorded_only(state: State, event: Event, data: Data) -> Step:
    """Change nothing: the event speaks of the log, not of memory."""
    del state, event, data
    return Step(APPLIED)


def _resource_erased(state: State, event: Event, resource: str) -> Step:
    threads = [key for key, thread in state.threads.items() if key[0] == resource and thread.live]
    # An empty one may only say that it was looked for, which depends on how events were batched.
    memories = [
        key for key, memory in state.memories.items() if key[0] == resource and memory != Memory()
    ]
    return Step(
        APPLIED,
        threads={key: _ended(event) for key in threads},
        memories={key: Memory() for key in memories},
        messages={key: None for key in state.messages if key[0] == resource},
        resources={resource: Resource({}, (0, 0), 0, 0, erased=event.sequence)},
    )


def _thread_erased(state: State, event: Event, key: ThreadKey) -> Step:
    step = Step(APPLIED, threads={key: _ended(event)})
    step.messages = {place: None for place in state.messages if place[:2] == key}
    if state.memories.get(key, Memory()) != Memory():
        step.memories = {key: Memory()}
    return step


def _ended(event: Event) -> Thread:
    """Return what is left of a thread: the number that its next life counts on from.

    It must not depend on how often the thread had lived, for that is erased too.
    """
    return Thread(
        incarnation=event.sequence,
        live=False,
        explicit=False,
        title="",
        metadata={},
        began=(event.sequence, event.index),
        created_at_us=event.time_us,
        updated_at_us=event.time_us,
    )
