"""The two lines of an agent's loop that have to do with memory: before the model, and after it.

``before`` makes the prompt, ``answer`` carries out what the model wants to remember, ``after``
stores the turn. Nothing is stored before the model has done something: if the process dies first,
the turn can be run again as if it had never begun.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, cast

from memfold.because import Because
from memfold.building import new_id
from memfold.errors import InvalidEvent, InvalidRequest, TooLarge
from memfold.events import Scope
from memfold.prompts.answers import ToolAnswer
from memfold.prompts.anthropic import anthropic_result
from memfold.prompts.assemble import Resolve, read_thread, show
from memfold.prompts.budget import CountTokens
from memfold.prompts.compose import Prompt, PromptSettings, draft
from memfold.prompts.form import MODES, Mode, check_modes, memory_form
from memfold.prompts.incoming import AnyMessage, plain, result_part, stored_messages
from memfold.prompts.openai import openai_result
from memfold.prompts.parts import ToolCall, ToolResult, read_content, read_part
from memfold.prompts.shapes import Provider, check_tool_name, tool_definition
from memfold.prompts.strip import strip_memory, strip_more
from memfold.prompts.system import system_message
from memfold.prompts.texts import TOOL_NAME
from memfold.prompts.titles import MakeTitle, give_title
from memfold.prompts.tool import MemoryTool
from memfold.prompts.turns import Told, check_messages, keys_of, only_new, with_ids, without
from memfold.receipts import Receipt

if TYPE_CHECKING:
    from memfold.thread import Thread
    from memfold.working_memory import WorkingMemory


class ProcessorOptions(TypedDict, total=False):
    """What ``Thread.processor()`` takes: what ``Thread.prompt()`` takes, and how turns are kept."""

    last: int | None
    token_budget: int | None
    provider: Provider
    system: str | None
    scope: Scope | None
    count_tokens: CountTokens | None
    stable: bool
    tool: bool
    tool_name: str
    modes: Collection[str]
    retain_input: bool
    title: MakeTitle | None


Check = Callable[[dict[str, Any], str], Awaitable[None]]
"""Refuses a message of a run that could not be appended to the thread."""


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """How turns are kept, checked.

    ``tool`` is False for a model that sees the memory and cannot change it; ``retain_input`` takes
    all that ``before`` is given as new; ``title`` makes a title for a thread without one.
    """

    tool: bool = True
    tool_name: str = TOOL_NAME
    modes: Collection[str] = MODES
    retain_input: bool = False
    title: MakeTitle | None = None

    def __post_init__(self) -> None:
        check_tool_name(self.tool_name)


_Asked = tuple[str, str, int]
"""A call's id, its arguments, and how many equal ones came before it with the same message.

