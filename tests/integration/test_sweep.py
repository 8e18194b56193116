"""Sweeping: what nobody refers to goes for good, what anybody needs stays, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

import memfold
import memfold_consumers.attached
import memfold_consumers.blobs
from memfold import Attachment, Memory, MessageView, NotFound, NotYetConsistent, Receipt
from memfold.canonical import encode
from memfold.chunks import CHUNK_BYTES_MAX, Copy, chunk_subject
from memfold.jetstream import JetStreamError
from memfold_consumers.blob_stream import BlobStream, Listing
from memfold_consumers.copies import Copies
from memfold_consumers.settings import EngineSettings
from memfold_consumers.sweeping import Sweeper, Swept, delete_attachments
from support.broker import Broker, bare_client, running_broker
from support.engine import running_engine

pytestmark = pytest.mark.integration

LARGE = random.Random(1).randbytes(CHUNK_BYTES_MAX + 40_000)
SHA256 = hashlib.sha256(LARGE).hexdigest()
BLOB = ("alice", SHA256)


@dataclass
class World:
    """A broker with an engine, a client, and a bare connection that may do all."""

    broker: Broker
    memory: Memory
    bare: Client
    stream: BlobStream

    async def references(self, resource: str, hashes: Sequence[str], min_sequence: int) -> set[str]:
        answer = await self.memory._client.queries.ask(
            "attachments", resource, {"hashes": list(hashes)}, min_sequence=min_sequence
        )
        return set(answer["referred"])

    async def sweep(self, older_than_s: float = 0.0, *, dry_run: bool = False) -> Swept:
        copies = Copies(self.stream)
        sweeper = Sweeper(
            self.stream, copies, self.references, older_than_s=older_than_s, dry_run=dry_run
        )
        return await sweeper.run()

    async def copies(self, resource: str = "alice", sha256: str = SHA256) -> set[Copy]:
        return set((await self.stream.list_copies(resource, sha256)).copies)

    async def store(
        self, upload: str, data: bytes = LARGE, *, chunks: Sequence[int] = (0, 1)
    ) -> None:
        """Store a copy under the hash of ``LARGE``, or some of its chunks."""
        copy = Copy("bot", upload, 2)
        for index in chunks:
            chunk = data[index * CHUNK_BYTES_MAX : (index + 1) * CHUNK_BYTES_MAX]
            await self.bare.request(chunk_subject("memfold", *BLOB, copy, index), chunk, timeout=5)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "engine").mkdir()
    async with (
        running_broker(tmp_path) as broker,
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot") as memory,
        bare_client(broker.url) as bare,
    ):
        # Without a single event the stream would pass for a lost one.
        await (await memory.resource("carol").working_memory.merge({"n": 1})).applied()
        yield World(broker, memory, bare, BlobStream(bare, "memfold"))


def image(data: bytes = LARGE, id: str = "m1") -> dict[str, Any]:
    return {"id": id, "role": "user", "content": [{"type": "image", "url": data}]}


def url(message: MessageView) -> Any:  # noqa: ANN401  # a data URI, or a reference
    """Return what stands in a message for its image."""
    content: Any = message.content
    return content[0]["url"]


async def test_an_orphan_goes_once_it_is_old_and_what_is_referred_to_stays(world: World) -> None:
    await world.store("orphan")
    other = random.Random(2).randbytes(20_000)
    alice = world.memory.resource("alice")
    await alice.thread("t").append(image(other))
    kept = await world.sweep(3600)
    assert (kept.attachments, kept.orphans, kept.young, kept.chunks) == (2, 1, 1, 0)
    looked = await world.sweep(dry_run=True)
    assert (looked.orphans, looked.copies, looked.chunks, looked.bytes) == (1, 1, 2, len(LARGE))
    assert await world.copies() != set()
    assert (await world.sweep()).to_json() == looked.to_json()
    assert await world.copies() == set()
    again = await world.sweep()
    assert (again.attachments, again.orphans, again.chunks) == (1, 0, 0)
    [message] = await alice.thread("t").messages()
    assert url(await alice.resolve(message)) == Attachment(other).data_uri()


async def test_of_many_copies_one_good_one_stays(world: World) -> None:
    await world.store("0", LARGE[::-1])
    await world.store("1", chunks=[1])
    alice = world.memory.resource("alice")
    await (await alice.thread("t").append(image())).applied()
    await world.store("2")
    await world.store("3")
    await world.store("3", LARGE[::-1])
    swept = await world.sweep()
    assert (swept.orphans, swept.damaged) == (0, [])
    assert len(await world.copies()) == 1
    [message] = await alice.thread("t").messages()
    assert (await alice.resolve(message)).content == [
        {"type": "image", "url": Attachment(LARGE).data_uri()}
    ]


async def test_two_sweeps_at_once_keep_the_same_copy(world: World) -> None:
    await (await world.memory.resource("alice").thread("t").append(image())).applied()
    for upload in "0123456789":
        await world.store(upload)
    await asyncio.gather(*(world.sweep() for _ in range(4)))
    [kept] = await world.copies()
    found = await Copies(world.stream).find(BLOB, await world.stream.list_copies(*BLOB))
    assert found is not None
    assert found[0] == kept


async def test_a_bad_copy_stays_where_there_is_no_good_one(world: World) -> None:
    await world.store("0", LARGE[::-1])
    await world.store("1", LARGE[::-1])
    await world.store("2", chunks=[0])
    reference = {
        "sha256": SHA256,
        "size": len(LARGE),
        "media_type": "image/png",
        "head": "data:image/png;base64,",
        "body": "base64",
    }
    parts = [{"url": {"attachment": reference}}]
    await world.memory.resource("alice").thread("t").append({"role": "user", "content": parts})
    swept = await world.sweep()
    assert swept.damaged == [BLOB]
    assert {copy.upload for copy in await world.copies()} == {"0", "1"}


async def test_foreign_subjects_are_counted_and_left_alone(world: World) -> None:
    for subject in ("memfold.blob.x", f"memfold.blob.*.{SHA256}.bot.u.1.0", "memfold.blob.a.>"):
        await world.bare.request(subject, b"x", timeout=5)
    assert (await world.sweep()).foreign == 3
    assert (await world.sweep()).foreign == 3


async def test_references_of_events_without_effect_count_too(world: World) -> None:
    alice = world.memory.resource("alice")
    rejected = await alice.thread("t").update_message("nobody's", content=image()["content"])
    assert [each.kind for each in await rejected.outcomes()] == ["rejected"]
    parked = random.Random(3).randbytes(20_000)
    await alice.thread("t").append(image(parked))
    [message] = await alice.thread("t").messages()
    await alice.thread("t").delete_messages("m1")
    other = world.memory.resource("bob")
    await other.thread("t").append(image(parked))
    reference = url(message)
    event = memfold.Message(role="user", content=[{"x": reference}]).to_json()
    await world.bare.request(
        "memfold.publish.alice.t.messages.bot", encode({"data": event}), timeout=5
    )
    swept = await world.sweep()
    assert (swept.attachments, swept.orphans, swept.copies) == (3, 0, 0)


async def test_nothing_is_deleted_while_the_events_are_not_known(world: World) -> None:
    await world.store("orphan")

    async def behind(resource: str, hashes: Sequence[str], min_sequence: int) -> set[str]:
        message = "not there yet"
        raise NotYetConsistent(message)

    sweeper = Sweeper(world.stream, Copies(world.stream), behind, older_than_s=0)
    with pytest.raises(NotYetConsistent):
        await sweeper.run()
    assert len(await world.copies()) == 1


class Clocked(BlobStream):
    """A blob stream whose clock stands still: all that is stored from now on stays young."""

    now_ns = 0

    async def list_copies(self, resource: str, sha256: str) -> Listing:
        listing = await super().list_copies(resource, sha256)
        listing.now_ns = self.now_ns = self.now_ns or listing.now_ns
        return listing


async def test_appends_beside_sweeps_lose_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that is there but swept in the next moment is never relied on."""
    files = [random.Random(n).randbytes(20_000) for n in range(40)]
    stream = Clocked(world.bare, "memfold")
    for file in files:
        copy = Copy("bot", "orphan", 1)
        sha256 = hashlib.sha256(file).hexdigest()
        subject = chunk_subject("memfold", "alice", sha256, copy, 0)
        await world.bare.request(subject, file, timeout=5)
    await stream.list_copies("alice", SHA256)
    # The orphans are old from here on: for sweeps, and as engines tell it to writers.
    monkeypatch.setattr(memfold_consumers.blobs, "NS_PER_S", 1)
    alice = world.memory.resource("alice")
    ended = asyncio.Event()

    async def sweep() -> int:
        chunks = 0
        while not ended.is_set():
            sweeper = Sweeper(stream, Copies(stream), world.references, older_than_s=0)
            chunks += (await sweeper.run()).chunks
        return chunks

    sweeping = [asyncio.create_task(sweep()) for _ in range(2)]
    for start in range(0, len(files), 4):
        await asyncio.gather(
            *(
                alice.thread(f"t{n}").append(image(files[n], f"m{n}"))
                for n in range(start, start + 4)
                for _ in range(2)
            )
        )
    ended.set()
    assert sum(await asyncio.gather(*sweeping)) > 0
    messages = await alice.resolve(await alice.messages())
    found = {message.id: url(message) for message in messages}
    assert found == {f"m{n}": Attachment(file).data_uri() for n, file in enumerate(files)}


