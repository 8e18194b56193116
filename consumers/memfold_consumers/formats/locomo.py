"""LoCoMo conversations: one file is a pair of speakers over dated sessions, with observations.

File = resource, session = thread, turn = message; observations are merged into the resource's
working memory, each resting on the turns it names. Only these are read, the rest is left alone.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn, cast

from memfold.canonical import from_us, to_us
from memfold.errors import InvalidEvent
from memfold.gate import parse
from memfold.subjects import Address, Facet
from memfold_consumers.formats.stable import ACTOR, InvalidInput, Item, Salts, make_item

EVIDENCE_PARTS: Final = 2

_SESSION: Final = re.compile(r"session_([1-9][0-9]*)")
_OBSERVATION: Final = re.compile(r"session_([1-9][0-9]*)_observation")
_DATE: Final = re.compile(
    r"(1[0-2]|[1-9]):([0-5][0-9]) (am|pm) on ([1-9]|[12][0-9]|3[01]) ([A-Z][a-z]+), ([0-9]{4})"
)
_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One file as events, in the order in which they are to be published."""

    resource: str
    threads: int
    messages: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class _Turn:
    session: int
    event_id: str


@dataclass(frozen=True, slots=True)
class _Fact:
    session: int
    speaker: str
    text: str
    evidence: tuple[str, ...]
    number: int


def read_locomo(content: bytes, *, resource: str, file: str, salts: Salts) -> Conversation:
    """Read one file; ``file`` is its name for messages, ``resource`` whose memory it becomes.

    Within a session its messages come first, then the observations whose evidence is complete; one
    that names a later turn waits for that turn's session.

    Raises:
        InvalidInput: naming file, session and turn.
    """
    return _Reader(content, resource, file, salts).read()


