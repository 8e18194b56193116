"""A client and a real engine: reading its own writes, outcomes, pages, writes that need one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import memfold
from memfold import Memory, Message, Rejected, RevisionConflict
from memfold.jetstream import api
from memfold.streams import ensure_streams
from memfold.wire import Recorded
from memfold_consumers.intake import Intake
from support.broker import Broker, bare_client, running_broker, stored
from support.engine import running_engine
from support.proxy import Cut, running_proxy

pytestmark = pytest.mark.integration

PERMISSIONS = """
authorization { users: [
  { user: engine, password: e }
  { user: bot, password: b, permissions: {
      publish: ["memfold.publish.*.*.*.bot", "memfold.query.>"]
      subscribe: ["_INBOX_bot.>"] } }
] }
"""
AS_BOT: dict[str, Any] = {"user": "bot", "password": "b", "inbox_prefix": "_INBOX_bot"}


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    async with running_broker(tmp_path / "broker", PERMISSIONS) as running:
        url = running.url.replace("nats://", "nats://engine:e@")
        async with running_engine(url, tmp_path / "engine"):
            yield running


@pytest.fixture
async def memory(broker: Broker) -> AsyncIterator[Memory]:
    async with memfold.connect(broker.url, actor="bot", **AS_BOT) as opened:
        yield opened


async def test_a_user_with_an_inbox_of_its_own_is_told_where_to_name_it(broker: Broker) -> None:
    """Not an option that a command has not: whoever reads it may have typed either."""
    with pytest.raises(memfold.PublishDenied, match=r"subscribe to _INBOX\.>: give connect\(\)"):
        async with memfold.connect(broker.url, actor="bot", user="bot", password="b"):
            pass


async def test_an_agent_reads_what_it_has_just_written(memory: Memory) -> None:
    alice = memory.resource("alice")
    thread = alice.thread("t")
    for n in range(20):
        await thread.append(Message(id=f"m{n}", role="user", content="hi"))
        await alice.working_memory.merge({"n": n})
        snapshot = await thread.snapshot(last=1)
        assert [message.id for message in snapshot.messages] == [f"m{n}"]
        assert snapshot.working_memory is not None
        assert snapshot.working_memory.content == {"n": n}


async def test_outcomes_are_told_and_bad_ones_raised(memory: Memory) -> None:
    alice = memory.resource("alice")
    said = await alice.thread("t").append(Message(role="user", content="I moved to Berlin"))
    assert await said.applied() == "applied"
    first = await alice.working_memory.merge({"city": "Berlin"}, because=said)
    assert await first.applied() == "applied"
    again = await alice.working_memory.merge({"city": "Berlin"})
    assert await again.applied() == "unchanged"
    update = await alice.thread("unknown").update(title="x")
    with pytest.raises(Rejected) as caught:
        await update.applied()
    assert caught.value.reason == "thread_unknown"
    change = (await alice.history(after=(first.sequence - 1, 999), limit=1))[0]
    assert change.causation == said.event_ids[0]
    assert change.data["evidence"] == [{"thread": "t", "message": said.messages[0][1]}]


async def test_a_batch_tells_the_outcome_of_each_event(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    await thread.append([Message(id=id, role="user", content="x") for id in "abc"])
    receipt = await thread.delete_messages(["a", "nobody's"])
    assert [outcome.kind for outcome in await receipt.outcomes()] == ["applied", "unchanged"]
    assert await receipt.applied() == "applied"
    assert [message.id for message in await thread.messages()] == ["b", "c"]


async def test_a_list_that_does_not_fit_one_reply_is_joined(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    ids = [f"m{n:02}" for n in range(40)]
    for id in ids:
        await thread.append(Message(id=id, role="user", content=id * 30_000))
    assert [message.id for message in (await thread.snapshot(last=40)).messages] == ids
    assert [message.id for message in (await thread.snapshot(last=15)).messages] == ids[-15:]
    assert [message.id for message in await thread.messages()] == ids
    assert [message.id for message in await thread.messages(last=35)] == ids[-35:]
    assert [message.id for message in await thread.messages(limit=12)] == ids[:12]
    assert [change.data["message"]["id"] for change in await thread.history()] == ids


async def test_expected_nothing_holds_where_only_rejected_writes_were(memory: Memory) -> None:
    alice = memory.resource("alice")
    thread = alice.thread("t")
    with pytest.raises(Rejected):
        await (await thread.update(title="too early")).applied()
    created = await thread.create(title="now", expected=0)
    assert await created.applied() == "applied"
    with pytest.raises(RevisionConflict):
        await thread.create(expected=0)
    await thread.working_memory.append("x")
    with pytest.raises(RevisionConflict):
        await thread.working_memory.append("y", expected=0)


async def test_erasing_the_last_write_is_no_conflict(broker: Broker, memory: Memory) -> None:
    """Deleting a subject's last message moves the baseline of the stream's comparison back."""
    working = memory.resource("alice").working_memory
    await working.merge({"n": 1})
    last = await working.merge({"n": 2})
    assert await last.applied() == "applied"
    async with bare_client(broker.url.replace("nats://", "nats://engine:e@")) as bare:
        await api(bare, "STREAM.MSG.DELETE.memfold", {"seq": last.sequence})
    with pytest.raises(RevisionConflict):
        await working.merge({"n": 3}, expected=last.sequence + 1)
    assert (await working.merge({"n": 3}, expected=last.sequence)).sequence == 3


async def test_a_revision_that_was_read_can_be_expected(memory: Memory) -> None:
    working = memory.resource("alice").working_memory
    await working.merge({"n": 1})
    await working.append("rejected: not a text document")
    await working.merge({"n": 1})
    state = await working.get()
    assert state is not None
    assert await (await working.merge({"n": 2}, expected=state.revision)).applied() == "applied"
    with pytest.raises(RevisionConflict):
        await working.merge({"n": 3}, expected=state.revision)


async def test_a_handle_does_not_bring_a_deleted_thread_back(
    broker: Broker, memory: Memory
) -> None:
    mine, theirs = memory.resource("alice").thread("t"), memory.resource("alice").thread("t")
    await mine.create()
    assert await mine.get() is not None
    await theirs.delete()
    late = await mine.append(Message(role="user", content="late"))
    with pytest.raises(Rejected) as caught:
        await late.applied()
    assert caught.value.reason == "incarnation_ended"
    assert await mine.get() is None
    assert await (await mine.append(Message(role="user", content="anew"))).applied() == "applied"


async def test_known_tells_what_is_folded(memory: Memory) -> None:
    receipt = await memory.resource("alice").working_memory.merge({"n": 1})
    assert await memory.known([receipt.event_ids[0], "other"]) == [(receipt.sequence, 0), None]


@pytest.mark.faults
@pytest.mark.parametrize("with_expected", [False, True])
@pytest.mark.parametrize("with_other", [False, True])
async def test_an_agent_that_may_not_read_the_stream_asks_the_engine_instead(
    with_expected: bool, with_other: bool, broker: Broker
) -> None:
    """The agent's own write, landed before the cut, is neither a conflict nor written twice."""
    as_engine = broker.url.replace("nats://", "nats://engine:e@")
    async with (
        running_proxy(broker.url) as proxy,
        memfold.connect(proxy.url, actor="bot", **AS_BOT) as memory,
        memfold.connect(as_engine, actor="other") as other,
        bare_client(as_engine) as bare,
    ):
        await ensure_streams(bare, "memfold")
        working = memory.resource("alice").working_memory
        first = await working.merge({"n": 1})

        async def nothing() -> None:
            """Nobody writes."""

        theirs: Callable[[], Awaitable[object]] = (
            (lambda: other.resource("alice").working_memory.merge({"theirs": 1}))
            if with_other
            else nothing
        )
        proxy.cuts = [Cut("client", b'"stream":"memfold"', meanwhile=theirs)]
        expected = first.sequence if with_expected else None
        second = await working.merge({"n": 2}, expected=expected)
        assert second.sequence == first.sequence + 1
        assert len(await stored(bare, "memfold")) == 2 + with_other
        if with_other:
            with pytest.raises(RevisionConflict):
                await working.merge({"n": 3}, expected=second.sequence)


