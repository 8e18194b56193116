"""What callers name in the log of a resource: actors, events, messages. Pure."""

from __future__ import annotations

import re
from typing import Final

from memfold.audit.counterfactual import Exclusion, Fold, message_of, position_of
from memfold.errors import InvalidRequest
from memfold.provenance import Position

_AT: Final = ("", "")
"""Stands for the event at a position: ids are never empty."""
_POSITION: Final = re.compile(r"([0-9]{1,18})[.]([0-9]{1,9})")


def positions_of_event(fold: Fold, name: str) -> frozenset[Position]:
    """Return where an event stands that is named by its id, SOURCE/ID or SEQUENCE.INDEX.

    An event that was published several times under one id stands at several positions; none if
    there is no such event.

    Raises:
        InvalidRequest: the name fits several events, or the record of an erasure.
    """
    meant: dict[tuple[str, str], set[Position]] = {}
    at = _position(name)
    for event in fold.readable():
        identity, position = (event.envelope.source, event.envelope.id), position_of(event)
        if name in {identity[1], "/".join(identity)}:
            meant.setdefault(identity, set()).add(position)
        elif position == at:
            meant[_AT] = {position}
    if len(meant) > 1:
        places = ", ".join(
            f"{sequence}.{index}"
            for sequence, index in sorted(set[Position]().union(*meant.values()))
        )
        message = f"{name!r} names several events, at {places}: say SOURCE/ID or SEQUENCE.INDEX"
        raise InvalidRequest(message)
    positions = frozenset(next(iter(meant.values()), ()))
    for event in fold.readable():
        if position_of(event) in positions and event.address.facet == "erasure":
            message = f"event {name!r} is the record of an erasure, which is never left out"
            raise InvalidRequest(message)
    return positions


def unmet(fold: Fold, exclusion: Exclusion) -> list[str]:
    """Return what an exclusion names that no event has: a misspelt name would leave out nothing."""
    readable = list(fold.readable())
    actors = {event.address.actor for event in readable}
    messages = {name for event in readable if (name := message_of(event)) is not None}
    return [
        *(f"actor {name!r}" for name in sorted(exclusion.actors - actors)),
        *(
            f"message {name!r} of thread {thread!r}"
            for thread, name in sorted(exclusion.messages - messages)
        ),
    ]


def threads_of_message(fold: Fold, message: str) -> list[str]:
    """Return the threads that have, or had, a message of this id, in order of appearance."""
    names = (message_of(event) for event in fold.readable())
    return list(dict.fromkeys(name[0] for name in names if name is not None and name[1] == message))


def _position(name: str) -> Position | None:
    match = _POSITION.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2]))
