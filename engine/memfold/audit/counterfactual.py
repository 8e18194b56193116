"""What would be had some events never been stored: they and what followed from them left out. Pure.

Folds the events of a resource, with the namespace's default definitions, by the very rules that
every engine folds by: once as it was and once as it would be, side by side. So what an event found
and what it would have found can be compared where it stands in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from memfold.audit.restating import Entity, Found, Original, content_of, originals, restated
from memfold.canonical import same
from memfold.events import MessageAppended, MessageDeleted, MessageUpdated
from memfold.fold import apply, evolve
from memfold.provenance import Position
from memfold.state import Message, MessageKey, State
from memfold.steps import UNCHANGED, Outcome, Step
from memfold.wire import Event, Unreadable

Why = Literal["actor", "event", "message", "causation", "evidence", "clone", "revert", "duplicate"]
"""What an event fell by: named itself, or following from another one."""
MessageName = tuple[str, str]
"""(thread, message)."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What is left out: all events of actors, events by position, all about messages.

    With ``consequences`` also what followed from it, and from that in turn. Events of the facet
    erasure are never left out: what they erased is gone from the log, or must not come back.
    """

    actors: frozenset[str] = frozenset()
    events: frozenset[Position] = frozenset()
    messages: frozenset[MessageName] = frozenset()
    consequences: bool = True

    def __bool__(self) -> bool:
        return bool(self.actors or self.events or self.messages)


@dataclass(frozen=True, slots=True)
class Fallen:
    """An event that is left out, why, and which event it followed from."""

    event: Event
    why: Why
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The events that are left out, in the log's order, and the state that the others give."""

    fallen: Sequence[Fallen]
    state: State


@dataclass(slots=True)
class Fold:
    """Events in the log's order with what became of each, and the state that they give."""

    events: list[Event | Unreadable] = field(default_factory=list[Event | Unreadable])
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    state: State = field(default_factory=State)

    def add(self, event: Event | Unreadable) -> None:
        """Fold one more event."""
        step = evolve(self.state, event)
        apply(self.state, step)
        self.events.append(event)
        self.outcomes.append(step.outcome)

    def readable(self) -> Iterator[Event]:
        """Yield the events that could be read."""
        return (event for event in self.events if isinstance(event, Event))


def leave_out(fold: Fold, exclusion: Exclusion) -> Counterfactual:
    """Fold again without some events and, unless told not to, without what followed from them.

    What cannot be read has no effect and is never left out.
    """
    named = {position_of(each.event): each for each in _named(fold, exclusion)}
    if not exclusion.consequences:
        return Counterfactual(list(named.values()), _without(fold, named))
    links = _Links(_causes(fold), originals(fold.events, fold.outcomes), _before_message(fold))
    early: dict[Position, Fallen] = {}
    while True:
        courses = _Courses(fold, links, {**early, **named})
        courses.run()
        fallen = courses.fallen
        # What was published before a message that it rests on is known to fall only at the end.
        more = {
            position: Fallen(event, "evidence", message)
            for position, (event, messages) in links.before_message.items()
            for message in messages
            if position not in fallen and message in fallen
        }
        if not more:
            return Counterfactual([fallen[place] for place in sorted(fallen)], courses.would.state)
        early |= more


def message_of(event: Event) -> MessageName | None:
    """Return the (thread, message) that an event is about, if it is about one."""
    data = event.data
    if isinstance(data, MessageAppended):
        return str(event.address.thread), data.message.id
    if isinstance(data, MessageUpdated | MessageDeleted):
        return str(event.address.thread), data.id
    return None


def position_of(event: Event | Unreadable) -> Position:
    """Return where an event stands in the log."""
    return event.sequence, event.index


def _named(fold: Fold, exclusion: Exclusion) -> Iterator[Fallen]:
    for event in fold.readable():
        if event.address.facet == "erasure":
            continue
        if position_of(event) in exclusion.events:
            yield Fallen(event, "event")
        elif event.address.actor in exclusion.actors:
            yield Fallen(event, "actor")
        elif message_of(event) in exclusion.messages:
            yield Fallen(event, "message")


def _without(fold: Fold, gone: Mapping[Position, Fallen]) -> State:
    state = State()
    for event, outcome in zip(fold.events, fold.outcomes, strict=True):
        if position_of(event) not in gone:
            apply(state, evolve(state, _in_its_life(event, outcome)))
    return state


@dataclass(frozen=True, slots=True)
class _Links:
    """What events say of others: their cause, what they say again, evidence yet to come."""

    causes: Mapping[Position, Position]
    originals: Mapping[Position, Original]
    before_message: Mapping[Position, tuple[Event, list[Position]]]


def _causes(fold: Fold) -> dict[Position, Position]:
    """Return the cause of each event that names one before it in the log.

    Anybody may publish under an id that is known, so of several it is the earliest one; one of the
    same resource rather than a default of the namespace.
    """
    causes: dict[Position, Position] = {}
    first: dict[tuple[str | None, str], Position] = {}
    for event in fold.readable():
        position, owner = position_of(event), event.address.resource
        named = event.envelope.causationid
        if named is not None:
            cause = first.get((owner, named)) or first.get((None, named))
            if cause is not None:
                causes[position] = cause
        first.setdefault((owner, event.envelope.id), position)
    return causes


