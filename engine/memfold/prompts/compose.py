"""A whole prompt, out of a system text, a memory and messages, in a provider's shape. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from memfold.canonical import encode_text
from memfold.errors import InvalidRequest
from memfold.events import Scope
from memfold.prompts.anthropic import anthropic_messages, anthropic_system
from memfold.prompts.budget import (
    MESSAGE_TOKENS,
    CountTokens,
    estimate_tokens,
    first_kept,
    last_turn,
    step_tokens,
)
from memfold.prompts.openai import openai_messages, openai_system
from memfold.prompts.pairing import Step, steps_of
from memfold.prompts.shapes import Provider, check_provider
from memfold.prompts.system import SystemMessage

LAST: Final = 20
"""How many messages a prompt has, unless its tokens are limited."""

_SHOWN: Final = ("id", "role", "content", "metadata")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to send to a model. ``as_arguments()`` is what its provider's client takes.

    ``system`` is all system text; ``messages`` are in the provider's shape, for OpenAI with the
    system message first. ``tokens`` is how many all of it was counted as, ``revision`` the state of
    the memory that is shown (None without one). ``tools`` holds the memory tool, if there is one;
    ``blocks`` are the parts that ``system`` is made of.
    """

    provider: Provider
    system: str
    messages: list[dict[str, Any]]
    tokens: int
    revision: int | None = None
    tools: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    blocks: tuple[str, ...] = ()

    def as_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for the provider's client: messages, system, tools."""
        found: dict[str, Any] = {"messages": self.messages}
        if self.provider != "openai" and self.system:
            several = self.provider == "anthropic" and len(self.blocks) > 1
            blocks = [{"type": "text", "text": block} for block in self.blocks]
            found["system"] = blocks if several else self.system
        return {**found, "tools": self.tools} if self.tools else found


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How a prompt is made, checked."""

    last: int | None = None
    token_budget: int | None = None
    provider: Provider = "openai"
    system: str | None = None
    scope: Scope | None = "resource"
    count_tokens: CountTokens | None = None
    stable: bool = False

    def __post_init__(self) -> None:
        check_provider(self.provider)
        if self.scope not in {"resource", "thread", None}:
            problem = f"scope= takes resource, thread or None, not {self.scope!r}"
            raise InvalidRequest(problem)
        for name, given in (("last", self.last), ("token_budget", self.token_budget)):
            if given is None:
                continue
            if type(given) is not int or given < 0:
                problem = f"{name}= takes a whole number that is not below 0, not {given!r}"
                raise InvalidRequest(problem)

    @property
    def messages_max(self) -> int | None:
        """How many stored messages are looked at; None is as many as fit."""
        return LAST if self.last is None and self.token_budget is None else self.last

    @property
    def count(self) -> CountTokens:
        """How tokens are counted."""
        return self.count_tokens or estimate_tokens


@dataclass(frozen=True, slots=True)
class Draft:
    """A prompt of which it is known what stays: from step ``first`` on, of ``tokens`` in all."""

    settings: PromptSettings
    memory: SystemMessage | None
    tools: list[dict[str, Any]]
    texts: list[str]
    first: int
    tokens: int
    places: tuple[int, ...]


def draft(
    settings: PromptSettings,
    memory: SystemMessage | None,
    messages: Sequence[Mapping[str, Any]],
    tools: list[dict[str, Any]] | None = None,
) -> Draft:
    """Return what of a prompt stays; ``places`` are those of the messages that are shown."""
    steps = steps_of(messages)
    texts = system_texts(settings, memory)
    fixed = sum(MESSAGE_TOKENS + settings.count(text) for text in texts)
    fixed += settings.count(encode_text(tools)) if tools else 0
    tokens = [step_tokens(step, settings.count) for step in steps]
    room = None if settings.token_budget is None else settings.token_budget - fixed
    first = first_kept(steps, tokens, room)
    places = {place for step in steps[first:] for place in step.sources}
    total = fixed + sum(tokens[first:])
    return Draft(settings, memory, tools or [], texts, first, total, tuple(sorted(places)))


def finish(planned: Draft, messages: Sequence[Mapping[str, Any]]) -> Prompt:
    """Return the prompt; the messages may have their attachments by now, and nothing else new."""
    steps = steps_of(messages)[planned.first :]
    blocks, shown = _shown(planned, steps, messages)
    return Prompt(
        provider=planned.settings.provider,
        system="\n\n".join(blocks),
        messages=shown,
        tokens=planned.tokens,
        revision=None if planned.memory is None else planned.memory.revision,
        tools=planned.tools,
        blocks=blocks,
    )


def compose(
    settings: PromptSettings,
    memory: SystemMessage | None,
    messages: Sequence[Mapping[str, Any]],
    tools: list[dict[str, Any]] | None = None,
) -> Prompt:
    """Return the prompt of stored messages, the oldest first."""
    return finish(draft(settings, memory, messages, tools), messages)


def system_texts(settings: PromptSettings, memory: SystemMessage | None) -> list[str]:
    """Return the system text, or its stable part and the data where these are apart."""
    own = [settings.system] if settings.system and settings.system.strip() else []
    if memory is None:
        return own
    if settings.stable:
        return ["\n\n".join([*own, memory.stable]), memory.data]
    return ["\n\n".join([*own, memory.text])]


def _shown(
    planned: Draft, steps: Sequence[Step], messages: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return the blocks of system text, and the messages in the provider's shape."""
    texts = planned.texts
    match planned.settings.provider:
        case "anthropic":
            return (*texts, *anthropic_system(steps)), anthropic_messages(steps)
        case "openai":
            at = last_turn(steps)
            # The data stands before the last turn, so that all before it begins the same.
            data = [openai_system(text) for text in texts[1:]]
            found = [*openai_messages(steps[:at]), *data, *openai_messages(steps[at:])]
            return tuple(texts), [*(openai_system(text) for text in texts[:1]), *found]
        case "plain":
            plain = [
                {key: messages[place][key] for key in _SHOWN if key in messages[place]}
                for place in planned.places
            ]
            return tuple(texts), plain
