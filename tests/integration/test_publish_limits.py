"""What the stream or the server refuses is a typed error, and the connection lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats.aio.client import Client

import memfold
from memfold import (
    BrokerUnavailable,
    InvalidEvent,
    Memory,
    Message,
    PublishDenied,
    Receipt,
    StreamFull,
    StreamMissing,
    TooLarge,
    UnsafeStream,
)
from memfold.building import Prepared, build
from memfold.canonical import encode
from memfold.errors import EngineUnavailable, InvalidRequest
from memfold.jetstream import JetStreamError, api
from memfold.limits import EVENT_BYTES_MAX, PAYLOAD_BYTES_MAX
from memfold.streams import ensure_streams, stream_settings
from memfold.subjects import Address
from support.broker import bare_client, running_broker, stored
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


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncGenerator[tuple[Memory, Client], None]:
    """Start a server with streams; open a memory and a bare client on it."""
    async with (
        running_broker(tmp_path) as broker,
        bare_client(broker.url) as bare,
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        await ensure_streams(bare, "memfold")
        yield memory, bare


async def lives_on(memory: Memory) -> None:
    receipt = await memory.resource("alice").working_memory.merge({"still": "here"})
    assert receipt.sequence > 0
    assert memory._client.connection.client.stats["reconnects"] == 0


def content_size(payload: bytes) -> int:
    return len(encode({k: v for k, v in orjson.loads(payload).items() if k != "salt"}))


def message_of(size: int) -> dict[str, Any]:
    """Return a message whose event is exactly ``size`` bytes large, its salt not counted."""
    address = Address("alice", "t", "messages", "bot")

    def event_size(content: str) -> int:
        message = {"id": "m", "role": "user", "content": content}
        return content_size(build(address, "MessageAppended", {"message": message}).payload)

    return {"id": "m", "role": "user", "content": "x" * (size - event_size(""))}


async def test_64_tasks_at_once_land_each_exactly_once_in_few_messages(tmp_path: Path) -> None:
    async with opened(tmp_path) as (memory, bare):
        thread = memory.resource("alice").thread("t")
        receipts = await asyncio.gather(
            *(thread.append(Message(id=str(n), role="user", content="hi")) for n in range(64))
        )
        messages = await stored(bare, "memfold")
        events = {}
        for message in messages:
            parsed = orjson.loads(message.payload)
            for index, event in enumerate(parsed if isinstance(parsed, list) else [parsed]):
                events[message.sequence, index] = event["id"]
        assert len(events) == 64
        assert len(messages) <= 2
        assert {(r.sequence, r.index): r.event_ids[0] for r in receipts} == events


async def test_an_event_of_exactly_the_limit_passes_and_one_byte_more_is_typed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (memory, bare):
        thread = memory.resource("alice").thread("t")
        await thread.append(message_of(EVENT_BYTES_MAX))
        assert content_size((await stored(bare, "memfold"))[0].payload) == EVENT_BYTES_MAX
        message = message_of(EVENT_BYTES_MAX)
        with pytest.raises(TooLarge) as caught:
            await thread.append({**message, "content": message["content"] + "x"})
        assert caught.value.reason == "event_too_large"
        await lives_on(memory)


async def test_a_batch_of_exactly_the_limit_passes_and_one_byte_more_is_typed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (memory, bare):
        address = Address("alice", "t", "messages", "bot")

        def event(id: str, size: int) -> Prepared:
            def make(content: str) -> Prepared:
                raw = {"specversion": "1.0", "id": id, "type": "MessageAppended", "source": "bot"}
                body = {"id": id, "role": "user", "content": content}
                return memory.prepare(
                    {**raw, "data": {"message": body}},
                    resource=address.resource or "",
                    thread=address.thread,
                    facet=address.facet,
                )

            return make("x" * (size - len(make("").payload)))

        half = PAYLOAD_BYTES_MAX // 2
        with pytest.raises(TooLarge) as caught:
            await memory.publish([event("a", half), event("b", PAYLOAD_BYTES_MAX - half - 2)])
        assert caught.value.reason == "message_too_large"
        receipt = await memory.publish([event("a", half), event("b", PAYLOAD_BYTES_MAX - half - 3)])
        assert len((await stored(bare, "memfold"))[0].payload) == PAYLOAD_BYTES_MAX
        assert len(receipt.event_ids) == 2
        await lives_on(memory)


async def test_big_events_published_at_once_travel_in_messages_that_fit(tmp_path: Path) -> None:
    async with opened(tmp_path) as (memory, bare):
        thread = memory.resource("alice").thread("t")
        await asyncio.gather(
            *(
                thread.append(Message(role="user", content="x" * (EVENT_BYTES_MAX // 2)))
                for _ in range(9)
            )
        )
        sizes = [len(message.payload) for message in await stored(bare, "memfold")]
        assert max(sizes) <= PAYLOAD_BYTES_MAX
        assert len(sizes) == 3


async def test_more_than_1000_events_or_none_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as (memory, _):
        thread = memory.resource("alice").thread("t")
        batch = [Message(role="user", content="x") for _ in range(1001)]
        with pytest.raises(TooLarge) as too_large:
            await thread.append(batch)
        assert too_large.value.reason == "batch_too_large"
        with pytest.raises(InvalidEvent) as empty:
            await memory.publish([])
        assert empty.value.reason == "batch_empty"
        assert len((await thread.append(batch[:1000])).event_ids) == 1000


async def test_the_longest_ids_pass(tmp_path: Path) -> None:
    async with opened(tmp_path) as (memory, _):
        longest = "é" * 128
        thread = memory.resource(longest).thread(longest)
        receipt = await thread.append(Message(id=longest, role="user", content="x"))
        await thread.append(Message(role="user", content="x"), expected=receipt.sequence)


async def test_a_stream_that_takes_less_gets_smaller_messages(tmp_path: Path) -> None:
    async with opened(tmp_path) as (memory, bare):
        config = (await api(bare, "STREAM.INFO.memfold"))["config"]
        await api(bare, "STREAM.UPDATE.memfold", {**config, "max_msg_size": 3000})
        thread = memory.resource("alice").thread("t")
        await asyncio.gather(
            *(thread.append(Message(role="user", content="x" * 1000)) for _ in range(8))
        )
        with pytest.raises(TooLarge):
            await thread.append(Message(role="user", content="x" * 3000))
        await lives_on(memory)


async def test_a_full_stream_is_typed(tmp_path: Path) -> None:
    async with opened(tmp_path) as (memory, bare):
        config = (await api(bare, "STREAM.INFO.memfold"))["config"]
        await api(bare, "STREAM.UPDATE.memfold", {**config, "max_bytes": 2000})
        with pytest.raises(StreamFull):
            await memory.resource("alice").working_memory.replace("x" * 3000)
        await lives_on(memory)


async def test_a_missing_stream_is_typed_and_can_be_created(tmp_path: Path) -> None:
    async with (
        running_broker(tmp_path) as broker,
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        working = memory.resource("alice").working_memory
        with pytest.raises(StreamMissing):
            await working.merge({"n": 1})
        with pytest.raises(EngineUnavailable):
            await working.get()
        await memory.ensure_streams()
        assert (await working.merge({"n": 1})).sequence == 1


async def test_a_denied_publish_is_typed_and_the_connection_lives_on(tmp_path: Path) -> None:
    async with running_broker(tmp_path, PERMISSIONS) as broker:
        url = broker.url.replace("nats://", "nats://engine:e@")
        as_bot: dict[str, Any] = {"user": "bot", "password": "b", "inbox_prefix": "_INBOX_bot"}
        async with bare_client(url) as engine:
            await ensure_streams(engine, "memfold")
        async with memfold.connect(broker.url, actor="Impostor", **as_bot) as impostor:
            with pytest.raises(PublishDenied):
                await impostor.resource("Alice").working_memory.merge({"n": 1})
        async with memfold.connect(broker.url, actor="bot", **as_bot) as memory:
            await lives_on(memory)
        with pytest.raises(PublishDenied):
            async with memfold.connect(broker.url, actor="bot", user="bot", password="b"):
                pass
        with pytest.raises(PublishDenied):
            async with memfold.connect(broker.url, actor="bot", user="bot", password="wrong"):
                pass


async def test_no_server_is_typed_in_time(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker:
        async with memfold.connect(broker.url, actor="bot", timeout_s=0.5) as memory:
            await broker.kill()
            with pytest.raises(BrokerUnavailable):
                await memory.resource("alice").working_memory.merge({"n": 1})
        with pytest.raises(BrokerUnavailable):
            async with memfold.connect(broker.url, actor="bot", connect_timeout_s=0.3):
                pass


async def test_a_cancelled_caller_leaves_the_others_of_its_lane_alone(tmp_path: Path) -> None:
    async with (
        running_broker(tmp_path) as broker,
        running_proxy(broker.url) as proxy,
        memfold.connect(proxy.url, actor="bot") as memory,
        bare_client(broker.url) as bare,
    ):
        await ensure_streams(bare, "memfold")
        thread = memory.resource("alice").thread("t")
        go_on = asyncio.Event()
        cut = Cut("client", b'"stream":"memfold"', meanwhile=go_on.wait)
        proxy.cuts = [cut]

        def append(id: str) -> asyncio.Future[Receipt]:
            return asyncio.ensure_future(thread.append(Message(id=id, role="user", content="x")))

        callers = [append("0")]
        # It is in the log, its acknowledgement is held back; the others wait in the lane.
        while not await stored(bare, "memfold"):
            await bare.flush()
        callers += [append("1"), append("2"), append("3")]
        await bare.flush()
        callers[0].cancel()
        callers[2].cancel()
        await asyncio.wait({callers[0], callers[2]})
        go_on.set()
        done = await asyncio.gather(*callers, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in done] == [
            *(True, False, True, False)
        ]
        ids = []
        for message in await stored(bare, "memfold"):
            parsed = orjson.loads(message.payload)
            events = parsed if isinstance(parsed, list) else [parsed]
            ids += [event["data"]["message"]["id"] for event in events]
        # What was sent is in the log, what only waited is not.
        assert ids == ["0", "1", "3"]


async def test_ensuring_streams_again_changes_nothing(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, bare_client(broker.url) as bare:
        await ensure_streams(bare, "memfold", duplicate_window_s=60)
        before = [await api(bare, f"STREAM.INFO.{s['name']}") for s in stream_settings("memfold")]
        await ensure_streams(bare, "memfold")
        after = [await api(bare, f"STREAM.INFO.{s['name']}") for s in stream_settings("memfold")]
        assert [info["config"] for info in before] == [info["config"] for info in after]
        with pytest.raises(JetStreamError):
            await api(bare, "STREAM.PURGE.memfold")
        with pytest.raises(JetStreamError):
            await api(bare, "STREAM.MSG.DELETE.memfold-audit", {"seq": 1})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_age", 3_600_000_000_000),
        ("discard", "old"),
        ("max_msgs_per_subject", 5),
        ("allow_rollup_hdrs", True),
        ("allow_msg_ttl", True),
        ("deny_purge", False),
        ("deny_delete", True),
        ("storage", "memory"),
        ("retention", "interest"),
        ("max_msg_size", 1000),
        ("subject_transform", None),
        ("subjects", ["memfold.publish.>"]),
        ("no_ack", True),
    ],
)
async def test_unsafe_settings_are_named(setting: str, value: object, tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, bare_client(broker.url) as bare:
        body = {**stream_settings("memfold")[0], setting: value, "max_bytes": 10_000_000}
        body = {key: item for key, item in body.items() if item is not None}
        if setting in ("deny_purge", "storage", "allow_rollup_hdrs"):
            body["deny_purge"] = False
        if setting == "subjects":
            del body["subject_transform"]
        await api(bare, "STREAM.CREATE.memfold", body)
        with pytest.raises(UnsafeStream, match=setting):
            await ensure_streams(bare, "memfold")


async def test_a_server_with_too_small_a_max_payload_is_refused(tmp_path: Path) -> None:
    async with (
        running_broker(tmp_path, "max_payload: 65536") as broker,
        bare_client(broker.url) as bare,
    ):
        with pytest.raises(UnsafeStream, match="max_payload"):
            await ensure_streams(bare, "memfold")


async def test_an_operators_choices_are_left_alone(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, bare_client(broker.url) as bare:
        chosen = {"max_bytes": 50_000_000, "compression": "s2", "duplicate_window": 10**10}
        body = {**stream_settings("memfold")[0], **chosen}
        await api(bare, "STREAM.CREATE.memfold", {k: v for k, v in body.items() if v is not None})
        await ensure_streams(bare, "memfold")
        config = (await api(bare, "STREAM.INFO.memfold"))["config"]
        assert {key: config[key] for key in chosen} == chosen


async def test_errors_never_show_the_password() -> None:
    url = "nats://user:secret-word@127.0.0.1:9"
    with pytest.raises(BrokerUnavailable) as caught:
        async with memfold.connect(url, actor="bot", connect_timeout_s=0.2):
            pass
    assert "secret-word" not in f"{caught.value} {caught.value.detail}"


async def test_a_memory_says_so_when_it_is_used_in_another_event_loop(tmp_path: Path) -> None:
    """There nothing would ever wake whoever waits, whether its own loop runs or not."""
    async with opened(tmp_path) as (memory, _):
        alice = memory.resource("alice")
        uses: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: alice.working_memory.merge({"n": 1}),
            lambda: alice.thread("t").append(Message(role="user", content="x")),
            alice.get,
            memory.status,
        ]

        def elsewhere(use: Callable[[], Coroutine[Any, Any, object]]) -> None:
            asyncio.run(use())

        for use in uses:
            with pytest.raises(InvalidRequest, match="another event loop"):
                await asyncio.wait_for(asyncio.to_thread(elsewhere, use), 10)