def _before_message(fold: Fold) -> dict[Position, tuple[Event, list[Position]]]:
    """Return the updates whose evidence was published after them, and where it first was."""
    found: dict[Position, tuple[Event, list[Position]]] = {}
    known: set[MessageKey] = set()
    waiting: dict[MessageKey, list[Event]] = {}
    for event, outcome in zip(fold.events, fold.outcomes, strict=True):
        if not isinstance(event, Event):
            continue
        for key in _evidence(event):
            if key not in known:
                waiting.setdefault(key, []).append(event)
        if outcome.kind == "applied" and isinstance(event.data, MessageAppended):
            key = _key(event)
            known.add(key)
            for each in waiting.pop(key, ()):
                found.setdefault(position_of(each), (each, []))[1].append(position_of(event))
    return found


@dataclass(slots=True)
class _Course:
    """A state on its way through the log, what it once was, and what each message last said."""

    state: State = field(default_factory=State)
    past: dict[Original, Entity | None] = field(default_factory=dict[Original, Entity | None])
    said: dict[MessageKey, Message] = field(default_factory=dict[MessageKey, Message])

    def take(self, event: Event | Unreadable) -> None:
        """Fold one more event."""
        apply(self.state, evolve(self.state, event))
        if isinstance(event, Event) and isinstance(event.data, MessageAppended | MessageUpdated):
            # What rests on a message goes on doing so when that is deleted.
            message = self.state.messages.get(key := _key(event))
            if message is not None:
                self.said[key] = message


class _Courses:
    """The log folded as it was, and beside it as it would be."""

    def __init__(self, fold: Fold, links: _Links, given: Mapping[Position, Fallen]) -> None:
        self.was = _Course()
        self.would = _Course()
        self.fallen: dict[Position, Fallen] = {}
        self._fold = fold
        self._links = links
        self._given = given
        self._moments = sorted(set(links.originals.values()), key=lambda each: each.sequence)
        self._noted = 0
        # What fell of each message and memory, in order.
        self._about: dict[tuple[str | None, ...], list[Position]] = {}

    def run(self) -> None:
        """Fold all."""
        for event, outcome in zip(self._fold.events, self._fold.outcomes, strict=True):
            self._note_originals(event.sequence)
            found = self._decide(event, outcome)
            if isinstance(found, Fallen):
                self.fallen[position_of(event)] = found
                self._about.setdefault(_subject(found.event), []).append(position_of(event))
            elif found is not None:
                self.would.take(_in_its_life(found, outcome))
            self.was.take(event)

    def _note_originals(self, sequence: int) -> None:
        """Remember what is said again later, once all is folded that stands before it."""
        while self._noted < len(self._moments):
            original = self._moments[self._noted]
            if original.sequence >= sequence:
                return
            for course in (self.was, self.would):
                course.past[original] = original.find(course.state)
            self._noted += 1

    def _decide(
        self, event: Event | Unreadable, outcome: Outcome
    ) -> Event | Unreadable | Fallen | None:
        """Return what is folded in the place of an event: None is nothing, but it was seen."""
        if not isinstance(event, Event) or event.address.facet == "erasure":
            return event
        if (given := self._given.get(position_of(event))) is not None:
            return given
        cause = self._links.causes.get(position_of(event))
        if cause in self.fallen:
            return Fallen(event, "causation", cause)
        if outcome.of in self.fallen:
            return Fallen(event, "duplicate", outcome.of)
        for key in _evidence(event):
            if not _says_the_same(self.was.said.get(key), self.would.said.get(key)):
                return Fallen(event, "evidence", self._last_fallen(key, event.sequence))
        return self._said_again(event)

    def _said_again(self, event: Event) -> Event | Fallen | None:
        original = self._links.originals.get(position_of(event))
        if original is None:
            return event
        memory = event.address.resource, event.address.thread
        found = Found(
            self.was.past[original],
            self.would.past[original],
            content_of(self.was.state.memories.get(memory)),
            content_of(self.would.state.memories.get(memory)),
        )
        data = restated(event.data, original, found)
        if data == "falls":
            after = self._last_fallen(original.subject(), original.sequence)
            return Fallen(event, original.why, after)
        if data == "nothing":
            seen = (event.envelope.source, event.envelope.id), event.digest, position_of(event)
            apply(self.would.state, Step(UNCHANGED, seen=seen))
            return None
        return event if data is event.data else replace(event, data=data)

    def _last_fallen(self, subject: tuple[str | None, ...], upto: int) -> Position | None:
        """Return the last event about something that fell, else the last that fell at all."""
        for positions in (self._about.get(subject, []), self.fallen):
            for position in reversed(positions):
                if position[0] <= upto:
                    return position
        return None


def _subject(event: Event) -> tuple[str | None, ...]:
    """Return what an event is about, as ``Original.subject`` names it."""
    name = message_of(event)
    if name is not None:
        return event.address.resource, *name
    return event.address.resource, event.address.thread


def _evidence(event: Event) -> Iterator[MessageKey]:
    for each in getattr(event.data, "evidence", ()):
        yield str(event.address.resource), each.thread, each.message


def _key(event: Event) -> MessageKey:
    name = message_of(event)
    assert name is not None
    return str(event.address.resource), *name


def _says_the_same(was: Message | None, would: Message | None) -> bool:
    """Tell whether a message that somebody relied on would have said what it said.

    One that nobody had published yet is no ground here.
    """
    if was is None or was is would:
        return True
    return would is not None and was.role == would.role and same(was.content, would.content)


def _in_its_life(event: Event | Unreadable, outcome: Outcome) -> Event | Unreadable:
    """Return the event without its incarnation, if that fitted when it was published.

    Where the end of a thread is left out, its lives are counted differently.
    """
    if not isinstance(event, Event) or event.envelope.incarnation is None:
        return event
    if outcome.reason == "incarnation_ended":
        return event
    return replace(event, envelope=event.envelope.model_copy(update={"incarnation": None}))
