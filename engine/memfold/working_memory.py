"""The handle of one working memory, of a resource or of a thread: read it, change it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import orjson

from memfold.arguments import json_object
from memfold.because import Because
from memfold.building import build
from memfold.checking import check_update
from memfold.client import Client, Intent
from memfold.defining import Schema, definition_fields
from memfold.documents import MemoryUpdate
from memfold.errors import InvalidRequest
from memfold.reads import DefinitionState, MemoryRead, WorkingMemoryState, memory_read
from memfold.receipts import NO_CHANGE, Receipt
from memfold.wire import read_event

if TYPE_CHECKING:
    from memfold.prompts.system import SystemMessage
    from memfold.prompts.tool import MemoryTool


class WorkingMemory:
    """A working memory. Nothing is sent before a coroutine is awaited.

    Each write takes ``expected``, the revision after which nothing else may have been written;
    ``because``, the receipt or the messages it rests on; and ``correlation``, the id of a run.
    ``reason`` is a sentence that is kept with the change.

    With ``check=True`` an update reads document and definition first, and raises ``Rejected`` with
    the fold's own reason if the result breaks a rule as things stand, or with ``empty_template`` if
    it would lay the empty template over data; then nothing was sent. It is off by default because
    it needs an engine, which a write does not. The fold has the last word: somebody else's write in
    between may still get a checked one rejected.
    """

    def __init__(
        self,
        client: Client,
        resource: str | None,
        thread: str | None,
        incarnation: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._client = client
        self._address = client.address(resource, thread, "memory")
        self._incarnation = incarnation

    def __repr__(self) -> str:
        return f"WorkingMemory({self._address.resource!r}, {self._address.thread!r})"

    @property
    def is_read_only(self) -> bool:
        """Tell whether this handle refuses to write."""
        return self._client.is_read_only

    def read_only(self) -> WorkingMemory:
        """Return the same working memory as a handle that cannot write."""
        address = self._address
        return WorkingMemory(self._client.read_only(), address.resource, address.thread)

    async def get(self, *, fresh: bool = True) -> WorkingMemoryState | None:
        """Return the working memory; None if there is none."""
        self._check_owner()
        return (await self.read(fresh=fresh)).state

    async def definition(self, *, fresh: bool = True) -> DefinitionState | None:
        """Return the definition in force: the thread's, else the resource's, else the default."""
        return (await self.read(fresh=fresh)).definition

    async def read(self, *, fresh: bool = True) -> MemoryRead:
        """Return the working memory and the definition in force, both at one sequence."""
        answer = await self._client.queries.ask(
            "working_memory",
            self._address.resource,
            {"thread": self._address.thread},
            fresh=fresh,
        )
        return memory_read(answer)

    async def merge(
        self,
        content: Mapping[str, Any],
        *,
        reason: str | None = None,
        check: bool = False,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Lay a JSON object over the document (RFC 7396): ``None`` deletes a key."""
        intent = Intent(expected, because, correlation)
        whole = json_object(content, "merge()")
        return await self._update("merge", whole, reason, intent, check=check)

    async def replace(
        self,
        content: str | Mapping[str, Any],
        *,
        reason: str | None = None,
        check: bool = False,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Put a whole new document in place: Markdown text or a JSON object."""
        whole = content if isinstance(content, str) else json_object(content, "replace()")
        intent = Intent(expected, because, correlation)
        return await self._update("replace", whole, reason, intent, check=check)

    async def append(
        self,
        text: str,
        *,
        reason: str | None = None,
        check: bool = False,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Add text on a new line of a text document."""
        intent = Intent(expected, because, correlation)
        return await self._update("append", text, reason, intent, check=check)

    async def edit(
        self,
        search: str,
        replacement: str,
        *,
        reason: str | None = None,
        check: bool = False,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Replace the first occurrence of a text in a text document; append it if absent."""
        content = {"search": search, "replacement": replacement}
        intent = Intent(expected, because, correlation)
        return await self._update("edit", content, reason, intent, check=check)

    async def define(
        self,
        *,
        template: str | None = None,
        schema: Schema | None = None,
        reason: str | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Set the template or the schema in force; with neither, take the definition away.

        A schema is a JSON Schema or a pydantic model class. It refers to its own parts only, and
        never to itself.

        Raises:
            InvalidRequest: both are given, or one is of a wrong type; nothing was sent.
            Rejected: ``schema_invalid`` or ``definition_too_large``, as the fold would say; nothing
                was sent.
        """
        data = {"scope": self._scope, **definition_fields(template, schema)}
        if reason is not None:
            data["reason"] = reason
        intent = Intent(expected, because, correlation, self._incarnation())
        return await self._client.write(self._address, [("WorkingMemoryDefined", data)], intent)

    @overload
    async def system_message(self, *, fresh: bool = True) -> SystemMessage: ...

    @overload
    async def system_message(
        self, *, since: SystemMessage | int, fresh: bool = True
    ) -> SystemMessage | Literal["unchanged"]: ...

    async def system_message(
        self, *, since: SystemMessage | int | None = None, fresh: bool = True
    ) -> SystemMessage | Literal["unchanged"]:
        """Return what a model is told of this memory: rules, form and current data.

        ``since`` is what the model was told last, or its revision: if it would be told the same
        again, ``memfold.NO_CHANGE`` is returned.
        """
        from memfold.prompts.system import same_data, system_message

        now = system_message(await self.read(fresh=fresh), read_only=self.is_read_only)
        return NO_CHANGE if same_data(now, since) else now

    def tool(
        self,
        *,
        name: str = "update_working_memory",
        description: str | None = None,
        modes: Collection[str] = ("append", "edit", "replace"),
    ) -> MemoryTool:
        """Return the tool by which a model changes this memory.

        ``modes`` are those that a text memory may be changed in; a JSON memory is merged.

        Raises:
            ReadOnly: this handle cannot write, so its model has no tool.
        """
        from memfold.prompts.tool import MemoryTool

        self._client.check_writable()
        return MemoryTool(self, name=name, description=description, modes=modes)

    @property
    def _scope(self) -> str:
        return "resource" if self._address.thread is None else "thread"

    def _check_owner(self) -> None:
        if self._address.resource is None:
            problem = "a namespace has a default definition and no memory: name a resource"
            raise InvalidRequest(problem)

    async def _update(
        self, mode: str, content: object, reason: str | None, intent: Intent, *, check: bool
    ) -> Receipt:
        self._client.check_writable()
        self._check_owner()
        data: dict[str, Any] = {"scope": self._scope, "mode": mode, "content": content}
        if reason is not None:
            data["reason"] = reason
        found = self._client.grounds(intent.because, self._address.resource, self._address.thread)
        if found.evidence:
            data["evidence"] = found.evidence_json()
        if check:
            prepared = build(self._address, "WorkingMemoryUpdated", data)
            _, change = read_event(orjson.loads(prepared.payload), self._address)
            check_update(await self.read(), cast("MemoryUpdate", change))
        return await self._client.write(
            self._address,
            [("WorkingMemoryUpdated", data)],
            replace(intent, incarnation=self._incarnation()),
        )
