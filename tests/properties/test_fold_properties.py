"""The fold gives the same state however its events arrive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from memfold.canonical import encode_text
from memfold.events import Erased, ParkedDiscarded
from memfold.fold import apply, evolve
from memfold.state import Document, State
from memfold.steps import Step
from memfold.subjects import Address
from memfold.wire import Event, Unreadable
from support.log import Log, decoded, dump, read
from support.strategies import logs

Published = list[tuple[str, dict[str, Any]]]


def folded(published: Published) -> Log:
    log = Log()
    for subject, event in published:
        log.put(subject, event)
    return log


def stored_and_loaded(state: State) -> State:
    """Return the state as it comes back from its canonical text: same values, other key order."""

    def document(old: Document | None) -> Document | None:
        if old is None:
            return None
        lines = isinstance(old.provenance, list)
        kept = decoded(old.provenance)
        provenance = (
            [tuple(position) for position in kept]
            if lines
            else {at: tuple(position) for at, position in kept.items()}
        )
        return replace(old, content=decoded(old.content), provenance=provenance)

    return State(
        memories={
            key: replace(memory, document=document(memory.document))
            for key, memory in state.memories.items()
        },
        threads={
            key: replace(thread, metadata=decoded(thread.metadata))
            for key, thread in state.threads.items()
        },
        resources={
            key: replace(resource, metadata=decoded(resource.metadata))
            for key, resource in state.resources.items()
        },
        messages={
            key: replace(
                message, content=decoded(message.content), metadata=decoded(message.metadata)
            )
            for key, message in state.messages.items()
        },
        seen=dict(state.seen),
        parked=dict(state.parked),
    )


def content(state: State) -> str:
    """Return what users see of a state: no positions, no revisions, no times of the log."""
    threads = {
        "/".join(key): [thread.incarnation, thread.live, thread.title, thread.metadata]
        for key, thread in state.threads.items()
        if thread.live
    }
    messages: dict[str, list[Any]] = {}
    for key, message in sorted(state.messages.items(), key=lambda item: item[1].position):
        shown = [message.id, message.role, message.content, message.metadata]
        messages.setdefault("/".join(key[:2]), []).append([*shown, message.created_at_us])
    memories = {
        f"{resource}/{thread}": [
            memory.document and memory.document.content,
            memory.definition and memory.definition.body,
        ]
        for (resource, thread), memory in state.memories.items()
    }
    resources = {key: entity.metadata for key, entity in state.resources.items() if entity.live}
    return encode_text([threads, messages, memories, resources])


@given(logs(), st.data())
def test_folding_in_pieces_with_the_state_stored_between_gives_the_same(
    published: Published, data: st.DataObject
) -> None:
    whole = folded(published)
    pieces = Log()
    for subject, event in published:
        if data.draw(st.booleans()):
            pieces.state = stored_and_loaded(pieces.state)
        pieces.put(subject, event)
    assert dump(pieces.state) == dump(whole.state)
    assert [step.outcome for step in pieces.steps] == [step.outcome for step in whole.steps]


@given(logs(), st.data())
def test_events_delivered_again_in_any_batching_change_nothing(
    published: Published, data: st.DataObject
) -> None:
    """But for erasures: the number of a life after one counts on from where its record stands."""
    published = [each for each in published if each[1].get("type") != "Erased"]
    again = list(published)
    for position, (subject, event) in enumerate(published):
        if data.draw(st.integers(0, 3)) == 0:
            later = data.draw(st.integers(position + 1, len(again)))
            first = again.index((subject, event))
            again.insert(max(later, first + 1), (subject, {**event, "salt": "drawn anew"}))
    batched = Log()
    while again:
        subject = again[0][0]
        size = 1
        while size < len(again) and again[size][0] == subject and data.draw(st.booleans()):
            size += 1
        batched.put(subject, [event for _, event in again[:size]])
        del again[:size]
    once = folded(published)
    assert content(batched.state) == content(once.state)
    kinds = [step.outcome.kind for step in batched.steps if step.outcome.kind != "duplicate"]
    parked = [kind for kind in kinds if kind == "parked"]
    assert [kind for kind in kinds if kind != "parked"] == [
        step.outcome.kind for step in once.steps if step.outcome.kind != "parked"
    ]
    assert len(parked) >= sum(step.outcome.kind == "parked" for step in once.steps)


def is_of_all(event: Event) -> bool:
    """Tell whether an event is about all threads of a resource."""
    return isinstance(event.data, Erased) and event.data.target == "resource"


def touched(state: State, event: Event | Unreadable) -> State:
    """Return the part of a state that folding one event may read, as a loader would load it."""
    address = event.address
    if address is None:
        return State()
    owner, thread = address.resource, address.thread
    if isinstance(event, Event) and is_of_all(event):
        return replace(
            state,
            memories={k: v for k, v in state.memories.items() if k[0] in {owner, None}},
            threads={k: v for k, v in state.threads.items() if k[0] == owner},
            messages={k: v for k, v in state.messages.items() if k[0] == owner},
            resources={k: v for k, v in state.resources.items() if k == owner},
        )
    keys = [(owner, thread), (owner, None), (None, None)]
    small = State(memories={key: state.memories[key] for key in keys if key in state.memories})
    if owner is not None:
        small.resources = {key: value for key, value in state.resources.items() if key == owner}
        small.threads = {k: v for k, v in state.threads.items() if k == (owner, thread)}
        small.messages = {k: v for k, v in state.messages.items() if k[:2] == (owner, thread)}
    if isinstance(event, Event):
        key = (event.envelope.source, event.envelope.id)
        small.seen = {k: v for k, v in state.seen.items() if k == key}
        if isinstance(event.data, ParkedDiscarded):
            place = (event.data.sequence, event.data.index)
            small.parked = {k: v for k, v in state.parked.items() if k == place}
    return small


@given(logs())
def test_an_event_reads_and_changes_nothing_but_what_its_address_names(
    published: Published,
) -> None:
    state = State()
    for sequence, (subject, payload) in enumerate(published, start=1):
        (event,) = read(subject, payload, sequence=sequence)
        before = dump(state)
        step = evolve(state, event)
        assert dump(state) == before
        alone = evolve(touched(state, event), event)
        assert alone.outcome == step.outcome
        other = State()
        apply(other, alone)
        mine = State()
        apply(mine, step)
        assert dump(other) == dump(mine)
        assert event.address is not None
        owner, thread = event.address.resource, event.address.thread
        if isinstance(event, Event) and is_of_all(event):
            assert {each[0] for each in names(step)} <= {owner}
        else:
            assert names(step) <= {(owner, thread), (owner, None)}
        apply(state, step)


def names(step: Step) -> set[tuple[str | None, str | None]]:
    """Return the (resource, thread) of each entity that a step puts."""
    found: set[tuple[str | None, str | None]] = set(step.memories or ())
    found |= set(step.threads or ())
    found |= {(name, None) for name in step.resources or ()}
    return found | {key[:2] for key in step.messages or ()}


@given(logs())
def test_every_event_moves_the_revision_of_its_document_to_its_sequence(
    published: Published,
) -> None:
    log = Log()
    for subject, event in published:
        log.put(subject, event)
        (item,) = read(subject, event)
        address = item.address
        assert isinstance(address, Address)
        assert address.resource is not None
        match address.facet:
            case "memory":
                memory = log.state.memories[address.resource, address.thread]
                assert memory.revision == log.sequence
            case "thread":
                assert address.thread is not None
                thread = log.state.threads[address.resource, address.thread]
                assert thread.revision == log.sequence
            case "resource":
                assert log.state.resources[address.resource].revision == log.sequence
            case _:
                assert address.facet in {"messages", "erasure"}


@settings(max_examples=25)
@given(logs(size_max=60))
def test_long_logs_keep_live_threads_and_their_messages_together(published: Published) -> None:
    """Messages and thread memories belong to a living thread, and threads to a living resource."""
    state = folded(published).state
    for resource, thread, _ in state.messages:
        assert state.threads[resource, thread].live
    for (resource, thread), entity in state.threads.items():
        assert not entity.live or state.resources[resource].live
        memory = state.memories.get((resource, thread))
        if memory is not None and (memory.document or memory.definition):
            assert entity.live
