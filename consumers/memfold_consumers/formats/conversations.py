"""Conversations of other systems as events: what all formats of exported conversations share.

A reader of a format finds the conversations and says what their fields mean; how they become
events, with which ids, and what does not fit, is decided here, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from memfold.canonical import encode, from_us, to_us
from memfold.errors import InvalidEvent, InvalidId
from memfold.events import Content
from memfold.ids import check_id
from memfold.limits import METADATA_BYTES_MAX
from memfold.subjects import Address, Facet
from memfold_consumers.formats.stable import ACTOR, Fault, Item, Salts, make_item

IMPORTED: Final = "imported"
"""The key in the metadata under which stands what the source says beside our own fields."""

ROLES: Final[Mapping[str, str]] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "developer": "system",
    "signal": "system",
}
"""A source's role -> ours; the original is kept where it differs."""

_US: Final = 1_000_000
_YEAR_FIRST: Final = re.compile(r"[0-9]{4}-")


class Misfit(Exception):
    """A conversation or message that does not fit; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Parts of an input that are left out on purpose, ``count`` of them, for this ``reason``."""

    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Message:
    """A message as its source has it; ``fields`` is what it says beside our own fields."""

    id: str
    role: str
    content: Content
    place: str
    created_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Source:
    """What a conversation is, beside its messages; without a ``thread`` it is of the resource."""

    resource: str
    thread: str | None
    place: str
    title: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    memory: str | dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation as events, in the order in which they are to be published.

    ``messages`` has the id of the message for each item that is one. ``updated_at`` tells an older
    export of the same conversation from a newer one.
    """

    resource: str
    thread: str | None
    updated_at: datetime | None
    items: tuple[Item, ...]
    messages: tuple[str | None, ...]


Found = Conversation | Fault | Skipped


@dataclass(frozen=True, slots=True)
class Conversations:
    """Makes events of the conversations of one file; ``form`` is the name of its format."""

    form: str
    file: str
    salts: Salts

    def make(self, source: Source, messages: Sequence[Message]) -> Iterator[Found]:
        """Yield what does not fit or is left out, and the conversation last.

        Its memory comes first, then its messages in their order, then its title and metadata: so
        their time stands in the log only once all before it does.
        """
        items: list[Item] = []
        ids: list[str | None] = []
        seen: dict[str, Mapping[str, Any]] = {}
        try:
            check_id(source.resource, "the resource")
            if source.thread is not None:
                check_id(source.thread, "the thread")
        except InvalidId as error:
            yield Fault(self.origin(source.place), error.code, error.message)
            return
        for planned in self._planned(source, messages):
            if isinstance(planned, Skipped):
                yield planned
                continue
            try:
                item = self._item(source, planned)
            except InvalidEvent as error:
                yield Fault(self.origin(planned.place), error.reason, error.message)
                continue
            if planned.message is not None:
                # A later message of one id would replace the first, in the same file unnoticed.
                said = {**planned.data["message"], "created_at": None}
                before = seen.setdefault(planned.message, said)
                if before is not said:
                    yield self._again(planned, same=before == said)
                    continue
            items.append(item)
            ids.append(planned.message)
        if items:
            yield Conversation(
                source.resource, source.thread, source.updated_at, tuple(items), tuple(ids)
            )

    def _item(self, source: Source, planned: _Planned) -> Item:
        return make_item(
            (planned.type, planned.data),
            Address(source.resource, source.thread, planned.facet, ACTOR),
            origin=self.origin(planned.place),
            salts=self.salts,
            time=_text(planned.time),
        )

    def _again(self, planned: _Planned, *, same: bool) -> Fault | Skipped:
        """Return what to say of a message whose id one before it has."""
        if same:
            return Skipped("duplicate_id")
        problem = f"a message before it has the id {planned.message!r}, and says something else"
        return self.fault(planned.place, problem)

    def fault(self, place: str, problem: object) -> Fault:
        """Return what is wrong with a part of the file."""
        return Fault(self.origin(place), "invalid_input", str(problem))

    def origin(self, place: str) -> str:
        """Return a place in the file, for people."""
        return f"{self.file}: {place}"

    def _planned(self, source: Source, messages: Sequence[Message]) -> Iterator[_Planned | Skipped]:
        if source.memory is not None:
            scope = "resource" if source.thread is None else "thread"
            data = {"scope": scope, "mode": "replace", "content": source.memory}
            place = f"{source.place}, working memory"
            yield _Planned("WorkingMemoryUpdated", data, "memory", place, source.updated_at)
        time = source.created_at
        for message in messages:
            # One without a time is taken to be as old as the one before it.
            time = message.created_at or time
            role = ROLES[message.role]
            body: dict[str, Any] = {"id": message.id, "role": role, "content": message.content}
            if time is not None:
                body["created_at"] = _text(time)
            own = {} if message.role == role else {"role": message.role}
            metadata, whole = _metadata(message.metadata, own, message.fields)
            if not whole:
                yield Skipped("fields_too_large")
            if metadata:
                body["metadata"] = metadata
            data = {"message": body}
            yield _Planned("MessageAppended", data, "messages", message.place, time, message.id)
        yield from self._state(source, begun=bool(messages))

    def _state(self, source: Source, *, begun: bool) -> Iterator[_Planned | Skipped]:
        """Yield the title and metadata; only a thread without any message has to be created."""
        own: dict[str, Any] = {"format": self.form}
        for name, time in (("created_at", source.created_at), ("updated_at", source.updated_at)):
            if time is not None:
                own[name] = _text(time)
        metadata, whole = _metadata(source.metadata, own, source.fields, source.title)
        place = source.place
        if not whole:
            yield Skipped("fields_too_large")
        state: dict[str, Any] = {"metadata": metadata}
        if source.thread is None:
            yield _Planned("ResourceUpdated", state, "resource", place, source.updated_at)
            return
        if not begun:
            yield _Planned("ThreadCreated", {}, "thread", place, source.created_at)
        if source.title:
            state["title"] = source.title
        elif metadata == {IMPORTED: {"format": self.form}}:
            # Nothing is known of it, and that must not replace what is known.
            return
        yield _Planned("ThreadUpdated", state, "thread", place, source.updated_at)


@dataclass(frozen=True, slots=True)
class _Planned:
    """An event to be made; ``message`` is the id of the message that it is."""

    type: str
    data: dict[str, Any]
    facet: Facet
    place: str
    time: datetime | None
    message: str | None = None


def beside(raw: Mapping[str, Any], *taken: str) -> dict[str, Any]:
    """Return the fields of an object that say something and have no place of their own."""
    return {
        name: value
        for name, value in raw.items()
        if name not in taken and value is not None and value not in ("", [], {})
    }


def as_parts(content: Content) -> list[dict[str, Any]]:
    """Return content as a list, for other parts to be put behind it."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def text_of(raw: Mapping[str, Any], *names: str) -> str:
    """Return the first of these fields that is there, "" if none is.

    Raises:
        Misfit: it is not text.
    """
    for name in names:
        value = raw.get(name)
        if value is not None:
            if not isinstance(value, str):
                message = f"{name} is not text"
                raise Misfit(message)
            return value
    return ""


