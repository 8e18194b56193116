"""The fold: ``evolve`` is one pure step from (state, event) to what changes; ``apply`` does it.

No clock, no randomness, no I/O: the same events give the same state everywhere. Each event gets
exactly one outcome. Nothing here raises for anything a publisher can send.
"""

from __future__ import annotations

from dataclasses import replace

from memfold.errors import InvalidEvent, Rejected
from memfold.rules import RULES
from memfold.state import Memory, ParkedEvent, Resource, State, Thread
from memfold.steps import Outcome, Step
from memfold.subjects import Address
from memfold.wire import Event, Unreadable


def evolve(state: State, event: Event | Unreadable) -> Step:
    """Return what one event does to the state; the state itself is not touched."""
    if isinstance(event, Unreadable):
        step = Step(Outcome("parked", event.reason, event.detail))
    else:
        step = _evolve_readable(state, event)
    _move_revision(state, event, step)
    if step.outcome.kind == "parked":
        whose = event.address
        parked = ParkedEvent(None, None) if whose is None else _parked(whose)
        step.parked = ((event.sequence, event.index), parked)
    return step


def apply(state: State, step: Step) -> None:
    """Put the entities of a step into the state."""
    if step.memories:
        state.memories.update(step.memories)
    if step.threads:
        state.threads.update(step.threads)
    if step.resources:
        state.resources.update(step.resources)
    for key, message in (step.messages or {}).items():
        if message is None:
            state.messages.pop(key, None)
        else:
            state.messages[key] = message
    if step.seen is not None:
        key_, digest, position = step.seen
        state.seen[key_] = (digest, position)
    if step.parked is not None:
        place, parked = step.parked
        state.parked[place] = parked


def _parked(whose: Address) -> ParkedEvent:
    return ParkedEvent(whose.resource, whose.thread)


def _evolve_readable(state: State, event: Event) -> Step:
    key = (event.envelope.source, event.envelope.id)
    position = (event.sequence, event.index)
    known = state.seen.get(key)
    if known is not None:
        digest, first = known
        if digest == event.digest:
            return Step(Outcome("duplicate", of=first))
        return Step(Outcome("parked", "id_reused", "another event has this source and id"))
    try:
        _check_incarnation(state, event)
        step = RULES[type(event.data)](state, event, event.data)
    except (Rejected, InvalidEvent) as error:
        step = Step(Outcome("rejected", error.reason, error.message))
    if step.outcome.kind == "applied" and event.address.facet != "erasure":
        _begin_resource(state, event, step)
    step.seen = (key, event.digest, position)
    return step


def _move_revision(state: State, event: Event | Unreadable, step: Step) -> None:
    """Count the event on its document's subject, whatever its outcome: the stream does so too."""
    address = event.address
    if address is None or address.facet == "messages":
        return
    if address.facet == "memory":
        key = (address.resource, address.thread)
        memory = (step.memories or {}).get(key) or state.memories.get(key) or Memory()
        moved = Memory(event.sequence, memory.document, memory.definition)
        step.memories = {**(step.memories or {}), key: moved}
    elif address.resource is None:
        return
    elif address.facet == "thread" and address.thread is not None:
        thread_key = (address.resource, address.thread)
        thread = (step.threads or {}).get(thread_key) or state.threads.get(thread_key)
        thread = thread or _unborn(event.sequence)
        step.threads = {
            **(step.threads or {}),
            thread_key: replace(thread, revision=event.sequence),
        }
    elif address.facet == "resource" and address.thread is None:
        owner = (step.resources or {}).get(address.resource) or state.resources.get(
            address.resource
        )
        owner = owner or Resource({}, (0, 0), 0, 0)
        step.resources = {address.resource: replace(owner, revision=event.sequence)}


def _unborn(sequence: int) -> Thread:
    """Return a thread that never lived, though its subject has events: a revision, no more."""
    return Thread(
        incarnation=0,
        live=False,
        explicit=False,
        title="",
        metadata={},
        began=(sequence, 0),
        created_at_us=0,
        updated_at_us=0,
    )


def _check_incarnation(state: State, event: Event) -> None:
    asked = event.envelope.incarnation
    if asked is None or event.address.resource is None or event.address.thread is None:
        return
    thread = state.threads.get((event.address.resource, event.address.thread))
    current = 0 if thread is None else thread.incarnation
    if asked != current or thread is None or not thread.live:
        message = "the thread was deleted since its publisher read it"
        raise Rejected(message, reason="incarnation_ended")


def _begin_resource(state: State, event: Event, step: Step) -> None:
    name = event.address.resource
    if name is None or (step.resources and name in step.resources):
        return
    if event.address.facet == "erasure":
        # Whoever is erased, or told of, is not there for that.
        return
    known = state.resources.get(name) or Resource({}, (0, 0), 0, 0)
    if known.live:
        return
    step.resources = {
        name: replace(
            known,
            began=(event.sequence, event.index),
            created_at_us=event.time_us,
            updated_at_us=event.time_us,
        )
    }
