"""What would be had some events never been stored: they and what followed from them left out. Pure.

Folds the events of one resource, with the namespace's default definitions, by the very rules that
every engine folds by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from memfold.events import MessageAppended, MessageDeleted, MessageUpdated, ThreadCloned
from memfold.fold import apply, evolve
from memfold.provenance import Position
from memfold.state import State
from memfold.steps import Outcome
from memfold.wire import Event, Unreadable

Why = Literal["actor", "event", "message", "causation", "evidence", "clone"]
"""What an event fell by: named itself, or following from another one."""
MessageName = tuple[str, str]
"""(thread, message)."""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What is left out: all events of actors, events by id, all about messages.

    With ``consequences`` also what followed from it, and from that in turn: events that it caused,
    memory updates whose evidence rests on it, copies of it in clones.
    """

    actors: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
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


def fold_without(fold: Fold, fallen: Sequence[Fallen]) -> State:
    """Return the state that the other events give."""
    gone = {_position(each.event) for each in fallen}
    state = State()
    for event, outcome in zip(fold.events, fold.outcomes, strict=True):
        if _position(event) not in gone:
            apply(state, evolve(state, _in_its_life(event, outcome)))
    return state


def find_fallen(fold: Fold, exclusion: Exclusion) -> list[Fallen]:
    """Return the events that are left out, in the log's order.

    What cannot be read has no effect and is never among them.
    """
    found = {_position(each.event): each for each in _named(fold, exclusion)}
    if exclusion.consequences:
        followers = _followers(fold)
        events = {_position(event): event for event in fold.events if isinstance(event, Event)}
        waiting = list(found)
        while waiting:
            cause = waiting.pop()
            for position, why in followers.get(cause, ()):
                if position not in found:
                    found[position] = Fallen(events[position], why, cause)
                    waiting.append(position)
    return [found[position] for position in sorted(found)]


def unmet(fold: Fold, exclusion: Exclusion) -> list[str]:
    """Return what an exclusion names that no event has: a misspelt name would leave out nothing."""
    readable = list(_readable(fold))
    actors = {event.address.actor for event in readable}
    ids = {event.envelope.id for event in readable}
    messages = {name for event in readable if (name := _message_of(event)) is not None}
    return [
        *(f"actor {name!r}" for name in sorted(exclusion.actors - actors)),
        *(f"event {name!r}" for name in sorted(exclusion.events - ids)),
        *(
            f"message {name!r} of thread {thread!r}"
            for thread, name in sorted(exclusion.messages - messages)
        ),
    ]


def threads_of_message(fold: Fold, message: str) -> list[str]:
    """Return the threads that have, or had, a message of this id, in order of appearance."""
    names = (_message_of(event) for event in _readable(fold))
    return list(dict.fromkeys(name[0] for name in names if name is not None and name[1] == message))


def _named(fold: Fold, exclusion: Exclusion) -> Iterator[Fallen]:
    for event in _readable(fold):
        if event.envelope.id in exclusion.events:
            yield Fallen(event, "event")
        elif event.address.actor in exclusion.actors:
            yield Fallen(event, "actor")
        elif _message_of(event) in exclusion.messages:
            yield Fallen(event, "message")


Followers = dict[Position, list[tuple[Position, Why]]]


def _followers(fold: Fold) -> Followers:
    """Return for each event those that followed from it directly."""
    followers: Followers = {}
    by_id: dict[str, list[Position]] = {}
    spoken: dict[MessageName, list[Position]] = {}
    for event in _readable(fold):
        by_id.setdefault(event.envelope.id, []).append(_position(event))
        if (name := _message_of(event)) is not None:
            spoken.setdefault(name, []).append(_position(event))
    # Which events made a message what it is, at the place in the log that the loop has come to.
    made: dict[MessageName, list[Position]] = {}
    for one, outcome in zip(fold.events, fold.outcomes, strict=True):
        if not isinstance(one, Event):
            continue
        for cause in by_id.get(one.envelope.causationid or "", []):
            _follow(followers, cause, _position(one), "causation")
        for each in getattr(one.data, "evidence", ()):
            rests_on = (each.thread, each.message)
            # Evidence may be published before its message.
            for cause in made.get(rests_on) or spoken.get(rests_on, []):
                _follow(followers, cause, _position(one), "evidence")
        if outcome.kind == "applied":
            _note_message(made, one)
            _note_clone(made, one, followers)
    return followers


def _follow(followers: Followers, cause: Position, position: Position, why: Why) -> None:
    if cause != position:
        followers.setdefault(cause, []).append((position, why))


def _note_message(made: dict[MessageName, list[Position]], event: Event) -> None:
    name = _message_of(event)
    if name is None or isinstance(event.data, MessageDeleted):
        # What rests on a message goes on doing so when that is deleted.
        return
    before = made.get(name, []) if isinstance(event.data, MessageUpdated) else []
    made[name] = [*before, _position(event)]


def _note_clone(
    made: dict[MessageName, list[Position]], event: Event, followers: Followers
) -> None:
    data, thread = event.data, event.address.thread
    if not isinstance(data, ThreadCloned) or data.source.resource != event.address.resource:
        return
    for original, copy in data.messages.items():
        # Later changes of a copy are its own.
        for position in made.get((str(thread), copy), ())[:1]:
            for cause in made.get((data.source.thread, original), ()):
                if cause[0] <= data.source.sequence:
                    _follow(followers, cause, position, "clone")


def _message_of(event: Event) -> MessageName | None:
    data = event.data
    if isinstance(data, MessageAppended):
        return str(event.address.thread), data.message.id
    if isinstance(data, MessageUpdated | MessageDeleted):
        return str(event.address.thread), data.id
    return None


def _in_its_life(event: Event | Unreadable, outcome: Outcome) -> Event | Unreadable:
    """Return the event without its incarnation, if that fitted when it was published.

    Where the end of a thread is left out, its lives are counted differently.
    """
    if not isinstance(event, Event) or event.envelope.incarnation is None:
        return event
    if outcome.reason == "incarnation_ended":
        return event
    return replace(event, envelope=event.envelope.model_copy(update={"incarnation": None}))


def _readable(fold: Fold) -> Iterable[Event]:
    return (event for event in fold.events if isinstance(event, Event))


def _position(event: Event | Unreadable) -> Position:
    return event.sequence, event.index
