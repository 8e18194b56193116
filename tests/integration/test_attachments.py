"""Attachments from end to end: stored once, referred to, read back exactly, never believed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

import memfold
import memfold.attachments
import memfold.uploads
from memfold import (
    Attachment,
    AttachmentDamaged,
    InvalidEvent,
    InvalidRequest,
    Memory,
    MessageView,
    NotFound,
    PublishDenied,
    ReadOnly,
    TooLarge,
)
from memfold.chunks import CHUNK_BYTES_MAX, Copy, chunk_subject
from memfold.streams import ensure_streams
from memfold_consumers.blob_stream import BlobStream
from support.broker import Broker, bare_client, running_broker, stored
from support.engine import running_engine

pytestmark = pytest.mark.integration

PERMISSIONS = """
authorization { users: [
  { user: engine, password: e }
  { user: bot, password: b, permissions: {
      publish: ["memfold.publish.*.*.*.bot", "memfold.blob.*.*.bot.*.*.*", "memfold.query.>"]
      subscribe: ["_INBOX_bot.>"] } }
  { user: old, password: o, permissions: {
      publish: ["memfold.publish.*.*.*.old", "memfold.query.>"]
      subscribe: ["_INBOX_old.>"] } }
] }
"""
AS_BOT: dict[str, Any] = {"user": "bot", "password": "b", "inbox_prefix": "_INBOX_bot"}
LARGE = random.Random(1).randbytes(40_000)
URI = Attachment(LARGE, "image/png").data_uri()
SHA256 = hashlib.sha256(LARGE).hexdigest()


def as_engine(broker: Broker) -> str:
    return broker.url.replace("nats://", "nats://engine:e@")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    async with (
        running_broker(tmp_path / "broker", PERMISSIONS) as running,
        running_engine(as_engine(running), tmp_path / "engine"),
    ):
        yield running


@pytest.fixture
async def memory(broker: Broker) -> AsyncIterator[Memory]:
    async with memfold.connect(broker.url, actor="bot", **AS_BOT) as opened:
        yield opened


@pytest.fixture
async def stream(broker: Broker) -> AsyncIterator[BlobStream]:
    async with bare_client(as_engine(broker)) as bare:
        yield BlobStream(bare, "memfold")


def image(data: str | bytes | Attachment = URI, id: str = "m1") -> dict[str, Any]:
    parts = [{"type": "text", "text": "look"}, {"type": "image", "source": {"url": data}}]
    return {"id": id, "role": "user", "content": parts}


def url(message: MessageView) -> Any:  # noqa: ANN401  # a data URI, or a reference
    """Return what stands in a message for its image."""
    content: Any = message.content
    return content[1]["source"]["url"]


async def put(stream: BlobStream, subject: str, data: bytes) -> None:
    """Publish a chunk as someone with all rights: the other actor, or a hand in the store."""
    await stream._connection.request(subject, data, timeout=5)


async def test_a_large_data_uri_is_kept_beside_the_event_and_read_back_exactly(
    memory: Memory,
) -> None:
    """B62: parts with an attachment come back exactly as they went in."""
    alice = memory.resource("alice")
    thread = alice.thread("t")
    parts: list[dict[str, Any]] = [
        {"type": "tool_result", "result": {"rows": [1, 1.0, True, None, "ü"], "plot": URI}},
        {"type": "image", "url": f"data:image/svg+xml;utf8,<svg>{'é %20' * 9000}</svg>"},
        {"type": "file", "small": "data:text/plain,abc", "list": [[URI]]},
    ]
    given = {"id": "m1", "role": "tool", "content": parts}
    assert await (await thread.append(given)).applied() == "applied"
    [message] = await thread.messages()
    content: Any = message.content
    assert content[0]["result"]["plot"] == {
        "attachment": {
            "sha256": SHA256,
            "size": len(LARGE),
            "media_type": "image/png",
            "head": "data:image/png;base64,",
            "body": "base64",
        }
    }
    assert (await alice.resolve(message)).content == parts
    assert (await alice.resolve([message]))[0].content == parts
    assert given["content"] is parts
    assert parts[2]["list"] == [[URI]]


async def test_bytes_become_data_uris_or_attachments_by_their_size(memory: Memory) -> None:
    alice = memory.resource("alice")
    thread = alice.thread("t")
    await thread.append(image(b"small"))
    await thread.append(image(Attachment(LARGE, "audio/wav"), "m2"))
    small, large = await thread.messages()
    assert url(small) == "data:application/octet-stream;base64,c21hbGw="
    reference = url(large)
    assert await alice.attachment(reference) == Attachment(LARGE, "audio/wav")
    resolved = await alice.resolve(large)
    assert url(resolved) == Attachment(LARGE, "audio/wav").data_uri()


async def test_the_limit_can_be_set_for_a_client_and_for_a_call(broker: Broker) -> None:
    with pytest.raises(InvalidRequest):
        async with memfold.connect(broker.url, actor="bot", attach_above=-1, **AS_BOT):
            pass
    uri = Attachment(b"x" * 1000).data_uri()
    async with memfold.connect(broker.url, actor="bot", attach_above=500, **AS_BOT) as memory:
        thread = memory.resource("alice").thread("t")
        await thread.append(image(uri))
        await thread.append(image(uri, "m2"), attach_above=2000)
        await thread.update_message("m2", content=image(uri)["content"])
        await thread.append(image(uri, "m3"), attach_above=2000)
        first, second, third = (url(m) for m in await thread.messages())
        assert "attachment" in first
        assert "attachment" in second
        assert third == uri
        with pytest.raises(InvalidRequest):
            await thread.append(image(uri), attach_above=True)


async def test_it_is_stored_once_per_resource(memory: Memory, stream: BlobStream) -> None:
    for resource in ("alice", "bob"):
        for thread in ("t", "u"):
            for _ in range(2):
                await memory.resource(resource).thread(thread).append(image())
    for resource in ("alice", "bob"):
        assert len((await stream.list_copies(resource, SHA256)).copies) == 1


async def test_another_resource_cannot_read_it(memory: Memory) -> None:
    """The subject is the authority: a reference that was copied elsewhere leads nowhere."""
    alice, bob = memory.resource("alice"), memory.resource("bob")
    await alice.thread("t").append(image())
    [message] = await alice.thread("t").messages()
    await bob.thread("t").append({"role": "user", "content": message.content})
    [copied] = await bob.thread("t").messages()
    assert copied.content == message.content
    with pytest.raises(NotFound):
        await bob.resolve(copied)
    with pytest.raises(NotFound):
        await bob.attachment(url(message))


async def test_an_object_that_looks_like_a_reference_is_data(memory: Memory) -> None:
    alice = memory.resource("alice")
    lookalike = {"attachment": {"sha256": "0" * 64, "size": 1}}
    await alice.thread("t").append({"id": "m", "role": "user", "content": [{"x": lookalike}]})
    [message] = await alice.thread("t").messages()
    assert message.content == [{"x": lookalike}]
    assert await alice.resolve(message) == message
    with pytest.raises(InvalidRequest):
        await alice.attachment(lookalike)


async def test_wrong_bytes_that_came_first_neither_block_nor_poison(
    memory: Memory, stream: BlobStream
) -> None:
    wrong = Copy("aaa", "first", 1)
    await put(stream, chunk_subject("memfold", "alice", SHA256, wrong, 0), b"wrong")
    # As if they were ours already, but too few, too large, or under names that are none of ours.
    await put(
        stream, chunk_subject("memfold", "alice", SHA256, Copy("bot", "0", 2), 0), LARGE[:100]
    )
    large = chunk_subject("memfold", "alice", SHA256, Copy("bot", "1", 1), 0)
    await put(stream, large, b"x" * (CHUNK_BYTES_MAX + 1))
    await put(stream, f"memfold.blob.alice.{SHA256}.bot.*.1.0", b"wrong")
    await put(stream, f"memfold.blob.*.{SHA256}.bot.u.1.0", b"wrong")
    alice = memory.resource("alice")
    await alice.thread("t").append(image())
    [message] = await alice.thread("t").messages()
    assert (await alice.resolve(message)).content == image()["content"]


async def test_a_chunk_cannot_be_replaced_afterwards(memory: Memory, stream: BlobStream) -> None:
    alice = memory.resource("alice")
    await alice.thread("t").append(image())
    [copy] = (await stream.list_copies("alice", SHA256)).copies
    await put(stream, chunk_subject("memfold", "alice", SHA256, copy, 0), b"wrong")
    [message] = await alice.thread("t").messages()
    assert (await alice.resolve(message)).content == image()["content"]


async def test_what_has_no_good_copy_is_told_and_nothing_wrong_given_out(
    memory: Memory, stream: BlobStream
) -> None:
    alice = memory.resource("alice")
    await alice.thread("t").append(image())
    [message] = await alice.thread("t").messages()
    [copy] = (await stream.list_copies("alice", SHA256)).copies
    subject = chunk_subject("memfold", "alice", SHA256, copy, 0)
    chunk = await stream.read_chunk("alice", SHA256, copy, 0)
    assert chunk is not None
    await stream.erase(chunk.sequence)
    with pytest.raises(NotFound):
        await alice.resolve(message)
    wrong = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    await put(stream, subject.replace(".bot.", ".other."), wrong)
    with pytest.raises(AttachmentDamaged):
        await alice.resolve(message)
    # Whatever an engine says, the client looks for itself.
    await put(stream, subject, wrong)
    with pytest.raises(AttachmentDamaged):
        await alice.resolve(message)
    reference = {**url(message)["attachment"], "size": 7}
    await alice.thread("t").append(image(id="m2"))
    with pytest.raises(AttachmentDamaged):
        await alice.attachment({"attachment": reference})


async def test_a_file_of_20_mib_goes_through_in_a_bounded_number_of_chunks(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = memory._client.connection
    request = connection.request
    running = most = 0

    async def counting(
        subject: str,
        payload: bytes = b"",
        timeout: float = 5.0,
        headers: dict[str, str] | None = None,
    ) -> Msg:
        nonlocal running, most
        number = subject.startswith("memfold.blob.")
        running += number
        most = max(most, running)
        try:
            return await request(subject, payload, timeout, headers)
        finally:
            running -= number

    monkeypatch.setattr(connection, "request", counting)
    files = [random.Random(n).randbytes(20 * 1024 * 1024 // (n + 1)) for n in range(2)]
    alice = memory.resource("alice")
    await alice.thread("t").append([image(file, f"m{n}") for n, file in enumerate(files)])
    assert 1 < most <= memfold.uploads.CHUNKS_IN_FLIGHT
    for message, file in zip(await alice.thread("t").messages(), files, strict=True):
        read = await alice.attachment(url(message))
        assert hashlib.sha256(read.data).digest() == hashlib.sha256(file).digest()


async def test_many_at_once_with_the_same_bytes_all_get_them(
    broker: Broker, stream: BlobStream
) -> None:
    async with AsyncExitStack() as stack:
        memories = [
            await stack.enter_async_context(memfold.connect(broker.url, actor="bot", **AS_BOT))
            for _ in range(4)
        ]
        receipts = await asyncio.gather(
            *(
                memories[n % 4].resource("alice").thread("t").append(image(id=f"m{n}"))
                for n in range(64)
            )
        )
        for receipt in receipts:
            assert await receipt.applied() == "applied"
        # One client stores it once, however many of its tasks want it.
        assert 1 <= len((await stream.list_copies("alice", SHA256)).copies) <= 4
        alice = memories[0].resource("alice")
        messages = await alice.resolve(await alice.thread("t").messages())
        assert [m.content for m in messages] == [image()["content"]] * 64


async def test_without_an_engine_it_is_stored_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    async with running_broker(tmp_path) as broker:
        async with bare_client(broker.url) as bare:
            await ensure_streams(bare, "memfold")
        async with memfold.connect(broker.url, actor="bot") as memory:
            alice = memory.resource("alice")
            await alice.thread("t").append(image())
            await alice.thread("t").append(image(id="m2"))
            async with running_engine(broker.url, tmp_path / "engine"):
                messages = await alice.resolve(await alice.thread("t").messages())
                assert [m.content for m in messages] == [image()["content"]] * 2


def too_large(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(memfold.attachments, "ATTACHMENT_BYTES_MAX", len(LARGE) - 1)
    return image()


def no_event(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {**image(), "role": "nobody"}


@pytest.mark.parametrize("refused", [too_large, no_event])
async def test_what_is_refused_stores_nothing(
    memory: Memory,
    stream: BlobStream,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., dict[str, Any]],
) -> None:
    with pytest.raises(TooLarge if refused is too_large else InvalidEvent):
        await memory.resource("alice").thread("t").append(refused(memory, monkeypatch))
    assert (await stream.list_all())[0] == {}


async def test_an_agent_that_may_not_store_is_told_and_publishes_nothing(broker: Broker) -> None:
    async with (
        memfold.connect(
            broker.url, actor="old", user="old", password="o", inbox_prefix="_INBOX_old"
        ) as memory,
        bare_client(as_engine(broker)) as bare,
    ):
        with pytest.raises(PublishDenied):
            await memory.resource("alice").thread("t").append(image())
        assert await stored(bare, "memfold") == []


async def test_a_read_only_handle_stores_nothing(memory: Memory, stream: BlobStream) -> None:
    thread = memory.resource("alice").thread("t")
    await thread.append(image())
    sealed = thread.read_only()
    with pytest.raises(ReadOnly):
        await sealed.append(image(LARGE[::-1]))
    with pytest.raises(ReadOnly):
        await sealed.clone(resource="bob")
    assert set((await stream.list_all())[0]) == {("alice", SHA256)}


async def test_an_agent_cannot_store_as_another(memory: Memory, stream: BlobStream) -> None:
    connection = memory._client.connection
    for subject in (
        chunk_subject("memfold", "alice", SHA256, Copy("other", "u", 1), 0),
        f"memfold.blob.alice.{SHA256}.bot",
    ):
        with pytest.raises(PublishDenied):
            await connection.request(subject, b"x")
    assert (await stream.list_all())[0] == {}


async def test_earlier_versions_keep_theirs(memory: Memory) -> None:
    alice = memory.resource("alice")
    thread = alice.thread("t")
    first = await thread.append(image())
    await thread.update_message("m1", content="changed")
    await thread.delete()
    [message] = await thread.messages(as_of=first.sequence)
    assert (await alice.resolve(message)).content == image()["content"]
    change = (await thread.history())[0]
    reference = change.data["message"]["content"][1]["source"]["url"]
    assert (await alice.attachment(reference)).data == LARGE


async def test_closing_waits_for_what_is_being_stored(broker: Broker) -> None:
    async with memfold.connect(broker.url, actor="bot", **AS_BOT) as memory:
        alice = memory.resource("alice")
        appending = asyncio.create_task(alice.thread("t").append(image(LARGE * 100)))
        while not memory._client.blobs._storing:  # noqa: ASYNC110 - the other task has no event.
            await asyncio.sleep(0)
    receipt = await appending
    async with memfold.connect(broker.url, actor="bot", **AS_BOT) as memory:
        memory._client.queries.sightings.note("alice", receipt.sequence)
        [message] = await memory.resource("alice").messages()
        assert message.sequence == receipt.sequence


async def test_a_caller_that_gives_up_takes_nothing_away_from_the_others(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    first, second = (
        asyncio.create_task(thread.append(image(LARGE * 100, id))) for id in ("m1", "m2")
    )
    while not memory._client.blobs._storing:  # noqa: ASYNC110 - the other tasks have no event.
        await asyncio.sleep(0)
    first.cancel()
    await second
    [message] = await thread.messages()
    assert message.id == "m2"
    uri = Attachment(LARGE * 100).data_uri()
    assert (await memory.resource("alice").resolve(message)).content == image(uri)["content"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"sha256": "x"},
        {"sha256": SHA256, "chunk": -1},
        {"sha256": SHA256, "chunk": 128},
        {"sha256": SHA256, "from_copy": "bot.u.1"},
        {"sha256": SHA256, "from_copy": "*.>.1", "chunk": 0},
    ],
)
async def test_odd_questions_are_refused(memory: Memory, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        await memory._client.queries.ask("attachment", "alice", arguments)


async def test_base64_of_a_chunk_fits_an_answer(memory: Memory) -> None:
    data = random.Random(2).randbytes(CHUNK_BYTES_MAX)
    alice = memory.resource("a" * 256)
    await alice.thread("t").append(image(data))
    [message] = await alice.thread("t").messages()
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    assert (await alice.resolve(message)).content == image(uri)["content"]


async def test_a_clone_for_another_resource_takes_its_attachments_along(memory: Memory) -> None:
    source = memory.resource("alice").thread("t")
    await source.append([image(), image(id="m2")])
    clone = await source.clone("copy", resource="bob")
    bob = memory.resource("bob")
    assert [m.content for m in await bob.resolve(await clone.thread.messages())] == [
        image()["content"]
    ] * 2
