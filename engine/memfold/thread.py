"""The handle of one thread: its messages, its title and metadata, its own working memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Unpack

from memfold.arguments import Moment, json_object, past, several
from memfold.because import Because
from memfold.building import Context, build, new_id
from memfold.client import Client, Intent, Write
from memfold.clones import EVERYTHING, Clone, Cloning, Cut, Wanted
from memfold.details import Details
from memfold.erasing import Eraser, ErasureReport
from memfold.events import Content, Metadata, Role, Scope
from memfold.ids import check_id
from memfold.initial import Creation, create_with
from memfold.lists import PAGE_DEFAULT, Page, Part
from memfold.messages import MessageLike, message_list
from memfold.pages import MessageFilter, Messages, Range, read_history
from memfold.reads import (
    Change,
    MessageView,
    Snapshot,
    ThreadLink,
    ThreadState,
    snapshot_read,
)
from memfold.receipts import Receipt
from memfold.working_memory import WorkingMemory

if TYPE_CHECKING:
    from memfold.prompts.budget import CountTokens
    from memfold.prompts.compose import Prompt
    from memfold.prompts.processor import Processor, ProcessorOptions
    from memfold.prompts.shapes import Provider

INCARNATION_MAX: Final = 10**9
"""No thread has more lives."""


class Thread:
    """A thread of a resource. Nothing is sent before a coroutine is awaited.

    The handle remembers which life of the thread it has read and says so in what it writes: then a
    write that comes after the thread was deleted is rejected and does not bring it back. Writes
    take ``expected``, ``because`` and ``correlation`` as those of a ``WorkingMemory`` do.
    """

    def __init__(self, client: Client, resource: str, thread: str) -> None:
        self.resource_id = check_id(resource, "resource")
        """The id of its resource."""
        self.id = check_id(thread, "thread")
        """Its id within the resource."""
        self.incarnation: int | None = None
        """Which life of the thread was read last; None before that, or if there is none."""
        self._client = client
        self._messages = client.address(resource, thread, "messages")
        self._thread = client.address(resource, thread, "thread")

    def __repr__(self) -> str:
        return f"Thread({self.resource_id!r}, {self.id!r})"

    @property
    def is_read_only(self) -> bool:
        """Tell whether this handle, and all that it gives, refuses to write."""
        return self._client.is_read_only

    def read_only(self) -> Thread:
        """Return the same thread as a handle that cannot write, nor can any handle it gives."""
        return Thread(self._client.read_only(), self.resource_id, self.id)

    @property
    def working_memory(self) -> WorkingMemory:
        """The thread's own working memory, apart from its resource's."""
        return WorkingMemory(self._client, self.resource_id, self.id, lambda: self.incarnation)

    @property
    def details(self) -> Details:
        """The past of its title, its metadata, and whether it is archived."""
        return Details(self._client.queries, self.resource_id, self.id)

    async def create(
        self,
        *,
        title: str = "",
        metadata: Metadata | None = None,
        working_memory: str | Mapping[str, Any] | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Create the thread; one that its messages have begun takes title and metadata.

        ``working_memory`` is its own memory to begin with, put only where it has none. That is a
        message of its own, and goes first for a new thread: if this process ends between the two,
        ``create`` again does the rest. For a thread that is there it waits for the creation, and
        goes only if that was not rejected. The receipt's ``applied()`` speaks for both.
        """
        data = {"title": title, "metadata": json_object(metadata or {}, "metadata=")}
        # A thread is created whatever became of the life that this handle has read.
        intent = Intent(expected, because, correlation)
        if working_memory is None:
            return await self._client.write(self._thread, [("ThreadCreated", data)], intent)
        memory = WorkingMemory(self._client, self.resource_id, self.id)
        return await create_with(
            memory, working_memory, Creation(self._client, self._thread, data, intent)
        )

    async def get(self, *, as_of: Moment | None = None, fresh: bool = True) -> ThreadState | None:
        """Return title, metadata and the like; None if there is no such thread.

        With ``as_of`` as they stood at an earlier sequence or time.
        """
        answer = await self._client.queries.ask(
            "thread", self.resource_id, {"thread": self.id, **past(as_of)}, fresh=fresh
        )
        return self._state(answer, as_of)

    async def update(
        self,
        *,
        title: str | None = None,
        metadata: Metadata | None = None,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Change the title, or merge metadata one level; ``None`` within metadata is stored."""
        data = _given(title=title, metadata=metadata)
        intent = Intent(expected, because, correlation, self.incarnation)
        return await self._client.write(self._thread, [("ThreadUpdated", data)], intent)

    async def erase(
        self, message: str | None = None, *, reason: str | None = None, dry_run: bool = False
    ) -> ErasureReport:
        """Erase the thread, or one message of it, up to now: as ``Resource.erase`` does."""
        target = "thread" if message is None else "message"
        eraser = Eraser(self._client, self.resource_id, self.id, target, message=message)
        return await eraser.run(reason=reason, dry_run=dry_run)

    async def delete(
        self,
        *,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
    ) -> Receipt:
        """End the thread with its messages and its own working memory; its history stays."""
        intent = Intent(expected, because, correlation, self.incarnation)
        receipt = await self._client.write(self._thread, [("ThreadDeleted", {})], intent)
        self.incarnation = None
        return receipt

    async def archive(self, *, because: Because = None, correlation: str | None = None) -> Receipt:
        """Put the thread aside: lists with ``archived=False`` leave it out."""
        intent = Intent(None, because, correlation, self.incarnation)
        return await self._client.write(self._thread, [("ThreadArchived", {})], intent)

    async def unarchive(
        self, *, because: Because = None, correlation: str | None = None
    ) -> Receipt:
        """Take an archived thread up again."""
        intent = Intent(None, because, correlation, self.incarnation)
        return await self._client.write(self._thread, [("ThreadUnarchived", {})], intent)

    async def append(
        self,
        messages: MessageLike | Sequence[MessageLike],
        *,
        because: Because = None,
        expected: int | None = None,
        correlation: str | None = None,
        attach_above: int | None = None,
    ) -> Receipt:
        """Append one message, or several that are recorded together or not at all.

        A message saved again under its id replaces the old one and keeps its place. Data URIs and
        bytes in its parts are kept as attachments if they are larger than ``attach_above`` bytes.
        An empty list writes nothing and raises ``InvalidRequest``: there would be nothing to give a
        receipt for.
        """
        writes: list[Write] = [
            ("MessageAppended", {"message": message}) for message in message_list(messages)
        ]
        intent = Intent(expected, because, correlation, self.incarnation, attach_above)
        return await self._client.write(self._messages, writes, intent)

    async def update_message(
        self,
        id: str,
        *,
        role: Role | None = None,
        content: Content | None = None,
        metadata: Metadata | None = None,
        because: Because = None,
        correlation: str | None = None,
        attach_above: int | None = None,
    ) -> Receipt:
        """Change what is given of a message, in its place; metadata merges one level."""
        patch = _given(role=role, content=content, metadata=metadata)
        intent = Intent(None, because, correlation, self.incarnation, attach_above)
        write: Write = ("MessageUpdated", {"id": id, "patch": patch})
        return await self._client.write(self._messages, [write], intent)

    async def delete_messages(
        self,
        ids: str | Sequence[str],
        *,
        because: Because = None,
        correlation: str | None = None,
    ) -> Receipt:
        """Remove messages, all together; their history stays. An empty list as in ``append``."""
        listed = [ids] if isinstance(ids, str) else several(ids, "a message id")
        writes: list[Write] = [("MessageDeleted", {"id": id}) for id in listed]
        intent = Intent(None, because, correlation, self.incarnation)
        return await self._client.write(self._messages, writes, intent)

    async def messages(
        self,
        *,
        last: int | None = None,
        after: tuple[int, int] | None = None,
        before: tuple[int, int] | None = None,
        limit: int | None = None,
        **filters: Unpack[MessageFilter],
    ) -> list[MessageView]:
        """Return messages, oldest first: all, the ``last`` ones, or those beside a position.

        ``last`` goes with ``before``, ``limit`` with ``after``. Filters: see ``MessageFilter``.
        """
        return await self._messages_of(filters).range(Range(last, after, before, limit))

    async def message_page(
        self,
        *,
        limit: int = PAGE_DEFAULT,
        after: str | None = None,
        page: int | None = None,
        total: bool = False,
        descending: bool = False,
        **filters: Unpack[MessageFilter],
    ) -> Page[MessageView]:
        """Return a page of messages: behind another page's ``next``, or by its number from 0.

        Numbered pages fit together if ``as_of`` is the first one's ``sequence``; those that go on
        at ``next`` always do. ``total`` asks for the number of all messages that are meant.
        """
        part = Part(limit, after, page, total)
        return await self._messages_of(filters).page(part, descending=descending)

    async def snapshot(
        self, *, last: int = 20, as_of: Moment | None = None, fresh: bool = True
    ) -> Snapshot:
        """Return both working memories and the last messages, all at one sequence.

        With ``as_of`` at an earlier sequence, or the last one by an earlier time.
        """
        given = {"thread": self.id, "last": last, **past(as_of)}
        answer = await self._client.queries.ask("snapshot", self.resource_id, given, fresh=fresh)
        sequence: int = answer["sequence"]
        messages = [MessageView.from_json(item) for item in answer["messages"]]
        missing = last - len(messages)
        if missing > 0 and answer.get("next") is not None:
            # What did not fit one reply is read as it stood at the snapshot.
            older = self._messages_of({"as_of": sequence, "fresh": fresh})
            before = await older.range(Range(last=missing, before=answer["next"]))
            messages = [*before, *messages]
        return snapshot_read(answer, self.resource_id, self._state(answer, as_of), messages)

    async def history(
        self,
        *,
        after: tuple[int, int] | None = None,
        limit: int | None = None,
        everything: bool = False,
        fresh: bool = True,
    ) -> list[Change]:
        """Return what changed this thread, oldest first; ``everything`` also what did not."""
        asked = (self._client.queries, self.resource_id, self.id, after, limit)
        return await read_history(*asked, everything=everything, fresh=fresh)

    async def clone(
        self,
        id: str | None = None,
        *,
        resource: str | None = None,
        cut: Cut = EVERYTHING,
        title: str | None = None,
        metadata: Metadata | None = None,
        working_memory: bool = True,
        correlation: str | None = None,
    ) -> Clone:
        """Copy the thread as it stands now into a new one, by default of the same resource.

        ``id`` is a fresh one if not given. Title and metadata are the source's, with what is given
        here laid over them. The thread's own working memory is copied with it; the resource's too
        where the clone is of another resource that has none. A clone that was cut short, by an
        error or the end of the process, is completed by asking for it again.

        Raises:
            NotFound: there is no such thread, or no message that ``cut`` names.
            Rejected: reason ``thread_exists``, the new id is of a thread that exists already.
        """
        owner = self.resource_id if resource is None else resource
        target = Thread(self._client, owner, new_id() if id is None else id)
        wanted = Wanted(title, metadata, working_memory, correlation)
        return await Cloning(self._client, self, target, cut, wanted).run()

    async def clones(self, *, limit: int | None = None, fresh: bool = True) -> list[ThreadLink]:
        """Return the live threads that were cloned from this one, in order of creation."""
        found, _ = await self._client.queries.pages(
            "clones", self.resource_id, "clones", {"thread": self.id}, limit=limit, fresh=fresh
        )
        return [ThreadLink.from_json(item) for item in found]

    async def prompt(
        self,
        *,
        last: int | None = None,
        token_budget: int | None = None,
        provider: Provider = "openai",
        system: str | None = None,
        scope: Scope | None = "resource",
        count_tokens: CountTokens | None = None,
        stable: bool = False,
    ) -> Prompt:
        """Return what to send to a model: system text, memory and the last messages.

        The ``last`` messages (20 unless there is a ``token_budget``), as many as fit the budget.
        ``system`` comes before the memory, whose ``scope`` is "resource", "thread" or None for
        none. ``stable`` puts what changes behind what stays the same.

        Raises:
            InvalidRequest: an argument does not fit.
        """
        from memfold.prompts.assemble import make_prompt
        from memfold.prompts.compose import PromptSettings

        settings = PromptSettings(
            last, token_budget, provider, system, scope, count_tokens, stable=stable
        )
        return await make_prompt(self, self._memory(scope), settings, self._resolve)

    def processor(self, **options: Unpack[ProcessorOptions]) -> Processor:
        """Return what does an agent's memory work: ``before`` the model is called, and ``after``.

        Takes what ``prompt()`` takes; ``tool=False`` for a model that cannot change the memory,
        ``tool_name``, ``modes``, ``retain_input``, and ``title``, an asynchronous function that
        makes a title of messages.

        Raises:
            InvalidRequest: an option does not fit.
        """
        from memfold.prompts.processor import make_processor

        memory = self._memory(options.get("scope", "resource"))
        return make_processor(self, memory, options, self._resolve, self._check)

    def _memory(self, scope: Scope | None) -> WorkingMemory | None:
        if scope == "thread":
            return self.working_memory
        return None if scope is None else WorkingMemory(self._client, self.resource_id, None)

    async def _resolve(self, content: Content) -> Content:
        found: Content = await self._client.blobs.resolve(self.resource_id, content)
        return found

    async def _check(self, message: dict[str, Any], correlation: str) -> None:
        """Refuse a message that ``append`` would refuse; nothing is sent."""
        given: list[Write] = [("MessageAppended", {"message": message})]
        [(type_, data)], _ = await self._client.blobs.take_out(self.resource_id, given, None)
        # Whatever it will be said to follow from, and in whichever life: there is room for both.
        build(self._messages, type_, data, Context(new_id(), correlation, INCARNATION_MAX))

    def _messages_of(self, filters: MessageFilter) -> Messages:
        return Messages(self._client.queries, self.resource_id, self.id, filters)

    def _state(self, answer: Mapping[str, Any], as_of: object) -> ThreadState | None:
        """Return what was read; which life of the thread that is counts only where it is now."""
        raw = answer["thread_state"]
        state = None if raw is None else ThreadState.from_json(raw)
        if as_of is None:
            self.incarnation = None if state is None else state.incarnation
        return state


def _given(**values: Any) -> dict[str, Any]:  # noqa: ANN401  # any fields
    return {key: value for key, value in values.items() if value is not None}
