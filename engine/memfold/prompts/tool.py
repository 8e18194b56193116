"""The memory tool of a model: its definition, and the handler of its calls.

A model can send anything: whatever it sends is answered, and only a change that it may make is
published. What fails on our side (no broker, no engine) is raised, for a program to deal with.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from memfold.because import Because
from memfold.errors import InvalidEvent, Parked, Rejected, RevisionConflict
from memfold.prompts.answers import ToolAnswer, outdated, refused, saved, unchanged
from memfold.prompts.calls import BadCallError, Call, MergeCall, read_arguments, read_call
from memfold.prompts.form import MODES, check_modes, memory_form
from memfold.prompts.planning import Plan, plan, rejected
from memfold.prompts.shapes import Provider, check_provider, check_tool_name, tool_definition
from memfold.prompts.texts import TOOL_NAME
from memfold.receipts import Receipt

if TYPE_CHECKING:
    from memfold.reads import MemoryRead
    from memfold.working_memory import WorkingMemory


class MemoryTool:
    """The tool by which a model changes one working memory. Made by ``WorkingMemory.tool()``."""

    def __init__(
        self,
        memory: WorkingMemory,
        *,
        name: str = TOOL_NAME,
        description: str | None = None,
        modes: Collection[str] = MODES,
    ) -> None:
        self.name = check_tool_name(name)
        self.description = description
        self.modes = check_modes(modes)
        self._memory = memory

    def __repr__(self) -> str:
        return f"MemoryTool({self.name!r}, {self._memory!r})"

    async def definition(self, provider: Provider = "openai") -> dict[str, Any]:
        """Return the tool as a provider takes it, for the definition in force."""
        check_provider(provider)
        form = memory_form(await self._memory.read(), self.modes)
        return tool_definition(provider, self.name, form, self.description)

    async def handle(
        self,
        arguments: object,
        *,
        because: Because = None,
        correlation: str | None = None,
        seen: int | None = None,
    ) -> ToolAnswer:
        """Carry out a model's call and wait for the outcome.

        ``arguments`` are those of the call, as JSON text or as an object. ``seen`` is the revision
        that the model was shown: a whole new document is refused if there is a newer one, and made
        from the state read here if it is left out. Never raises for what a model can send.

        Raises:
            BrokerUnavailable, EngineUnavailable, NotYetConsistent, PublishDenied, StreamFull,
            StreamMissing: the change may not be there, or nobody can tell yet.
            InvalidRequest: ``because`` names something else than messages and receipts.
        """
        try:
            given = read_arguments(arguments)
        except BadCallError as error:
            return refused(error)
        read = await self._memory.read()
        form = memory_form(read, self.modes)
        try:
            planned = plan(read_call(given, form), read, form, seen)
            if isinstance(planned, ToolAnswer):
                return planned
            return await self._carry_out(planned, read, because, correlation)
        except BadCallError as error:
            return refused(error)

    async def _carry_out(
        self, planned: Plan, read: MemoryRead, because: Because, correlation: str | None
    ) -> ToolAnswer:
        expected = planned.expected
        try:
            try:
                receipt = await self._write(planned.call, because, correlation, expected)
            except RevisionConflict:
                if planned.needed:
                    now = await self._memory.read()
                    return outdated(None if now.state is None else now.state.content, now.revision)
                expected = None
                receipt = await self._write(planned.call, because, correlation, None)
        except (Rejected, InvalidEvent) as error:
            raise rejected(error.reason, error.message, planned.call, read) from None
        return await _outcome(planned.call, read, receipt, known=expected is not None)

    async def _write(
        self, call: Call, because: Because, correlation: str | None, expected: int | None
    ) -> Receipt:
        memory = self._memory
        if isinstance(call, MergeCall):
            return await memory.merge(
                call.patch, because=because, correlation=correlation, expected=expected
            )
        if call.mode == "edit":
            return await memory.edit(
                call.search,
                call.content,
                because=because,
                correlation=correlation,
                expected=expected,
            )
        write = memory.append if call.mode == "append" else memory.replace
        return await write(
            call.content, because=because, correlation=correlation, expected=expected
        )


async def _outcome(call: Call, read: MemoryRead, receipt: Receipt, *, known: bool) -> ToolAnswer:
    """Return the answer to what was published; ``known``: nobody has written in between."""
    [outcome] = await receipt.outcomes()
    if outcome.kind == "duplicate":
        # Our own event, landed at an earlier try: what counts is what became of it there.
        try:
            await receipt.applied()
        except (Rejected, Parked) as error:
            return refused(rejected(error.reason, error.message, call, read), receipt)
    if outcome.kind in {"rejected", "parked"}:
        message = outcome.detail or outcome.reason
        return refused(rejected(outcome.reason, message, call, read), receipt)
    if outcome.kind == "unchanged":
        return unchanged(receipt=receipt)
    revision = receipt.sequence if known else None
    return saved(call, outcome.detail, receipt, begun=read.state is None, revision=revision)
