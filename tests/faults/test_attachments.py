"""A publisher that dies while it stores an attachment, and a server that dies under it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import memfold
from faults.attacher import content
from memfold.chunks import CHUNK_BYTES_MAX
from memfold_consumers.blob_stream import BlobStream
from memfold_consumers.copies import Copies
from memfold_consumers.sweeping import Sweeper, Swept
from support.broker import bare_client, running_broker
from support.engine import running_engine

pytestmark = pytest.mark.faults

ATTACHER = Path(__file__).with_name("attacher.py")
CHUNKS = 6
SIZE = CHUNKS * CHUNK_BYTES_MAX - 1000


async def attach(url: str, kill: int) -> int:
    """Run the publisher and return what it ended with."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ATTACHER), url, str(SIZE), str(kill)
    )
    return await process.wait()


async def until_stored(stream: BlobStream, *, copies: int) -> None:
    """Wait until the server has put into the stream what a dead publisher had sent."""
    async with asyncio.timeout(30):
        while True:
            found, _ = await stream.list_all()
            if [len(each) for each in found.values()] == [copies]:
                return
            await asyncio.sleep(0.01)


async def sweep(stream: BlobStream, memory: memfold.Memory) -> Swept:
    async def references(resource: str, hashes: Any, min_sequence: int) -> set[str]:  # noqa: ANN401
        answer = await memory._client.queries.ask(
            "attachments", resource, {"hashes": list(hashes)}, min_sequence=min_sequence
        )
        return set(answer["referred"])

    return await Sweeper(stream, Copies(stream), references, older_than_s=0).run()


@pytest.mark.parametrize("kill", [1, 2, CHUNKS // 2, CHUNKS, CHUNKS + 1])
async def test_a_publisher_that_dies_leaves_nothing_that_is_half(tmp_path: Path, kill: int) -> None:
    """Killed between any two chunks, or before the event: doing it again heals."""
    (tmp_path / "engine").mkdir()
    async with (
        running_broker(tmp_path) as broker,
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="reader") as memory,
        bare_client(broker.url) as bare,
    ):
        stream = BlobStream(bare, "memfold")
        assert await attach(broker.url, kill) == -signal.SIGKILL
        await until_stored(stream, copies=1)
        if kill > CHUNKS:
            async with asyncio.timeout(30):
                while not await stream.last_event():  # noqa: ASYNC110 - the server's doing.
                    await asyncio.sleep(0.01)
        last = await stream.last_event()
        assert last == (1 if kill > CHUNKS else 0)
        alice = memory.resource("alice")
        if not last:
            assert await alice.messages() == []
        assert await attach(broker.url, -1) == 0
        memory._client.queries.sightings.note("alice", last + 1)
        swept = await sweep(stream, memory)
        assert (swept.orphans, swept.damaged) == (0, [])
        [(blob, copies)] = (await stream.list_all())[0].items()
        assert len(copies) == 1
        assert len((await stream.list_copies(*blob)).complete()) == 1
        [message] = await alice.messages()
        parts: Any = message.content
        found = await alice.attachment(parts[0]["data"])
        assert found == memfold.Attachment(content(SIZE), "video/mp4")


async def test_what_a_dead_publisher_has_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    async with (
        running_broker(tmp_path) as broker,
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="reader") as memory,
        bare_client(broker.url) as bare,
    ):
        stream = BlobStream(bare, "memfold")
        for kill in (2, CHUNKS):
            assert await attach(broker.url, kill) == -signal.SIGKILL
        await until_stored(stream, copies=2)
        with pytest.raises(memfold.LogDiverged):
            await sweep(stream, memory)
        assert len((await stream.list_all())[0]) == 1
        await memory.resource("bob").working_memory.merge({"n": 1})
        swept = await sweep(stream, memory)
        assert (swept.attachments, swept.orphans, swept.copies) == (1, 1, 2)
        assert await stream.list_all() == ({}, 0)


async def test_a_server_that_dies_meanwhile_delays_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    async with (
        running_broker(tmp_path, "") as broker,
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot", timeout_s=60) as memory,
        bare_client(broker.url) as bare,
    ):
        stream = BlobStream(bare, "memfold")
        alice = memory.resource("alice")
        part = {"type": "file", "data": content(SIZE)}
        appending = asyncio.create_task(
            alice.thread("t").append({"id": "m1", "role": "user", "content": [part]})
        )
        async with asyncio.timeout(30):
            while not (await stream.list_all())[0]:  # noqa: ASYNC110 - another connection's doing.
                await asyncio.sleep(0)
        await broker.kill()
        await broker.start()
        await (await appending).applied(timeout=60)
        [message] = await alice.messages()
        parts: Any = message.content
        assert (await alice.attachment(parts[0]["data"])).data == content(SIZE)
