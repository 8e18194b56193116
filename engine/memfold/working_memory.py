"""The handle of one working memory, of a resource or of a thread: read it, change it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, cast, overload

import orjson

from memfold.accounts import Accounts
from memfold.arguments import Moment, json_object, past
from memfold.audit.reads import Blame, Diff, DocumentChange
from memfold.audit.restoring import restored
from memfold.because import Because
from memfold.building import build
from memfold.checking import check_update
from memfold.client import Client, Intent
from memfold.defining import Schema, definition_fields
from memfold.definitions import Content
from memfold.documents import MemoryUpdate
from memfold.errors import InvalidRequest, NotFound, RevisionConflict
from memfold.reads import DefinitionState, MemoryRead, WorkingMemoryState, memory_read
from memfold.receipts import NO_CHANGE, Receipt
from memfold.wire import read_event

if TYPE_CHECKING:
    from memfold.prompts.system import SystemMessage
    from memfold.prompts.tool import MemoryTool


REVERTS_MAX: Final = 10
"""How often a revert reads anew because somebody else wrote meanwhile."""
_MAYBE_ERASED: Final = (
    "there is no memory as of {}, and it may have been erased since: to empty it, use replace()"
)


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

    async def get(
        self, *, as_of: Moment | None = None, fresh: bool = True
    ) -> WorkingMemoryState | None:
        """Return the working memory; None if there is none, or was none ``as_of`` a moment."""
        self._check_owner()
        return (await self.read(as_of=as_of, fresh=fresh)).state

    async def definition(
        self, *, as_of: Moment | None = None, fresh: bool = True
    ) -> DefinitionState | None:
        """Return the definition in force: the thread's, else the resource's, else the default."""
        return (await self.read(as_of=as_of, fresh=fresh)).definition

    async def read(self, *, as_of: Moment | None = None, fresh: bool = True) -> MemoryRead:
        """Return the working memory and the definition in force, both at one sequence.

        With ``as_of`` as they stood at an earlier sequence or time, exactly. What the engine has
        not folded yet is waited for.
        """
        answer = await self._client.queries.ask(
            "working_memory",
            self._address.resource,
            {"thread": self._address.thread, **past(as_of)},
            fresh=fresh,
        )
        return memory_read(answer)

    async def history(
        self,
        *,
        after: tuple[int, int] | None = None,
        limit: int | None = None,
        as_of: Moment | None = None,
        path: str | None = None,
        whole: bool = False,
        fresh: bool = True,
    ) -> list[DocumentChange]:
        """Return each event that changed this memory, with what it changed, oldest first.

        ``path`` names a part of a JSON document by its JSON Pointer: then only what changed that.
        ``whole`` adds the whole document before and after each.
        """
        return await self._accounts().history(
            after=after, limit=limit, as_of=as_of, path=path, whole=whole, fresh=fresh
        )

    async def blame(
        self, *, path: str | None = None, as_of: Moment | None = None, fresh: bool = True
    ) -> Blame:
        """Return which event set each part of the document, and the messages behind it.

        ``path`` names a part of a JSON document by its JSON Pointer; of a text it is line by line.
        """
        return await self._accounts().blame(path=path, as_of=as_of, fresh=fresh)

    async def diff(
        self,
        start: Moment,
        end: Moment | None = None,
        *,
        path: str | None = None,
        fresh: bool = True,
    ) -> Diff:
        """Return what differs between two moments, now being the later one if not given."""
        return await self._accounts().diff(start, end, path=path, fresh=fresh)

    async def revert(
        self,
        to: Moment,
        *,
        path: str | None = None,
        reason: str | None = None,
        because: Because = None,
        correlation: str | None = None,
    ) -> Receipt | Literal["unchanged"]:
        """Publish one event that restores the state of an earlier sequence or time.

        Of the whole memory, or of one ``path`` in a JSON document; that part alone is changed. A
        memory that did not exist then becomes an empty document of its present format, a path that
        did not exist is deleted. If somebody else writes meanwhile, it is read and decided anew.

        Returns ``memfold.NO_CHANGE`` if nothing differs: then nothing was published.

        Raises:
            InvalidRequest: a path in a text, or one that does not lead through objects.
            NotFound: there is no memory of then, and something of the resource was erased since: it
                may have been that. Nothing was published.
            RevisionConflict: others wrote without pause.
        """
        self._client.check_writable()
        self._check_owner()
        for tries_left in reversed(range(REVERTS_MAX)):
            now, then = await self.read(), await self.read(as_of=to)
            if then.redacted and then.state is None and now.state is not None and then.sequence:
                raise NotFound(_MAYBE_ERASED.format(then.sequence))
            change = restored(_content(now), _content(then), path)
            if change is None:
                return NO_CHANGE
            reverts = {"sequence": then.sequence, **({"path": path} if path else {})}
            intent = Intent(now.revision, because, correlation)
            try:
                return await self._update(
                    change.mode, change.content, reason, intent, reverts=reverts
                )
            except RevisionConflict:
                # Whoever wrote in between may have changed what is to be restored.
                if not tries_left:
                    raise
        raise AssertionError  # The last try has returned or raised.

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

    def _accounts(self) -> Accounts:
        self._check_owner()
        return Accounts(self._client.queries, str(self._address.resource), self._address.thread)

    @property
    def _scope(self) -> str:
        return "resource" if self._address.thread is None else "thread"

    def _check_owner(self) -> None:
        if self._address.resource is None:
            problem = "a namespace has a default definition and no memory: name a resource"
            raise InvalidRequest(problem)

    async def _update(
        self,
        mode: str,
        content: object,
        reason: str | None,
        intent: Intent,
        *,
        check: bool = False,
        reverts: Mapping[str, Any] | None = None,
    ) -> Receipt:
        self._client.check_writable()
        self._check_owner()
        data: dict[str, Any] = {"scope": self._scope, "mode": mode, "content": content}
        if reason is not None:
            data["reason"] = reason
        found = self._client.grounds(intent.because, self._address.resource, self._address.thread)
        if found.evidence:
            data["evidence"] = found.evidence_json()
        if reverts is not None:
            data["reverts"] = reverts
        if check:
            prepared = build(self._address, "WorkingMemoryUpdated", data)
            _, change = read_event(orjson.loads(prepared.payload), self._address)
            check_update(await self.read(), cast("MemoryUpdate", change))
        return await self._client.write(
            self._address,
            [("WorkingMemoryUpdated", data)],
            replace(intent, incarnation=self._incarnation()),
        )


def _content(found: MemoryRead) -> Content | None:
    return None if found.state is None else found.state.content
