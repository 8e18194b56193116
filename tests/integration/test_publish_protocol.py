"""A publish lands exactly once, whatever happens to the connection: cut at every step, for real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats.aio.client import Client

import memfold
from memfold import Memory, RevisionConflict
from memfold.building import Prepared, new_id
from memfold.ids import encode_token
from memfold.jetstream import api
from memfold.streams import ensure_streams
from memfold.wire import Recorded
from support.broker import Broker, bare_client, running_broker, stored
from support.proxy import Cut, Part, Proxy, running_proxy

pytestmark = [pytest.mark.integration, pytest.mark.faults]

PUBLISH = b"HPUB memfold.publish."
ACK = b'"stream":"memfold"'
LEADER_ANSWER = b"stream_msg_get_response"

BEFORE = Cut("server", PUBLISH, Part.NOTHING)
HALF = Cut("server", PUBLISH, Part.HALF)
# The server takes it, but nobody is there any more to hear so.
LANDED = Cut("client", ACK, Part.NOTHING)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with running_broker(tmp_path) as running:
        async with bare_client(running.url) as client:
            await ensure_streams(client, "memfold")
        yield running


@pytest.fixture
async def proxy(broker: Broker) -> AsyncIterator[Proxy]:
    async with running_proxy(broker.url) as running:
        yield running


@pytest.fixture
async def memory(proxy: Proxy) -> AsyncIterator[Memory]:
    async with memfold.connect(proxy.url, actor="bot") as opened:
        yield opened


@pytest.fixture
async def bare(broker: Broker) -> AsyncIterator[Client]:
    async with bare_client(broker.url) as client:
        yield client


@asynccontextmanager
async def other_writer(broker: Broker) -> AsyncGenerator[Memory, None]:
    """Open a second publisher that no cut touches."""
    async with memfold.connect(broker.url, actor="other") as opened:
        yield opened


def contents(recorded: list[Recorded]) -> list[Any]:
    """Return the content of every memory update in the stream, in order."""
    parsed = [orjson.loads(message.payload) for message in recorded]
    events = [e for item in parsed for e in (item if isinstance(item, list) else [item])]
    return [event["data"]["content"] for event in events]


def fresh(cut: Cut, meanwhile: Callable[[], Awaitable[object]] | None = None) -> Cut:
    copy = Cut(cut.to, cut.pattern, cut.part)
    if meanwhile is not None:
        copy.meanwhile = meanwhile
    return copy


STEPS = {
    "before": [BEFORE],
    "half": [HALF],
    "landed": [LANDED],
    "twice before": [BEFORE, BEFORE],
    "before, then landed": [BEFORE, LANDED],
    "landed, then the ack of the retry": [LANDED, LANDED],
    "landed, then the leader's answer": [LANDED, Cut("client", LEADER_ANSWER)],
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("with_expected", [False, True])
async def test_a_write_cut_off_at_any_step_lands_once(
    step: str, with_expected: bool, proxy: Proxy, memory: Memory, bare: Client
) -> None:
    working = memory.resource("alice").working_memory
    first = await working.merge({"n": 1})
    # With an expected sequence the retry of a landed write gets an error, not an acknowledgement.
    proxy.cuts = [
        fresh(cut)
        for index, cut in enumerate(STEPS[step])
        if not (with_expected and index and cut.pattern == ACK and STEPS[step][0] is LANDED)
    ]
    cuts = list(proxy.cuts)
    second = await working.merge({"n": 2}, expected=first.sequence if with_expected else None)
    assert all(cut.done.is_set() for cut in cuts)
    assert contents(await stored(bare, "memfold")) == [{"n": 1}, {"n": 2}]
    assert second.sequence == first.sequence + 1
    assert second.duplicate is ("landed" in step)
    third = await working.merge({"n": 3}, expected=second.sequence)
    assert third.sequence == second.sequence + 1


async def test_another_writer_after_ours_landed_is_no_conflict(
    broker: Broker, proxy: Proxy, memory: Memory, bare: Client
) -> None:
    working = memory.resource("alice").working_memory
    first = await working.merge({"n": 1})
    async with other_writer(broker) as other:
        theirs = other.resource("alice").working_memory
        proxy.cuts = [fresh(LANDED, lambda: theirs.merge({"theirs": 1}))]
        second = await working.merge({"n": 2}, expected=first.sequence)
        assert second.sequence == 2
        assert contents(await stored(bare, "memfold")) == [{"n": 1}, {"n": 2}, {"theirs": 1}]
        with pytest.raises(RevisionConflict):
            await working.merge({"n": 3}, expected=second.sequence)


@pytest.mark.parametrize("step", [BEFORE, HALF], ids=["before", "half"])
async def test_another_writer_before_ours_landed_is_a_conflict(
    step: Cut, broker: Broker, proxy: Proxy, memory: Memory, bare: Client
) -> None:
    working = memory.resource("alice").working_memory
    first = await working.merge({"n": 1})
    async with other_writer(broker) as other:
        theirs = other.resource("alice").working_memory
        proxy.cuts = [fresh(step, lambda: theirs.merge({"theirs": 1}))]
        with pytest.raises(RevisionConflict):
            await working.merge({"n": 2}, expected=first.sequence)
        assert contents(await stored(bare, "memfold")) == [{"n": 1}, {"theirs": 1}]


async def test_equal_content_of_another_writer_is_not_taken_for_ours(
    broker: Broker, proxy: Proxy, memory: Memory
) -> None:
    working = memory.resource("alice").working_memory
    async with other_writer(broker) as other:
        theirs = other.resource("alice").working_memory
        first = await working.merge({"n": 1})
        proxy.cuts = [fresh(BEFORE, lambda: theirs.merge({"n": 2}))]
        with pytest.raises(RevisionConflict):
            await working.merge({"n": 2}, expected=first.sequence)


async def test_own_no_ops_count_as_revisions(memory: Memory) -> None:
    working = memory.resource("alice").working_memory
    receipt = await working.merge({"n": 1})
    for _ in range(3):
        receipt = await working.merge({"n": 1}, expected=receipt.sequence)
    assert receipt.sequence == 4
    with pytest.raises(RevisionConflict):
        await working.merge({"n": 1}, expected=receipt.sequence - 1)


async def test_writes_of_other_documents_are_no_conflict(memory: Memory) -> None:
    alice = memory.resource("alice")
    first = await alice.working_memory.merge({"n": 1})
    await alice.thread("t").working_memory.merge({"n": 1})
    await alice.thread("t").append({"role": "user", "content": "hello"})
    await memory.resource("bob").working_memory.merge({"n": 1})
    assert (await alice.working_memory.merge({"n": 2}, expected=first.sequence)).sequence == 5


async def test_a_revision_of_another_document_is_a_conflict(memory: Memory) -> None:
    """A number above the document's last sequence is not taken for "nothing came after it"."""
    alice = memory.resource("alice")
    await alice.working_memory.merge({"n": 1})
    other = await memory.resource("bob").working_memory.merge({"n": 1})
    with pytest.raises(RevisionConflict):
        await alice.working_memory.merge({"n": 2}, expected=other.sequence)