The id is not enough: some models count theirs anew in each message, or give none.
"""


@dataclass(slots=True)
class _Turn:
    # A handle of its own, which keeps the life of the thread that the turn began in.
    thread: Thread
    memory: WorkingMemory | None
    run: str
    input: list[dict[str, Any]]
    seen: int | None
    saved: list[Receipt] = field(default_factory=list[Receipt])
    answers: dict[_Asked, ToolAnswer] = field(default_factory=dict["_Asked", ToolAnswer])
    # Calls of the memory tool, by id, whose results may come with another after().
    gone: set[str] = field(default_factory=set[str])
    told: Told = field(default_factory=Told)
    # Calls that a caller hands over at the same time wait for each other here.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Processor:
    """One agent's seat at a thread, for one turn at a time. Made by ``Thread.processor()``.

    Several agents at one thread have a processor each; so have turns that run at the same time.
    """

    def __init__(
        self,
        thread: Thread,
        memory: WorkingMemory | None,
        prompt: PromptSettings,
        turns: TurnSettings,
        resolve: Resolve,
        check: Check,
    ) -> None:
        self._thread = thread
        self._memory = memory
        self._prompt = prompt
        self._settings = turns
        self._resolve = resolve
        self._check = check
        self._modes: tuple[Mode, ...] = check_modes(turns.modes)
        self._turn: _Turn | None = None

    def __repr__(self) -> str:
        return f"Processor({self._thread!r})"

    async def before(
        self, messages: AnyMessage | Sequence[AnyMessage] = (), *, run: str | None = None
    ) -> Prompt:
        """Begin a turn: return what to send to the model, with the memory tool. Stores nothing.

        ``messages`` are the new ones; a conversation handed in whole is taken from the last
        assistant message on if the thread has messages. ``run`` is the id of the run, a fresh one
        if not given: the correlation of all that the turn writes, and part of the ids of messages
        that have none. A turn that has not come to ``after`` is dropped.

        Raises:
            InvalidRequest, InvalidEvent, TooLarge: a message is none, or could not be stored. No
                turn has begun then.
        """
        self._turn = None
        given = strip_memory(messages, tool_name=self._settings.tool_name)
        thread = copy(self._thread)
        stored = await read_thread(thread, self._prompt)
        own = self._prompt.scope == "thread"
        memory_handle = thread.working_memory if own else self._memory
        new = given
        if not self._settings.retain_input:
            begun = bool(stored) or (thread.incarnation is not None and await self._has_messages())
            new = only_new(given, begun=begun)
        if given and not new:
            problem = "nothing is new here: the last message is an assistant's (retain_input=True)"
            raise InvalidRequest(problem)
        run = run or new_id()
        new = with_ids(new, run)
        await self._check_all(new, run)
        memory, tools = None, list[dict[str, Any]]()
        if memory_handle is not None:
            read = await memory_handle.read()
            name, modes = self._settings.tool_name, self._modes
            memory = system_message(
                read, read_only=not self._can_remember, modes=modes, tool_name=name
            )
            if self._can_remember:
                form = memory_form(read, modes)
                tools.append(tool_definition(self._prompt.provider, name, form))
        seen = None if memory is None else memory.revision
        self._turn = _Turn(thread, memory_handle, run, new, seen)
        shown = [*without(stored, new), *new]
        return await show(draft(self._prompt, memory, shown, tools), shown, self._resolve)

    async def answer(self, calls: object, *, because: Because = None) -> list[dict[str, Any]]:
        """Carry out the calls of the memory tool and return their results for the provider.

        ``calls`` are a model's tool calls, or its message as a whole; calls of other tools are left
        to you. The turn's input is stored first, since it is what the changes rest on, unless
        ``because`` names something else. The results are messages for OpenAI, blocks of a user's
        message for Anthropic, and parts otherwise. A call is carried out once, asked for how often;
        one that comes again with its id but other arguments is another call.

        Raises:
            InvalidRequest: there was no ``before()``.
            BrokerUnavailable and the like: as of a write.
        """
        turn = self._begun()
        results: list[ToolResult] = []
        equal: Counter[tuple[str, str]] = Counter()
        async with turn.lock:
            for call in read_calls(calls):
                if call.name != self._settings.tool_name:
                    continue
                same = (call.id, _written(call.arguments))
                asked = (*same, equal[same])
                equal[same] += 1
                if asked not in turn.answers:
                    turn.answers[asked] = await self._carry_out(turn, call, because)
                answer = turn.answers[asked]
                results.append(ToolResult(call.id, answer.text, is_error=not answer.ok))
        return [self._result(result) for result in results]

    async def after(
        self, messages: AnyMessage | Sequence[AnyMessage] = (), *, failed: bool = False
    ) -> Receipt | None:
        """Store the turn: its input and what the model and its tools said, and wait for the fold.

        Memory tool calls, their results and memory tags are left out, and calls that were cut off.
        Called again, also with more behind, it stores each message once. Returns None if nothing
        was stored: by a handle that cannot write, and for a run that ``failed`` and said nothing.

        Raises:
            InvalidRequest: there was no ``before()``.
            InvalidEvent, TooLarge: a message cannot be stored; nothing of these was.
            Rejected: the thread was deleted since ``before()``.
            BrokerUnavailable and the like: as of a write; call it again.
        """
        turn = self._begun()
        said = strip_more(messages, self._settings.tool_name, turn.gone)
        if self._thread.is_read_only or (failed and not said):
            return None
        async with turn.lock:
            keys = keys_of(said)
            said = with_ids(said, turn.run, turn.told.before(keys))
            await self._check_all(said, turn.run, turn.input)
            whole = said if turn.saved else [*turn.input, *said]
            receipt = await self._save(turn, whole) if whole else None
            turn.told.note(keys)
        if self._settings.title is not None:
            shown = [*turn.input, *said]
            await give_title(copy(turn.thread), self._settings.title, shown, correlation=turn.run)
        return receipt or (turn.saved[-1] if turn.saved else None)

    async def _check_all(
        self,
        messages: list[dict[str, Any]],
        run: str,
        earlier: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Refuse messages of which one could not be stored, before any of them is."""
        check_messages([*earlier, *messages])
        if self._thread.is_read_only:
            return
        for message in messages:
            try:
                await self._check(message, run)
            except InvalidEvent as error:
                kind = TooLarge if isinstance(error, TooLarge) else InvalidEvent
                problem = f"the message {message['id']!r} ({message['role']}): {error.message}"
                raise kind(problem, reason=error.reason) from None

    async def _has_messages(self) -> bool:
        return bool(await self._thread.messages(last=1))

    @property
    def _can_remember(self) -> bool:
        return self._settings.tool and self._memory is not None and not self._memory.is_read_only

    def _begun(self) -> _Turn:
        if self._turn is None:
            problem = "call before() first: it begins the turn"
            raise InvalidRequest(problem)
        return self._turn

    async def _carry_out(self, turn: _Turn, call: ToolCall, because: Because) -> ToolAnswer:
        if turn.memory is None or not self._can_remember:
            text = "You cannot change the working memory here."
            return ToolAnswer(text, ok=False, changed=False, code="read_only")
        if turn.input and not turn.saved:
            await self._save(turn, turn.input)
        grounds = turn.saved if because is None else because
        tool = MemoryTool(turn.memory, name=self._settings.tool_name, modes=self._modes)
        answer = await tool.handle(
            call.arguments, because=grounds, correlation=turn.run, seen=turn.seen
        )
        if answer.revision is not None:
            turn.seen = answer.revision
        return answer

    async def _save(self, turn: _Turn, messages: list[dict[str, Any]]) -> Receipt:
        """Store messages together; what is too much for one batch, one by one."""
        append = partial(turn.thread.append, because=turn.saved[-1:], correlation=turn.run)
        try:
            receipts = [await append(messages)]
        except TooLarge:
            if len(messages) == 1:
                raise
            receipts = [await append(message) for message in messages]
        for receipt in receipts:
            await receipt.applied()
        turn.saved = turn.saved or receipts
        if turn.thread.incarnation is None:
            # The turn has begun the thread: what else it writes belongs to this life.
            await turn.thread.get()
        return receipts[-1]

    def _result(self, result: ToolResult) -> dict[str, Any]:
        match self._prompt.provider:
            case "openai":
                return openai_result(result)
            case "anthropic":
                return anthropic_result(result)
            case "plain":
                return result_part(result)


