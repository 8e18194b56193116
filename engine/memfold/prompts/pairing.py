"""A thread's messages as steps: each tool call together with its result. Pure.

Providers refuse a result without its call, a call without its result, and anything in between.
A thread can hold all of that: it is read from its middle, agents die, several write at once. So a
result is moved to its call, a result whose call is not there is left out, and a call without a
result gets one that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from re import compile as pattern
from typing import Any, Final

from memfold.canonical import is_object
from memfold.prompts.parts import Media, Part, Text, ToolCall, ToolResult, Unknown, read_content
from memfold.prompts.texts import NO_RESULT

ID_HEX: Final = 32
_PLAIN_ID: Final = pattern(r"[A-Za-z0-9_-]{1,40}")
"""Ids of calls that every provider takes."""


@dataclass(slots=True)
class Step:
    """A message without its results, and the results of its calls in their order.

    ``sources`` are the places, in what was given, of all messages that it is made of.
    """

    role: str
    key: str
    parts: list[Part]
    sources: list[int]
    results: list[ToolResult] = field(default_factory=list[ToolResult])


@dataclass(slots=True)
class _Open:
    """A call that waits for its result."""

    step: Step
    place: int
    call: ToolCall
    result: ToolResult | None = None


def steps_of(messages: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Return stored messages as steps, in the order of the thread."""
    pairing = _Pairing()
    for place, message in enumerate(messages):
        pairing.add(place, message)
    pairing.settle()
    return [step for step in pairing.steps if _has_something(step)]


class _Pairing:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._calls: list[_Open] = []
        self._latest: dict[str, list[_Open]] = {}

    def add(self, place: int, message: Mapping[str, Any]) -> None:
        """Add a message: its results to their calls, the rest as a step of its own."""
        role, key = str(message["role"]), str(message.get("id", place))
        step = Step(role, key, [], [place])
        fresh: dict[str, list[_Open]] = {}
        answered = False
        for part in _parts(message):
            if isinstance(part, ToolResult):
                answered |= _close(fresh.get(part.id) or self._latest.get(part.id), part, place)
                continue
            if isinstance(part, ToolCall) and (part.partial or role != "assistant"):
                continue
            if answered and role == "assistant":
                # Said after a result, and so after it in the prompt, too.
                self.steps.append(step)
                step, answered = Step(role, key, [], [place]), False
            step.parts.append(part)
            if isinstance(part, ToolCall):
                each = _Open(step, len(step.parts) - 1, part, part.result)
                fresh.setdefault(part.id, []).append(each)
                self._calls.append(each)
                answered |= part.result is not None
        self._latest |= fresh
        # Results alone leave nothing behind: they are with their calls, or their call is not here.
        if role != "tool":
            self.steps.append(step)

    def settle(self) -> None:
        """Give each call an id of its own that providers take, and a result with the same id."""
        used: set[str] = set()
        for each in self._calls:
            id_ = each.call.id
            name = f"{id_}\n{each.step.key}\n{len(each.step.results)}"
            while id_ in used or not _PLAIN_ID.fullmatch(id_):
                id_ = f"call_{sha256(name.encode('utf-8', 'replace')).hexdigest()[:ID_HEX]}"
                name = f"{name}\n"
            used.add(id_)
            result = each.result or ToolResult(id_, NO_RESULT, is_error=True)
            each.step.results.append(replace(result, id=id_))
            each.step.parts[each.place] = replace(each.call, id=id_, result=None)


def _parts(message: Mapping[str, Any]) -> list[Part]:
    """Return a message's parts; of a tool's message of text, its metadata may name the call."""
    content = message["content"]
    if message["role"] == "tool" and isinstance(content, str):
        metadata: object = message.get("metadata")
        imported: object = metadata.get("imported") if is_object(metadata) else None
        for place in (metadata, imported):
            named = place.get("tool_call_id") if is_object(place) else None
            if isinstance(named, str):
                return [ToolResult(named, content)]
    return read_content(content)


def _close(waiting: list[_Open] | None, result: ToolResult, place: int) -> bool:
    """Give a result to the call it belongs to; the last of several results of one call counts."""
    if not waiting:
        return False
    found = next((each for each in waiting if each.result is None), waiting[-1])
    found.result = result
    found.step.sources.append(place)
    return True


def _has_something(step: Step) -> bool:
    return any(
        isinstance(part, ToolCall | Media | Unknown)
        or (isinstance(part, Text) and part.text.strip())
        for part in step.parts
    )