async def test_an_old_copy_that_no_event_refers_to_is_not_relied_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep comes between the question whether it is there and the event: the worst moment."""
    client = world.memory._client
    publish = client.publish
    stream = Clocked(world.bare, "memfold")
    await world.store("orphan")
    await stream.list_copies(*BLOB)
    monkeypatch.setattr(memfold_consumers.blobs, "NS_PER_S", 1)

    async def swept(*arguments: Any, **named: Any) -> Receipt:  # noqa: ANN401  # whatever it takes
        sweeper = Sweeper(stream, Copies(stream), world.references, older_than_s=0)
        assert (await sweeper.run()).copies == 1
        return await publish(*arguments, **named)

    monkeypatch.setattr(client, "publish", swept)
    alice = world.memory.resource("alice")
    await alice.thread("t").append(image())
    [message] = await alice.thread("t").messages()
    assert url(await alice.resolve(message)) == Attachment(LARGE).data_uri()


async def test_a_write_that_took_too_long_stores_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop that slept between attachment and event: the sweep came first, and all is well."""
    client = world.memory._client
    publish, now = client.publish, time.time

    async def slept(*arguments: Any, **named: Any) -> Receipt:  # noqa: ANN401  # whatever it takes
        assert (await world.sweep()).chunks == 2
        monkeypatch.setattr(time, "time", lambda: now() + 7200)
        return await publish(*arguments, **named)

    monkeypatch.setattr(client, "publish", slept)
    alice = world.memory.resource("alice")
    await alice.thread("t").append(image())
    [message] = await alice.thread("t").messages()
    assert url(await alice.resolve(message)) == Attachment(LARGE).data_uri()