class _Reader:
    def __init__(self, content: bytes, resource: str, file: str, salts: Salts) -> None:
        self._file = file
        self._resource = resource
        self._salts = salts
        self._turns: dict[str, _Turn] = {}
        self._whole = self._parse(content)

    def read(self) -> Conversation:
        numbers = sorted(
            int(match.group(1)) for key in self._whole if (match := _SESSION.fullmatch(key))
        )
        if not numbers:
            self._fail("no session_1, session_2, ...: not a LoCoMo conversation")
        self._check_observed(numbers)
        times = {number: self._time(number) for number in numbers}
        messages = {number: list(self._messages(number, times[number])) for number in numbers}
        facts = self._facts(numbers)
        items: list[Item] = []
        for number in numbers:
            items += messages[number]
            items += (self._observation(fact, times[number]) for fact in facts[number])
        return Conversation(
            resource=self._resource,
            threads=sum(1 for found in messages.values() if found),
            messages=sum(map(len, messages.values())),
            items=tuple(items),
        )

    def _parse(self, content: bytes) -> dict[str, Any]:
        try:
            whole = parse(content.removeprefix(BOM_UTF8))
        except InvalidEvent as error:
            self._fail(error.message)
        if not isinstance(whole, dict):
            self._fail("not a JSON object")
        return cast("dict[str, Any]", whole)

    def _time(self, number: int) -> str:
        """Return a session's date, like ``1:56 pm on 8 May, 2023``, as RFC 3339 in UTC."""
        name = f"session_{number}_date_time"
        text = self._whole.get(name)
        match = _DATE.fullmatch(text) if isinstance(text, str) else None
        if match is None or match.group(5) not in _MONTHS:
            self._fail(f"{name} is {text!r}, not like '1:56 pm on 8 May, 2023'")
        hour, minute, half, day, month, year = match.groups()
        try:
            moment = datetime.fromisoformat(
                f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}"
                f"T{int(hour) % 12 + (12 if half == 'pm' else 0):02}:{minute}:00+00:00"
            )
        except ValueError:
            self._fail(f"{name} is {text!r}: there is no such day")
        return from_us(to_us(moment))

    def _messages(self, number: int, time: str) -> Iterator[Item]:
        name = f"session_{number}"
        turns: object = self._whole[name]
        if not isinstance(turns, list):
            self._fail(f"{name} is not a list of turns")
        for place, turn in enumerate(cast("list[object]", turns), start=1):
            where = f"{name}, turn {place}"
            given = cast("dict[str, object]", turn) if isinstance(turn, dict) else {}
            found = [given.get(key) for key in ("speaker", "dia_id", "text")]
            speaker, id_, text = (value if isinstance(value, str) else None for value in found)
            if not speaker or not id_ or text is None:
                self._fail(f"{where}: a turn has a speaker, a dia_id and a text")
            if id_ in self._turns:
                first = self._turns[id_].session
                self._fail(f"{where}: dia_id {id_!r} was given before, in session_{first}")
            message = {
                "id": id_,
                "role": "user",
                "content": text,
                "created_at": time,
                "metadata": {"speaker": speaker},
            }
            origin = f"{where} ({id_})"
            item = self._item(
                ("MessageAppended", {"message": message}), "messages", time, origin, thread=name
            )
            self._turns[id_] = _Turn(number, item.event.id)
            yield item

    def _facts(self, numbers: list[int]) -> Mapping[int, list[_Fact]]:
        """Return all observations by the session after which they are published."""
        counts: defaultdict[tuple[str, tuple[str, ...]], int] = defaultdict(int)
        facts: defaultdict[int, list[_Fact]] = defaultdict(list)
        for number in numbers:
            for speaker, text, evidence, where in self._observed(number):
                unknown = [id_ for id_ in evidence if id_ not in self._turns]
                if unknown:
                    self._fail(f"{where}: no turn has the dia_id {unknown[0]!r}")
                counts[speaker, evidence] += 1
                after = max(number, *(self._turns[id_].session for id_ in evidence))
                fact = _Fact(number, speaker, text, evidence, counts[speaker, evidence])
                facts[after].append(fact)
        return facts

    def _check_observed(self, numbers: list[int]) -> None:
        """Refuse observations of a session that is not there: they would be lost in silence."""
        for name, observed in self._whole.items():
            match = _OBSERVATION.fullmatch(name)
            if match and observed and int(match.group(1)) not in numbers:
                self._fail(f"{name}: there is no session_{match.group(1)}")

    def _observed(self, number: int) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
        name = f"session_{number}_observation"
        observed: object = self._whole.get(name, {})
        if not isinstance(observed, dict):
            self._fail(f"{name} is not an object of lists by speaker")
        for speaker, listed in cast("dict[str, object]", observed).items():
            if not isinstance(listed, list):
                self._fail(f"{name}, {speaker}: not a list")
            for place, pair in enumerate(cast("list[object]", listed), start=1):
                where = f"{name}, {speaker}, observation {place}"
                parts = cast("list[object]", pair) if isinstance(pair, list) else []
                fact = parts[0] if len(parts) == EVIDENCE_PARTS else None
                if not isinstance(fact, str):
                    self._fail(f"{where}: not a pair of fact and evidence")
                yield speaker, fact, self._evidence(parts[1], where), where

    def _evidence(self, given: object, where: str) -> tuple[str, ...]:
        """Return the dia_ids of one id, of a list of ids, or of text with commas in it."""
        listed = cast("list[object]", given) if isinstance(given, list) else [given]
        ids: list[str] = []
        for part in listed:
            if not isinstance(part, str):
                self._fail(f"{where}: evidence is a dia_id, a list of them, or text with commas")
            ids += (name for piece in part.split(",") if (name := piece.strip()))
        if not ids:
            self._fail(f"{where}: it names no evidence")
        return tuple(dict.fromkeys(ids))

    def _observation(self, fact: _Fact, time: str) -> Item:
        key = f"{'+'.join(fact.evidence)}.{fact.number}"
        evidence = [
            {"thread": f"session_{self._turns[id_].session}", "message": id_}
            for id_ in fact.evidence
        ]
        data = {
            "scope": "resource",
            "mode": "merge",
            "content": {fact.speaker: {"facts": {key: fact.text}}},
            "evidence": evidence,
        }
        return self._item(
            ("WorkingMemoryUpdated", data),
            "memory",
            time,
            f"session_{fact.session}_observation, {fact.speaker}, {key}",
            causation=self._turns[fact.evidence[0]].event_id,
        )

    def _item(
        self,
        event: tuple[str, dict[str, Any]],
        facet: Facet,
        time: str,
        origin: str,
        *,
        thread: str | None = None,
        causation: str | None = None,
    ) -> Item:
        address = Address(self._resource, thread, facet, ACTOR)
        try:
            return make_item(
                event,
                address,
                origin=f"{self._file}: {origin}",
                salts=self._salts,
                time=time,
                causation=causation,
            )
        except InvalidEvent as error:
            self._fail(f"{origin}: {error}")

    def _fail(self, problem: str) -> NoReturn:
        message = f"{self._file}: {problem}"
        raise InvalidInput(message)
