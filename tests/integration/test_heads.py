"""Leaves and heads on the audit stream: one series, whoever publishes it, and never another's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import memfold
from memfold import Memory, Message
from memfold.audit import merkle
from memfold.audit.heads import Head, encode_block, read_block, read_head
from memfold.errors import LogDiverged
from memfold.leaf import leaf_hash
from memfold_consumers.settings import EngineSettings
from support.broker import Broker, bare_client, running_broker, stored
from support.engine import running_engine

pytestmark = pytest.mark.integration


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as running:
        yield running


def settings(data: Path, head_s: float = 0.05) -> EngineSettings:
    return EngineSettings(data=data, head_s=head_s)


async def write(memory: Memory, first: int, count: int) -> None:
    thread = memory.resource("alice").thread("t")
    receipts = [
        await thread.append(Message(id=f"m{number}", role="user", content="hi"))
        for number in range(first, first + count)
    ]
    await receipts[-1].applied()


async def read_on(memory: Memory) -> None:
    while True:
        await memory.resource("alice").thread("t").get()


async def published(url: str) -> tuple[list[bytes], list[Head]]:
    """Return all leaves and heads of the audit stream; each block follows the one before."""
    async with bare_client(url) as bare:
        leaves: list[bytes] = []
        heads: list[Head] = []
        for message in await stored(bare, "memfold-audit"):
            if message.subject == "memfold.audit.leaves":
                first, block = read_block(message.payload)
                assert first == len(leaves) + 1
                leaves += block
            else:
                heads.append(read_head(message.payload))
        return leaves, heads


async def check_series(url: str) -> tuple[list[bytes], list[Head]]:
    """Hold what is published against leaves and roots computed from the stream itself."""
    leaves, heads = await published(url)
    async with bare_client(url) as bare:
        assert leaves == [leaf_hash(message) for message in await stored(bare, "memfold")]
    for head in heads:
        assert head.root == merkle.root(leaves[: head.size])
    sizes = [head.size for head in heads]
    assert sizes == sorted(set(sizes))
    return leaves, heads


async def test_an_orderly_stop_leaves_all_leaves_and_a_head_of_them(
    broker: Broker, tmp_path: Path
) -> None:
    data = tmp_path / "engine"
    for number in range(3):
        async with (
            running_engine(broker.url, data, settings=settings(data, head_s=100)),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            await write(memory, number * 20, 20)
            assert (await memory.status())["audit"]["size"] == number * 20
    leaves, heads = await check_series(broker.url)
    assert len(leaves) == 60
    assert [head.size for head in heads] == [20, 40, 60]
    lines = (data / "heads.ndjson").read_bytes().splitlines()
    assert [read_head(line) for line in lines] == heads
    assert not (data / "incidents.ndjson").exists()


async def test_two_engines_publish_one_series(broker: Broker, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    async with (
        running_engine(broker.url, first, settings=settings(first, 0.01)),
        running_engine(broker.url, second, settings=settings(second, 0.013)),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        await write(memory, 0, 200)
    for number, data in enumerate((first, second)):
        async with (
            running_engine(broker.url, data, settings=settings(data)),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            await write(memory, 200 + 50 * number, 50)
    leaves, heads = await check_series(broker.url)
    assert (len(leaves), heads[-1].size) == (300, 300)
    assert len({head.engine for head in heads}) == 2
    for data in (first, second):
        for line in (data / "heads.ndjson").read_bytes().splitlines():
            head = read_head(line)
            assert head.root == merkle.root(leaves[: head.size])


async def test_an_engine_stops_at_the_first_leaf_that_is_not_its_own(
    broker: Broker, tmp_path: Path
) -> None:
    data = tmp_path / "engine"
    async with (
        running_engine(broker.url, data, settings=settings(data, head_s=100)),
        memfold.connect(broker.url, actor="bot") as memory,
        bare_client(broker.url) as bare,
    ):
        await write(memory, 0, 30)
        leaves = [leaf_hash(message) for message in await stored(bare, "memfold")]
        leaves[16] = bytes(32)
        await bare.jetstream().publish("memfold.audit.leaves", encode_block(1, leaves))
    for _ in range(2):
        async with (
            running_engine(broker.url, data, settings=settings(data)),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            with pytest.raises(LogDiverged, match="message 17 is the first"):
                await read_on(memory)
            halted = (await memory.status())["halted"]
            assert halted["code"] == "log_diverged"
            assert "message 17 is the first" in halted["message"]