async def test_the_engine_sweeps_by_itself_if_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memfold_consumers.attached, "OLDER_THAN_S", 0.0)
    (tmp_path / "engine").mkdir()
    settings = EngineSettings(data=tmp_path / "engine", sweep_s=0.01)
    async with (
        running_broker(tmp_path) as broker,
        running_engine(broker.url, settings.data, settings=settings),
        memfold.connect(broker.url, actor="bot") as memory,
        bare_client(broker.url) as bare,
    ):
        world = World(broker, memory, bare, BlobStream(bare, "memfold"))
        await memory.resource("carol").working_memory.merge({"n": 1})
        await world.store("orphan")
        async with asyncio.timeout(30):
            while await world.copies():  # noqa: ASYNC110 - another task's doing.
                await asyncio.sleep(0.01)


def on_disk(broker: Broker, data: bytes) -> bool:
    """Tell whether a file of the blob stream holds some of these bytes."""
    files = (broker.data / "nats").rglob("streams/memfold-blob/**/*")
    content = [file.read_bytes() for file in files if file.is_file()]
    pieces = [data[start : start + 64] for start in range(0, len(data) - 64, 4096)]
    return any(piece in each for piece in pieces for each in content)


class Failing(BlobStream):
    """A blob stream that fails after so many erasures, before one or in place of its answer."""

    left = 0
    done_first = False

    async def erase(self, sequence: int) -> bool:
        if self.left:
            self.left -= 1
            return await super().erase(sequence)
        if self.done_first:
            await super().erase(sequence)
        raise nats.errors.TimeoutError