@pytest.mark.parametrize(
    "headers",
    [
        {"Status": "100"},
        {"Status": "409", "Description": "Consumer Deleted"},
        {"Nats-Msg-Id": "ä b:c"},
        {"Nats-Expected-Stream": "memfold", "X-Any": ""},
    ],
)
async def test_headers_of_a_raw_publisher_do_no_harm(
    broker: Broker, memory: Memory, headers: dict[str, str]
) -> None:
    """The event is folded; taken from a consumer or read from the leader, it is the same."""
    url = broker.url.replace("nats://", "nats://engine:e@")
    event = {
        "specversion": "1.0",
        "id": "e1",
        "type": "MessageAppended",
        "source": "raw",
        "data": {"message": {"id": "m1", "role": "user", "content": "hello"}},
    }
    async with bare_client(url) as bare:
        await bare.jetstream().publish(
            "memfold.publish.alice.t.messages.raw", orjson.dumps(event), headers=headers
        )
        raw = b"HPUB memfold.publish.alice.t.messages.raw 49 49\r\nNATS/1.0\r\n"
        raw += b"Nats-Msg-Id: one\r\nNats-Msg-Id: two \r\n\r\n\r\n"
        assert bare._transport is not None
        bare._transport.write(raw)
        await bare.flush()
        # The last write is this client's own, so its receipt says when all are folded.
        receipt = await memory.resource("bob").working_memory.merge({"n": 1})
        assert await receipt.applied() == "applied"
        thread = memory.resource("alice").thread("t")
        assert [message.id for message in await thread.messages()] == ["m1"]
        read = await stored(bare, "memfold")
        assert read[1].msg_id == "two"
        async with Intake(bare, "memfold", 0) as intake:
            taken: list[Recorded] = []
            while len(taken) < len(read):
                assert await intake.wait(10)
                taken += await intake.take()
        assert taken == read
