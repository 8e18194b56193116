"""The whole public interface in use, with the types that it must have: never run, only checked.

mypy and pyright, both strict, must accept every line. What they must refuse is in ``rejected``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, assert_type

from nats.aio.client import Client
from pydantic import BaseModel

import memfold
from memfold_consumers import local

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Form(BaseModel):
    name: str = ""


async def opening(connection: Client) -> None:
    assert_type(memfold.__version__, str)
    async with memfold.connect(actor="bot") as memory:
        assert_type(memory, memfold.Memory)
    async with memfold.connect(
        ["nats://a:4222", "nats://b:4222"],
        actor="bot",
        namespace="shop",
        timeout_s=1,
        query_timeout_s=1.5,
        connect_timeout_s=2,
        user="bot",
        password="secret",
    ) as memory:
        assert_type(memory, memfold.Memory)
    async with local(".memfold", actor="bot") as memory:
        assert_type(memory, memfold.Memory)
    async with memfold.connect(actor="bot", keys=memfold.KeyDirectory("keys")) as memory:
        assert_type(memory, memfold.Memory)
    async with local(actor="bot", keys="keys") as memory:
        assert_type(memory, memfold.Memory)
    async with local(Path("data"), actor="bot", port=4222, linger_s=0, timeout_s=5) as memory:
        assert_type(memory, memfold.Memory)
    await memfold.ensure_streams(connection, "shop", replicas=3, duplicate_window_s=60)


async def memory_of_a_namespace(memory: memfold.Memory) -> None:
    assert_type(memory.namespace, str)
    assert_type(memory.actor, str)
    assert_type(memory.defaults, memfold.WorkingMemory)
    assert_type(memory.resource("user_alice"), memfold.Resource)
    assert_type(await memory.resources(limit=5, order="updated_at"), list[memfold.ResourceState])
    assert_type(await memory.resource_page(page=0, total=True), memfold.Page[memfold.ResourceState])
    assert_type(await memory.threads(archived=False), list[memfold.ThreadState])
    assert_type(await memory.thread_page(after="next"), memfold.Page[memfold.ThreadState])
    assert_type(await memory.parked("user_alice", limit=3, fresh=False), list[dict[str, Any]])
    assert_type(await memory.status(), dict[str, Any])
    assert_type(await memory.known(["e1"], source="other"), list[tuple[int, int] | None])
    event = memory.prepare({"id": "e1"}, resource="user_alice", thread=None, facet="memory")
    assert_type(event, memfold.Prepared)
    assert_type(event.payload, bytes)
    assert_type(await memory.publish([event], expected=7), memfold.Receipt)
    await memory.ensure_streams(replicas=3)


async def resources(resource: memfold.Resource) -> None:
    assert_type(resource.id, str)
    assert_type(resource.working_memory, memfold.WorkingMemory)
    assert_type(resource.thread("support_1"), memfold.Thread)
    state = await resource.get(fresh=False)
    assert_type(state, memfold.ResourceState | None)
    if state is not None:
        assert_type(state.metadata, dict[str, Any])
        assert_type(state.to_json(), dict[str, Any])
    assert_type(await resource.update(metadata={"plan": "pro", "note": None}), memfold.Receipt)
    threads = await resource.threads(
        metadata={"channel": "web"}, order="last_message_at", descending=False, as_of=7
    )
    assert_type(threads, list[memfold.ThreadState])
    page = await resource.thread_page(limit=10, total=True, archived=True)
    assert_type(page, memfold.Page[memfold.ThreadState])
    assert_type(page.items, tuple[memfold.ThreadState, ...])
    assert_type(page.next, str | None)
    assert_type(page.sequence, int)
    assert_type(page.total, int | None)
    assert_type(page.to_json(), dict[str, Any])
    messages = await resource.messages(last=5, threads=["support_1"], since=NOON)
    assert_type(messages, list[memfold.MessageView])
    found = await resource.message_page(descending=True, threads=("a", "b"), until=NOON)
    assert_type(found, memfold.Page[memfold.MessageView])
    assert_type(await resource.history(after=(3, 0), everything=True), list[memfold.Change])
    replayed = await resource.replay(
        without_actors=["bot"], without=["e1"], without_messages=["m1", ("t", "m2")]
    )
    assert_type(replayed, memfold.Replay)
    assert_type(replayed.left_out[0], memfold.LeftOut)
    assert_type(replayed.differences[0], memfold.Difference)
    assert_type(replayed.differences[0].parts[0], memfold.DifferencePart)
    assert_type((await resource.replay(consequences=False)).agrees, bool | None)
    async for message in resource.recorded(thread="t", after=3, upto=7, fresh=False):
        assert_type(message, memfold.RecordedMessage)
        assert_type(message.payload, bytes)


async def threads(thread: memfold.Thread) -> None:
    assert_type(thread.id, str)
    assert_type(thread.resource_id, str)
    assert_type(thread.incarnation, int | None)
    assert_type(thread.working_memory, memfold.WorkingMemory)
    assert_type(await thread.create(title="Moving", metadata={"a": [1]}), memfold.Receipt)
    assert_type(await thread.create(working_memory="# Notes"), memfold.Receipt)
    assert_type(await thread.update(title="Moved", expected=0), memfold.Receipt)
    assert_type(await thread.archive(correlation="run-1"), memfold.Receipt)
    assert_type(await thread.unarchive(), memfold.Receipt)
    state = await thread.get()
    assert_type(state, memfold.ThreadState | None)
    if state is not None:
        assert_type(state.title, str)
        assert_type(state.created_at, datetime)
        assert_type(state.last_message_at, datetime | None)
        assert_type(state.archived_at, datetime | None)
        assert_type(state.source, memfold.ThreadLink | None)
    snapshot = await thread.snapshot(last=5)
    assert_type(snapshot, memfold.Snapshot)
    assert_type(snapshot.messages, tuple[memfold.MessageView, ...])
    assert_type(snapshot.thread, memfold.ThreadState | None)
    assert_type(snapshot.working_memory, memfold.WorkingMemoryState | None)
    assert_type(snapshot.lag, int)
    assert_type(await thread.history(limit=3), list[memfold.Change])
    assert_type(await thread.delete(), memfold.Receipt)
    assert_type(await thread.erase(dry_run=True), memfold.ErasureReport)
    assert_type(await thread.erase("m17", reason="asked for"), memfold.ErasureReport)


def tell(phase: str, done: int, total: int | None) -> None:
    assert done <= (total or done), phase


async def erasing(memory: memfold.Memory, resource: memfold.Resource) -> None:
    report = await resource.erase(reason="asked for", progress=tell)
    assert_type(report, memfold.ErasureReport)
    assert_type(report.erasure, int)
    assert_type(report.engines, dict[str, dict[str, int]])
    assert_type(report.remains, tuple[str, ...])
    assert_type(await memory.erase_event((12, 0), dry_run=True), memfold.ErasureReport)
    assert_type(await memory.erasures("user_123", limit=3), list[dict[str, Any]])


async def past(memory: memfold.Memory, thread: memfold.Thread) -> None:
    wm = thread.working_memory
    assert_type(await wm.get(as_of=NOON), memfold.WorkingMemoryState | None)
    assert_type(await wm.read(as_of=7), memfold.MemoryRead)
    assert_type(await thread.get(as_of=7), memfold.ThreadState | None)
    assert_type(await thread.snapshot(as_of=NOON), memfold.Snapshot)
    assert_type(await memory.resources(as_of=NOON), list[memfold.ResourceState])
    history = await wm.history(after=(3, 0), limit=5, whole=True)
    assert_type(history, list[memfold.DocumentChange])
    assert_type(history[0].changes, tuple[memfold.Touched, ...])
    assert_type(history[0].position, tuple[int, int])
    blame = await wm.blame(path="/a", as_of=7)
    assert_type(blame, memfold.Blame)
    assert_type(blame.entries, tuple[memfold.BlameEntry, ...])
    assert_type(blame.redacted, bool)
    event = blame.entries[0].event
    assert_type(event, memfold.ChangeEvent | None)
    if event is not None:
        assert_type(event.evidence, tuple[memfold.SourceMessage, ...])
        assert_type(event.cause, memfold.SourceMessage | None)
    diff = await wm.diff(7, NOON)
    assert_type(diff, memfold.Diff)
    assert_type(diff.entries, tuple[memfold.DiffEntry, ...])
    assert_type(diff.redacted, bool)
    assert_type(diff.to_json(), dict[str, Any])
    assert_type(thread.details, memfold.Details)
    assert_type(await thread.details.blame(), memfold.Blame)
    reverted = await wm.revert(7, path="/a", reason="why", because=("t", "m"))
    assert_type(reverted, memfold.Receipt | Literal["unchanged"])


async def messages(thread: memfold.Thread, several: Sequence[memfold.Message]) -> None:
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Hello."}]
    message = memfold.Message(role="user", content="Hello.", created_at=NOON, metadata={"n": 1})
    assert_type(message.role, Literal["user", "assistant", "tool", "system"])
    assert_type(message.content, str | list[dict[str, Any]])
    assert_type(message.id, str)
    assert_type(message.to_json(), dict[str, Any])
    assert_type(await thread.append(message), memfold.Receipt)
    assert_type(await thread.append({"role": "tool", "content": parts}), memfold.Receipt)
    await thread.append([message, {"role": "system", "content": "Be kind."}])
    await thread.append(several, expected=3)
    await thread.update_message("m1", role="assistant", content=parts, metadata={"seen": True})
    assert_type(await thread.delete_messages("m1"), memfold.Receipt)
    await thread.delete_messages(("m1", "m2"))
    include = memfold.Include("m1", before=2, after=2)
    found = await thread.messages(last=5, before=(9, 0), include=[include], metadata={"n": 1})
    assert_type(found, list[memfold.MessageView])
    assert_type(found[0].position, tuple[int, int])
    assert_type(found[0].content, str | list[dict[str, Any]])
    await thread.append(memfold.Message(role=found[0].role, content=found[0].content))
    await thread.messages(after=found[-1].position, limit=100, as_of=7, fresh=False)
    page = await thread.message_page(limit=5, page=2, since=NOON, until=NOON)
    assert_type(page, memfold.Page[memfold.MessageView])


async def attachments(resource: memfold.Resource, found: list[memfold.MessageView]) -> None:
    attachment = memfold.Attachment(b"...", "image/png")
    assert_type(attachment.data, bytes)
    assert_type(attachment.media_type, str)
    assert_type(attachment.data_uri(), str)
    part: dict[str, Any] = {"type": "image", "image": attachment}
    message = memfold.Message(role="user", content=[part])
    assert_type(await resource.thread().append(message, attach_above=0), memfold.Receipt)
    assert_type(await resource.attachment({"attachment": {}}), memfold.Attachment)
    assert_type(await resource.resolve(found), list[memfold.MessageView])
    assert_type(await resource.resolve(found[0]), memfold.MessageView)


def read_only(
    memory: memfold.Memory, thread: memfold.Thread, document: memfold.WorkingMemory
) -> None:
    assert_type(memory.read_only(), memfold.Memory)
    assert_type(memory.read_only().resource("user_alice").read_only(), memfold.Resource)
    assert_type(thread.read_only(), memfold.Thread)
    assert_type(document.read_only(), memfold.WorkingMemory)
    assert_type(document.is_read_only, bool)


async def clones(thread: memfold.Thread) -> None:
    clone = await thread.clone("copy", resource="user_bob", cut=memfold.Cut(last=5), title="Copy")
    assert_type(clone, memfold.Clone)
    assert_type(clone.thread, memfold.Thread)
    assert_type(clone.source, memfold.ThreadLink)
    assert_type(clone.messages, Mapping[str, str])
    await thread.clone(cut=memfold.Cut(upto="m1", since=NOON, until=NOON, ids=["m1"]))
    assert_type(await thread.clones(), list[memfold.ThreadLink])


async def working_memories(memory: memfold.WorkingMemory, receipt: memfold.Receipt) -> None:
    state = await memory.get()
    assert_type(state, memfold.WorkingMemoryState | None)
    if state is not None:
        assert_type(state.content, str | dict[str, Any])
        assert_type(state.revision, int)
        assert_type(state.changed_at, datetime)
    definition = await memory.definition()
    assert_type(definition, memfold.DefinitionState | None)
    if definition is not None:
        assert_type(definition.json_schema, dict[str, Any] | None)
    read = await memory.read(fresh=False)
    assert_type(read, memfold.MemoryRead)
    assert_type(read.state, memfold.WorkingMemoryState | None)
    assert_type(await memory.merge({"city": "Berlin"}, because=receipt), memfold.Receipt)
    assert_type(await memory.replace("# Notes", reason="asked for it"), memfold.Receipt)
    assert_type(await memory.replace({"a": 1}, expected=read.revision), memfold.Receipt)
    assert_type(await memory.append("- a cat"), memfold.Receipt)
    assert_type(await memory.edit("a cat", "two cats"), memfold.Receipt)
    assert_type(await memory.define(template="# Name\n"), memfold.Receipt)
    assert_type(await memory.define(schema={"type": "object"}), memfold.Receipt)
    assert_type(await memory.define(schema=Form), memfold.Receipt)
    assert_type(await memory.merge({"name": "Sam"}, check=True), memfold.Receipt)
    assert_type(await memory.define(), memfold.Receipt)


async def prompts(thread: memfold.Thread) -> None:
    prompt = await thread.prompt(last=20, provider="anthropic", system="Be kind.", scope="thread")
    assert_type(prompt, memfold.Prompt)
    assert_type(prompt.provider, Literal["openai", "anthropic", "plain"])
    assert_type(prompt.system, str)
    assert_type(prompt.messages, list[dict[str, Any]])
    assert_type(prompt.tokens, int)
    assert_type(prompt.revision, int | None)
    assert_type(prompt.as_arguments(), dict[str, Any])
    assert_type(
        await thread.prompt(token_budget=8000, count_tokens=len, scope=None), memfold.Prompt
    )
    assert_type(memfold.estimate_tokens("Hello."), int)
    assert_type(memfold.strip_tags("Hello.", "memory"), str)
    assert_type(memfold.strip_memory({"role": "user", "content": "Hi."}), list[dict[str, Any]])
    assert_type(memfold.strip_memory(await thread.messages(), tag="memory"), list[dict[str, Any]])
    await thread.working_memory.define(template=memfold.DEFAULT_TEMPLATE)


async def what_a_model_is_told(memory: memfold.WorkingMemory) -> None:
    told = await memory.system_message()
    assert_type(told, memfold.SystemMessage)
    assert_type(told.text, str)
    assert_type(told.revision, int)
    again = await memory.system_message(since=told, fresh=False)
    assert_type(again, memfold.SystemMessage | Literal["unchanged"])
    if isinstance(again, memfold.SystemMessage):
        assert_type(again, memfold.SystemMessage)
    tool = memory.tool(name="remember", description="Remember it.", modes=["append"])
    assert_type(tool, memfold.MemoryTool)
    assert_type(tool.name, str)
    assert_type(await tool.definition("anthropic"), dict[str, Any])
    answer = await tool.handle('{"text": "a cat"}', because=("support_1", "m1"), seen=told.revision)
    assert_type(answer, memfold.ToolAnswer)
    assert_type(answer.text, str)
    assert_type(answer.ok, bool)
    assert_type(answer.changed, bool)
    assert_type(answer.receipt, memfold.Receipt | None)


async def titled(messages: list[dict[str, Any]]) -> str:
    return f"{len(messages)} messages"


async def an_agents_turn(thread: memfold.Thread, reply: BaseModel) -> None:
    processor = thread.processor(provider="openai", tool=True, last=10, title=titled)
    assert_type(processor, memfold.Processor)
    prompt = await processor.before({"role": "user", "content": "Hello."}, run="run-1")
    assert_type(prompt, memfold.Prompt)
    assert_type(await processor.answer(reply), list[dict[str, Any]])
    assert_type(await processor.after(reply), memfold.Receipt | None)
    assert_type(await processor.after([reply, reply], failed=True), memfold.Receipt | None)


async def reasons(
    memory: memfold.WorkingMemory,
    receipt: memfold.Receipt,
    message: memfold.Message,
    read: memfold.MessageView,
) -> None:
    await memory.append("one", because=message)
    await memory.append("one", because=read)
    await memory.append("one", because=("support_1", "m1"))
    await memory.append("one", because={"thread": "support_1", "id": "m1"})
    await memory.append("several", because=[receipt, message, read, ("support_1", "m1")])
    await memory.append("none", because=None)


async def receipts(receipt: memfold.Receipt) -> None:
    assert_type(receipt.sequence, int)
    assert_type(receipt.event_ids, tuple[str, ...])
    assert_type(receipt.resource, str | None)
    assert_type(receipt.to_json(), dict[str, Any])
    assert_type(await receipt.applied(), Literal["applied", "unchanged", "duplicate"])
    assert_type(await receipt.applied() == memfold.NO_CHANGE, bool)
    outcomes = await receipt.outcomes(timeout=1)
    assert_type(outcomes, list[memfold.EventOutcome])
    assert_type(outcomes[0].of, tuple[int, int] | None)


def changes(change: memfold.Change) -> None:
    assert_type(change.actor, str)
    assert_type(change.time, datetime)
    assert_type(change.data, dict[str, Any])
    assert_type(change.causation, str | None)


async def errors(memory: memfold.WorkingMemory) -> None:
    try:
        await (await memory.merge({"city": "Berlin"})).applied()
    except memfold.GateError as error:
        assert_type(error.reason, str)
    except (memfold.InvalidId, memfold.TooLarge, memfold.InvalidEvent) as error:
        assert_type(error.reason, str)
    except (memfold.Rejected, memfold.Parked) as error:
        assert_type(error.reason, str)
        assert_type(error.detail, str | None)
    except (
        memfold.AttachmentDamaged,
        memfold.BrokerUnavailable,
        memfold.EngineBusy,
        memfold.EngineInUse,
        memfold.EngineUnavailable,
        memfold.ExtraMissing,
        memfold.InvalidRequest,
        memfold.KeyMissing,
        memfold.LogDiverged,
        memfold.NotFound,
        memfold.NotYetConsistent,
        memfold.PublishDenied,
        memfold.ReadOnly,
        memfold.RevisionConflict,
        memfold.StorageError,
        memfold.StreamFull,
        memfold.StreamMissing,
        memfold.UnsafeStream,
    ) as error:
        known: memfold.MemfoldError = error
        assert_type(known.message, str)
    except memfold.MemfoldError as error:
        assert_type(error.code, str)


def keeping(path: Path) -> None:
    keys: memfold.Keys = memfold.KeyDirectory(path)
    assert_type(memfold.KeyDirectory(path).path, Path)
    key = keys.current("user_alice")
    assert_type(key, memfold.Key)
    assert_type(keys.find("user_alice", key.id), memfold.Key | None)
    assert_type(keys.retire("user_alice"), Sequence[str])
    assert_type(keys.retired("user_alice"), Sequence[str])
    assert_type(keys.destroy("user_alice", [key.id]), int)
    assert_type(key.secret, bytes)