@pytest.mark.faults
@pytest.mark.parametrize("done_first", [False, True])
async def test_a_sweep_can_be_cut_anywhere(world: World, done_first: bool) -> None:
    alice = world.memory.resource("alice")
    await (await alice.thread("t").append(image())).applied()
    await world.store("surplus")
    await world.store("part", chunks=[1])
    failing = Failing(world.bare, "memfold")
    failing.done_first = done_first
    for left in range(2):
        failing.left = left
        with pytest.raises(nats.errors.TimeoutError):
            await Sweeper(
                failing, Copies(failing), world.references, older_than_s=0, dry_run=False
            ).run()
    await world.sweep()
    assert len(await world.copies()) == 1
    [message] = await alice.thread("t").messages()
    assert url(await alice.resolve(message)) == Attachment(LARGE).data_uri()


@pytest.mark.faults
@pytest.mark.parametrize("done_first", [False, True])
async def test_deletion_leaves_no_byte_and_can_be_cut_anywhere(
    world: World, done_first: bool
) -> None:
    alice = world.memory.resource("alice")
    await (await alice.thread("t").append(image())).applied()
    await world.store("second")
    await world.store("third", chunks=[1])
    await world.bare.request(f"memfold.blob.alice.{SHA256}.bot.odd", LARGE[:9000], timeout=5)
    other = random.Random(2).randbytes(20_000)
    await alice.thread("t").append(image(other, "m2"))
    assert on_disk(world.broker, LARGE)
    failing = Failing(world.bare, "memfold")
    failing.done_first = done_first
    for left in range(6 if not done_first else 3):
        failing.left = 1 if left else 0
        with pytest.raises(nats.errors.TimeoutError):
            await delete_attachments(failing, "alice", [SHA256])
    await delete_attachments(world.stream, "alice", [SHA256])
    assert await delete_attachments(world.stream, "alice", [SHA256]) == 0
    assert not on_disk(world.broker, LARGE)
    assert on_disk(world.broker, other)
    [first, second] = await alice.thread("t").messages()
    with pytest.raises(NotFound):
        await alice.resolve(first)
    assert url(await alice.resolve(second)) == Attachment(other).data_uri()
    # What was deleted can be stored again.
    await alice.thread("t").append(image(id="m3"))
    assert url(await alice.resolve(first)) == Attachment(LARGE).data_uri()


async def test_deletion_stays_with_its_resource(world: World) -> None:
    for name in ("alice", "bob"):
        await world.memory.resource(name).thread("t").append(image())
    assert await delete_attachments(world.stream, "alice", [SHA256]) == 2
    assert await world.copies("alice") == set()
    assert len(await world.copies("bob")) == 1


async def test_without_a_stream_deletion_says_so(world: World) -> None:
    with pytest.raises(JetStreamError):
        await delete_attachments(BlobStream(world.bare, "other"), "alice", [SHA256])