async def test_the_first_write_with_expected_nothing_wins_alone(
    broker: Broker, memory: Memory
) -> None:
    async with other_writer(broker) as other:
        writes = [
            opened.resource("alice").working_memory.merge({"from": opened.actor}, expected=0)
            for opened in (memory, other)
        ]
        results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, RevisionConflict) for result in results) == 1


def merge_event(memory: Memory, id: str, content: dict[str, Any]) -> Prepared:
    raw = {
        "specversion": "1.0",
        "id": id,
        "type": "WorkingMemoryUpdated",
        "source": memory.actor,
        "data": {"scope": "resource", "mode": "merge", "content": content},
    }
    return memory.prepare(raw, resource="alice", thread=None, facet="memory")


async def test_a_foreign_event_with_our_msg_id_does_not_swallow_ours(
    memory: Memory, bare: Client
) -> None:
    ours = merge_event(memory, "e1", {"ours": True})
    foreign = merge_event(memory, "e1", {"ours": False})
    await bare.jetstream().publish(
        "memfold.publish.alice._.memory.bot",
        foreign.payload,
        headers={"Nats-Msg-Id": f"alice.{encode_token('e1')}"},
    )
    receipt = await memory.publish([ours])
    assert (receipt.sequence, receipt.duplicate) == (2, False)
    assert contents(await stored(bare, "memfold")) == [{"ours": False}, {"ours": True}]


async def test_publishing_an_event_again_finds_it_even_inside_a_batch(
    memory: Memory, bare: Client
) -> None:
    events = [merge_event(memory, new_id(), {"n": n}) for n in range(3)]
    first = await memory.publish(events)
    again = await memory.publish(events)
    alone = await memory.publish(events[:2])
    assert (again.sequence, again.index, again.duplicate) == (first.sequence, 0, True)
    assert (alone.sequence, alone.index, alone.duplicate) == (first.sequence, 0, True)
    assert len(await stored(bare, "memfold")) == 1


async def test_a_server_killed_and_started_again_loses_and_repeats_nothing(
    broker: Broker, memory: Memory, bare: Client
) -> None:
    alice = memory.resource("alice")

    async def append(writer: int) -> None:
        for n in range(40):
            id = f"{writer}-{n}"
            await alice.thread(f"t{writer % 4}").append({"id": id, "role": "user", "content": id})

    writers = [asyncio.ensure_future(append(n)) for n in range(16)]
    interrupted = 0
    for _ in range(3):
        # Kill it in the middle of the work: when it holds some more messages.
        held = (await api(bare, "STREAM.INFO.memfold"))["state"]["messages"]
        while (await api(bare, "STREAM.INFO.memfold"))["state"]["messages"] < held + 3:
            if all(writer.done() for writer in writers):
                break
        interrupted += not all(writer.done() for writer in writers)
        await broker.kill()
        await broker.start()
        await bare.flush()
    await asyncio.gather(*writers)
    assert interrupted
    parsed = [orjson.loads(message.payload) for message in await stored(bare, "memfold")]
    events = [e for item in parsed for e in (item if isinstance(item, list) else [item])]
    ids = [event["data"]["message"]["id"] for event in events]
    assert sorted(ids) == sorted(f"{writer}-{n}" for writer in range(16) for n in range(40))
    for writer in range(16):
        own = [id for id in ids if id.split("-")[0] == str(writer)]
        assert own == [f"{writer}-{n}" for n in range(40)]
