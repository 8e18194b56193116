"""What a write rests on: ``because=`` turned into a causation id and evidence."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard, cast

from memfold.errors import InvalidRequest
from memfold.messages import Message
from memfold.reads import MessageView
from memfold.receipts import Receipt

APPENDED_MAX: Final = 10_000

Reason = Receipt | Message | MessageView | tuple[str, str] | Mapping[str, Any]
"""A receipt; a message, which a (thread, id) pair or a dictionary of the two names, too."""
Because = Reason | Sequence[Reason] | None
"""What a write rests on: one reason, or several."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """The event that led to a write, and the messages it rests on as (thread, message)."""

    causation: str | None
    evidence: tuple[tuple[str, str], ...]

    def evidence_json(self) -> list[dict[str, str]]:
        """Return the evidence as it stands in an event."""
        return [{"thread": thread, "message": message} for thread, message in self.evidence]


NO_GROUNDS: Final = Grounds(None, ())


class Appended:
    """The messages that this client appended of late: in which thread, by which event; bounded."""

    def __init__(self, messages_max: int = APPENDED_MAX) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()
        self._max = messages_max

    def note(self, resource: str, thread: str, message: str, event_id: str) -> None:
        """Remember that an event appended a message."""
        self._known[resource, message] = (thread, event_id)
        self._known.move_to_end((resource, message))
        if len(self._known) > self._max:
            self._known.popitem(last=False)

    def find(self, resource: str | None, message: str) -> tuple[str, str] | None:
        """Return the (thread, event id) of a message, if it is known."""
        return None if resource is None else self._known.get((resource, message))


def grounds(
    because: Because, *, resource: str | None, thread: str | None, appended: Appended
) -> Grounds:
    """Return what a write to a resource's or thread's document rests on.

    Raises:
        InvalidRequest: a message whose thread is not known, or something else altogether.
    """
    if because is None:
        return NO_GROUNDS
    reasons = [because] if _is_alone(because) else cast("Sequence[Reason]", because)
    causation: str | None = None
    evidence: dict[tuple[str, str], None] = {}
    for reason in reasons:
        if isinstance(reason, Receipt):
            causation = reason.event_ids[-1]
            if reason.resource == resource:
                evidence.update(dict.fromkeys(reason.messages))
            continue
        named_thread, message = _message(reason)
        known = appended.find(resource, message)
        place = named_thread or (known[0] if known else thread)
        if place is None:
            problem = f"name the thread of message {message!r}: because=(thread, message)"
            raise InvalidRequest(problem)
        evidence[place, message] = None
        if known is not None and known[0] == place:
            causation = known[1]
    return Grounds(causation, tuple(evidence))


def _message(reason: object) -> tuple[str | None, str]:
    """Return the (thread or None, id) that a reason names."""
    if isinstance(reason, MessageView):
        return reason.thread, reason.id
    if isinstance(reason, Message):
        return None, reason.id
    if _is_pair(reason):
        return reason
    if isinstance(reason, Mapping):
        named = cast("Mapping[str, object]", reason)
        message, thread = named.get("message", named.get("id")), named.get("thread")
        if isinstance(message, str) and (thread is None or isinstance(thread, str)):
            return thread, message
    problem = "because= takes receipts and messages: a Message, {thread, id} or (thread, id)"
    raise InvalidRequest(problem)


def _is_alone(because: object) -> bool:
    """Tell one reason, or what is none at all, from several."""
    if isinstance(because, Receipt | Message | MessageView | Mapping | str):
        return True
    return _is_pair(because) or not isinstance(because, Iterable)


def _is_pair(value: object) -> TypeGuard[tuple[str, str]]:
    match value:
        case (str(), str()):
            return isinstance(value, tuple)
        case _:
            return False
