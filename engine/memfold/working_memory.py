"""The handle of one working memory, of a resource or of a thread: read it, change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memfold.arguments import json_object
from memfold.because import Because
from memfold.client import Client, Intent
from memfold.reads import DefinitionState, MemoryRead, WorkingMemoryState, memory_read
from memfold.receipts import Receipt


class WorkingMemory:
    """A working memory. Nothing is sent before a coroutine is awaited.

    Each write takes ``expected``, the revision after which nothing else may have been written;
    ``because``, the receipt or the messages it rests on; and ``correlation``, the id of a run.
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

    async def get(self, *, fresh: bool = True) -> WorkingMemoryState | None:
        """Return the working memory; None if there is none."""
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
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Lay a JSON object over the document (RFC 7396): ``None`` deletes a key."""
        intent = Intent(expected, because, correlation)
        return await self._update("merge", json_object(content, "merge()"), reason, intent)

    async def replace(
        self,
        content: str | Mapping[str, Any],
        *,
        reason: str | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Put a whole new document in place: Markdown text or a JSON object."""
        whole = content if isinstance(content, str) else json_object(content, "replace()")
        return await self._update("replace", whole, reason, Intent(expected, because, correlation))

    async def append(
        self,
        text: str,
        *,
        reason: str | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Add text on a new line of a text document."""
        return await self._update("append", text, reason, Intent(expected, because, correlation))

    async def edit(
        self,
        search: str,
        replacement: str,
        *,
        reason: str | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Replace the first occurrence of a text in a text document; append it if absent."""
        content = {"search": search, "replacement": replacement}
        return await self._update("edit", content, reason, Intent(expected, because, correlation))

    async def define(
        self,
        *,
        template: str | None = None,
        schema: Mapping[str, Any] | None = None,
        reason: str | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Set the template or the JSON Schema in force; with neither, take the definition away."""
        data: dict[str, Any] = {"scope": self._scope}
        if template is not None:
            data["template"] = template
        if schema is not None:
            data["json_schema"] = json_object(schema, "schema=")
        if reason is not None:
            data["reason"] = reason
        intent = Intent(expected, because, correlation, self._incarnation())
        return await self._client.write(self._address, [("WorkingMemoryDefined", data)], intent)

    @property
    def _scope(self) -> str:
        return "resource" if self._address.thread is None else "thread"

    async def _update(
        self, mode: str, content: object, reason: str | None, intent: Intent
    ) -> Receipt:
        data: dict[str, Any] = {"scope": self._scope, "mode": mode, "content": content}
        if reason is not None:
            data["reason"] = reason
        found = self._client.grounds(intent.because, self._address.resource, self._address.thread)
        if found.evidence:
            data["evidence"] = found.evidence_json()
        intent = Intent(intent.expected, intent.because, intent.correlation, self._incarnation())
        return await self._client.write(self._address, [("WorkingMemoryUpdated", data)], intent)
