"""Files of whole conversations, as people export them or programs save them.

A file is a list of conversations, JSON lines of them, or one; or nothing but the messages of one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

from memfold.canonical import is_array, is_object
from memfold.errors import InvalidEvent
from memfold.gate import check
from memfold.wire import digest
from memfold_consumers.formats.conversations import (
    Conversations,
    Found,
    Message,
    Misfit,
    Source,
    beside,
    text_of,
    time_of,
)
from memfold_consumers.formats.stable import Fault, InvalidInput, Salts, stable_id
from memfold_consumers.formats.values import Bytes, Value, parse_value, values

SIGNS: Final[Mapping[str, str]] = {
    "mapping": "openai",
    "chat_messages": "anthropic",
    "threads": "mastra",
    "threadId": "mastra",
    "thread_id": "mastra",
}
"""A field that only conversations of one format have -> that format."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: whose conversations they become, and of one, in which thread."""

    file: str
    salts: Salts
    resource: str | None = None
    thread: str | None = None


class ExportReader(ABC):
    """Reads one file; a format says what its conversations and messages look like."""

    form: ClassVar[str]
    own: ClassVar[str]
    """The field by which a conversation of the provider's own export is known."""
    apart: ClassVar[tuple[str, ...]] = ()
    """Fields of a saved conversation that :meth:`before` reads."""

    def __init__(self, asked: Asked) -> None:
        """``asked`` must name the resource: these files name no user."""
        self.asked = asked
        self.resource = asked.resource or ""
        self.maker = Conversations(self.form, asked.file, asked.salts)
        self._number = 0
        self._same: Counter[bytes] = Counter()

    @abstractmethod
    def exported(self, raw: Mapping[str, Any], place: str) -> Iterator[Found]:
        """Read a conversation of the provider's own export."""

    @abstractmethod
    def message(self, raw: Mapping[str, Any], id_: str, place: str) -> Message:
        """Read a message as the provider's interface takes it; ``id_`` is for one without an id.

        Raises:
            Misfit: it is none.
        """

    def before(self, raw: Mapping[str, Any], place: str) -> Iterator[Message]:
        """Read what the conversation says beside its list, but that is a message to us."""
        del raw, place
        yield from ()

    def read(self, stream: Bytes) -> Iterator[Found]:
        """Yield the conversations of a file, what does not fit, and what is left out.

        Raises:
            InvalidInput: it is not of this format, or ``thread`` names one and there are more.
        """
        loose: list[Any] = []
        loose_of = -1
        for value in values(stream):
            group = value.top if value.place else 0
            raw = self._parsed(value)
            is_loose = is_object(raw) and "role" in raw
            if loose and (group != loose_of or (not is_loose and self._is_conversation(raw))):
                yield from self._together(loose)
                loose = []
            # What is bad among messages does not end their conversation.
            if is_loose or loose or isinstance(raw, Misfit | InvalidEvent):
                loose.append(raw)
                loose_of = group
            else:
                yield from self._conversation(raw, self._next())
        yield from self._together(loose)

    def _together(self, loose: list[Any]) -> Iterator[Found]:
        """Read messages that stand together, and what else stands among them."""
        if any(is_object(each) and "role" in each for each in loose):
            yield from self._saved({"messages": loose}, self._next())
            return
        for each in loose:
            yield from self._conversation(each, self._next())

    def _is_conversation(self, raw: object) -> bool:
        return is_object(raw) and (self.own in raw or "messages" in raw)

    def _parsed(self, value: Value) -> Any:  # noqa: ANN401 - any JSON value, or what is wrong.
        where = "" if value.place else f"line {value.line}: "
        if value.problem:
            return Misfit(f"{where}{value.problem}")
        try:
            return parse_value(value.payload)
        except InvalidEvent as error:
            # What does not even begin like one is no conversation.
            begun = value.top > 1 or value.payload.startswith((b"{", b"["))
            return InvalidEvent(f"{where}{error.message}", reason=error.reason) if begun else None

    def _next(self) -> str:
        self._number += 1
        if self._number > 1 and self.asked.thread is not None:
            message = f"{self.asked.file}: --thread is for one conversation, and here are more"
            raise InvalidInput(message)
        return f"conversation {self._number}"

    def _conversation(self, raw: Any, place: str) -> Iterator[Found]:  # noqa: ANN401 - as above.
        if isinstance(raw, InvalidEvent):
            yield Fault(self.maker.origin(place), raw.reason, raw.message)
            return
        try:
            if isinstance(raw, Misfit):
                raise raw
            if not is_object(raw):
                self._refuse(raw)
            elif self.own in raw:
                ids = (raw.get(name) for name in ("id", "conversation_id", "uuid"))
                id_ = next((id_ for id_ in ids if isinstance(id_, str) and id_), None)
                place = place if id_ is None else f"{place} ({id_})"
                yield from self.exported(raw, place)
            elif is_array(raw.get("messages")):
                yield from self._saved(raw, place)
            else:
                self._refuse(raw)
        except Misfit as error:
            yield self.maker.fault(place, error)

    def _refuse(self, raw: object) -> NoReturn:
        """Say what a value is that is no conversation of this format."""
        signs = [form for name, form in SIGNS.items() if is_object(raw) and name in raw]
        problem = f"not a conversation: it has neither {self.own} nor messages"
        if signs:
            problem += f" (it looks like --format {signs[0]})"
        if self._number == 1:
            message = f"{self.asked.file}: {problem}"
            raise InvalidInput(message)
        raise Misfit(problem)

    def _saved(self, raw: Mapping[str, Any], place: str) -> Iterator[Found]:
        """Read messages as the provider's interface takes them."""
        messages = list(self.before(raw, place))
        seen: Counter[bytes] = Counter()
        for number, each in enumerate(raw["messages"], start=1):
            where = f"{place}, message {number}"
            try:
                if isinstance(each, Misfit | InvalidEvent):
                    raise each
                if not is_object(each):
                    yield self.maker.fault(where, "not an object")
                    continue
                check(each)
                key = digest(each)
                seen[key] += 1
                messages.append(self.message(each, stable_id(each, seen[key]), where))
            except InvalidEvent as error:
                yield Fault(self.maker.origin(where), error.reason, error.message)
            except Misfit as error:
                yield self.maker.fault(where, error)
        yield from self.maker.make(self.source(raw, self._thread(raw, messages), place), messages)

    def _thread(self, raw: Mapping[str, Any], messages: list[Message]) -> str:
        """Return the thread of a conversation: as asked, its own id, or made from its messages."""
        given = self.asked.thread or text_of(raw, "id", "conversation_id", "thread_id")
        if given:
            return given
        content = {"messages": [message.id for message in messages]}
        key = digest(content)
        self._same[key] += 1
        return stable_id(content, self._same[key])

    def source(self, raw: Mapping[str, Any], thread: str, place: str) -> Source:
        """Return what a saved conversation says of itself.

        Raises:
            Misfit: a title or a time is none.
        """
        metadata: object = raw.get("metadata")
        taken = ("messages", "id", "conversation_id", "thread_id", "title", "created_at")
        own = metadata if is_object(metadata) else {}
        return Source(
            self.resource,
            thread,
            place,
            title=text_of(raw, "title"),
            created_at=time_of(raw, "created_at"),
            updated_at=time_of(raw, "updated_at"),
            metadata=own,
            fields=beside(raw, *taken, "updated_at", *(("metadata",) if own else ()), *self.apart),
        )