def make_processor(
    thread: Thread,
    memory: WorkingMemory | None,
    options: ProcessorOptions,
    resolve: Resolve,
    check: Check,
) -> Processor:
    """Return a processor; an option that there is not raises ``TypeError``."""
    names = {each.name for each in fields(PromptSettings)}
    given: dict[str, Any] = dict(options)
    for key in given.keys() - names - {each.name for each in fields(TurnSettings)}:
        problem = f"processor() has no option {key!r}"
        raise TypeError(problem)
    prompt = PromptSettings(**{key: value for key, value in given.items() if key in names})
    turns = TurnSettings(**{key: value for key, value in given.items() if key not in names})
    return Processor(thread, memory, prompt, turns, resolve, check)


def read_calls(calls: object) -> list[ToolCall]:
    """Return the tool calls of a message, of a list of calls, or of one call."""
    if calls is None:
        return []
    several = isinstance(calls, list | tuple)
    listed = list(cast("Sequence[object]", calls)) if several else [calls]
    found: list[ToolCall] = []
    for each in listed:
        raw = plain(each)
        parts = [read_part(raw)]
        if "role" in raw:
            [message] = stored_messages(raw)
            parts = read_content(message["content"])
        found += [part for part in parts if isinstance(part, ToolCall) and not part.partial]
    return found


def _written(arguments: object) -> str:
    try:
        return repr(arguments)
    except RecursionError:
        # Nested too deeply: whatever they are, the tool refuses them.
        return ""