def time_of(
    raw: Mapping[str, Any], *names: str, units_per_s: int = 1, utc: bool = False
) -> datetime | None:
    """Return the first of these fields that is there as a time, to the microsecond.

    A number counts from 1970, ``units_per_s`` in a second; text is ISO 8601 with an offset, which
    only ``utc`` allows to be missing.

    Raises:
        Misfit: it is no time.
    """
    for name in names:
        value = raw.get(name)
        if value is not None:
            found = _time(value, units_per_s, utc=utc)
            if found is None:
                message = f"{name} is {str(value)[:40]!r}, not a time"
                raise Misfit(message)
            return found
    return None


def _time(value: object, units_per_s: int, *, utc: bool) -> datetime | None:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromisoformat(from_us(round(value * (_US // units_per_s))))
        if isinstance(value, str) and _YEAR_FIRST.match(value):
            found = datetime.fromisoformat(value.strip())
            if found.tzinfo is not None:
                return found.astimezone(UTC)
            return found.replace(tzinfo=UTC) if utc else None
    except (ValueError, OverflowError):
        pass
    return None


def role_of(value: object) -> str:
    """Return a role that can be mapped.

    Raises:
        Misfit: it cannot.
    """
    if not isinstance(value, str) or value not in ROLES:
        message = f"role {str(value)[:40]!r} is none of {', '.join(ROLES)}"
        raise Misfit(message)
    return value


def _metadata(
    given: Mapping[str, Any], own: Mapping[str, Any], fields: Mapping[str, Any], title: str = ""
) -> tuple[dict[str, Any], bool]:
    """Return the metadata with what else the source says, and whether that found room."""
    if IMPORTED in given:
        fields = {**fields, "metadata": {IMPORTED: given[IMPORTED]}}
    imported = {**fields, **own}
    if not imported:
        return dict(given), True
    whole = {**given, IMPORTED: imported}
    if not fields or _fits(whole, title):
        return whole, True
    return {**given, **({IMPORTED: dict(own)} if own else {})}, False


def _fits(metadata: Mapping[str, Any], title: str) -> bool:
    try:
        return len(encode(metadata)) + len(encode(title)) <= METADATA_BYTES_MAX
    except TypeError:
        # It is not JSON for us: the event that it stands in will say why.
        return True


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else from_us(to_us(moment))
