"""What any client can send to a server stops no engine: neither its fold nor its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from nats.aio.client import Client

import memfold
from memfold import Memory
from memfold.building import build
from memfold.subjects import Address
from memfold_consumers.engine import run_engine
from memfold_consumers.settings import EngineSettings
from support.broker import Broker, bare_client, running_broker
from support.log import envelope

pytestmark = pytest.mark.integration

EVENT = orjson.dumps(
    envelope("MessageAppended", {"message": {"id": "m1", "role": "user", "content": "hello"}})
)
GOOD = b"memfold.publish.alice.t1.messages.bot"
QUERY = b"memfold.query.snapshot.alice"
ALIGN_S = 0.2
WINDOW_S = 0.2
CUT_SHORT = b"NATS/1.0"
ODD_STATUS = b"NATS/1.0 \xff\xff\xff \xff\r\nNats-Msg-Id: one\r\n\r\n"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    async with running_broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
async def client(broker: Broker, tmp_path: Path) -> AsyncIterator[Client]:
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        run_engine(
            url=broker.url,
            data=tmp_path / "engine",
            namespace="memfold",
            stop=stop,
            on_ready=ready.set,
            settings=EngineSettings(
                data=tmp_path / "engine", align_s=ALIGN_S, duplicate_window_s=WINDOW_S
            ),
        )
    )
    async with bare_client(broker.url) as connected:
        await asyncio.wait_for(ready.wait(), 20)
        yield connected
    stop.set()
    await running


@pytest.fixture
async def memory(broker: Broker, client: Client) -> AsyncIterator[Memory]:
    del client
    async with memfold.connect(broker.url, actor="bot") as connected:
        yield connected


async def send(broker: Broker, subject: bytes, payload: bytes, headers: bytes | None) -> None:
    """Publish bytes as they are, and return once the server has read them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    sizes = b"%d" % len(payload)
    if headers is not None:
        sizes = b"%d %d" % (len(headers), len(headers) + len(payload))
    verb = b"PUB" if headers is None else b"HPUB"
    writer.write(b"%b %b %b\r\n%b%b\r\nPING\r\n" % (verb, subject, sizes, headers or b"", payload))
    async with asyncio.timeout(5):
        while await reader.readline() != b"PONG\r\n":
            pass
    writer.close()


@pytest.mark.parametrize(
    ("subject", "headers", "applied"),
    [
        pytest.param(b"memfold.publish.m\xfcller.t1.messages.bot", None, False, id="latin-1"),
        pytest.param(b"memfold.publish.\xe2\x82.t1.messages.bot", None, False, id="half-character"),
        pytest.param(b"memfold.publish.a\x0cb.t1.messages.bot", None, False, id="form-feed"),
        pytest.param(GOOD, CUT_SHORT, True, id="headers-cut-short"),
        pytest.param(GOOD, ODD_STATUS, True, id="status-not-utf-8"),
    ],
)
async def test_a_message_that_nats_py_cannot_read_is_folded_and_its_neighbours_too(
    broker: Broker,
    client: Client,
    memory: Memory,
    subject: bytes,
    headers: bytes | None,
    applied: bool,
) -> None:
    """The stream keeps such a message and delivers it again at every start."""
    await send(broker, subject, EVENT, headers)
    receipt = (
        await memory.resource("bob")
        .thread("t1")
        .append(memfold.Message(role="user", content="next"))
    )
    assert await receipt.applied() == "applied"
    body = orjson.dumps({"positions": [[1, 1]]})
    reply = await client.request("memfold.query.outcome._", body, timeout=5)
    outcome = orjson.loads(reply.data)["outcomes"][0][0]
    kind = ("applied", "") if applied else ("parked", "subject_not_canonical")
    assert (outcome["kind"], outcome["reason"]) == kind
    # Delivered by the stream or asked for in JSON, it is one message with one leaf.
    await asyncio.sleep(3 * ALIGN_S)
    status = await memory.status()
    assert (status["state"], status["checkpoint"]) == ("folding", 2), status["halted"]


@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        pytest.param(b"memfold.query.snapshot.\xff", None, id="latin-1"),
        pytest.param(b"memfold.query.snapshot.a\x0cb", None, id="form-feed"),
        pytest.param(QUERY, CUT_SHORT, id="headers-cut-short"),
        pytest.param(QUERY, ODD_STATUS, id="status-not-utf-8"),
    ],
)
async def test_a_query_that_nats_py_cannot_read_stops_no_other(
    broker: Broker, memory: Memory, subject: bytes, headers: bytes | None
) -> None:
    thread = memory.resource("alice").thread("t1")
    await send(broker, subject, b"{}", headers)
    await thread.append(memfold.Message(role="user", content="hello"))
    assert len((await thread.snapshot()).messages) == 1


async def test_queries_that_wait_hold_up_no_other(client: Client, memory: Memory) -> None:
    body = orjson.dumps({"min_sequence": 10**9, "wait_ms": 3000})
    waiting = [
        asyncio.create_task(client.request("memfold.query.snapshot.bob", body, timeout=20))
        for _ in range(200)
    ]
    await asyncio.sleep(0.2)
    async with asyncio.timeout(2):
        await memory.resource("alice").working_memory.get(fresh=False)
        await memory.resource("alice").thread("t1").snapshot(fresh=False)
    answers = [orjson.loads((await each).data) for each in waiting]
    assert {answer["error"]["code"] for answer in answers} == {"not_yet_consistent"}


async def test_large_entries_are_listed_page_by_page(memory: Memory) -> None:
    resource = memory.resource("alice")
    for number in range(30):
        await resource.thread(f"t{number}").create(metadata={"x": "y" * 60_000})
        await memory.resource(f"r{number}").update(metadata={"x": "y" * 60_000})
    receipt = await resource.update(metadata={})
    await receipt.applied()
    assert len(await resource.threads()) == 30
    assert len(await memory.resources()) == 31


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("working_memory", {"thread": ""}),
        ("snapshot", {"thread": "é" * 129}),
        ("history", {"after": [10**40, 0]}),
        ("threads", {"after": 10**40}),
        ("outcome", {"positions": [[1, 1000]] * 1000}),
    ],
)
async def test_arguments_that_cannot_be_meant_are_refused_at_once(
    client: Client, operation: str, arguments: object
) -> None:
    body = json.dumps(arguments).encode()
    reply = await client.request(f"memfold.query.{operation}.alice", body, timeout=5)
    assert orjson.loads(reply.data)["error"]["code"] == "invalid_request"


async def test_a_copy_of_a_rejected_event_is_still_rejected(memory: Memory) -> None:
    """Whoever publishes again after the duplicate window must not take a refusal for success."""
    address = Address("alice", "t1", "thread", "bot")
    event = build(address, "ThreadUpdated", {"title": "of no thread"})
    for kind in ("rejected", "duplicate"):
        receipt = await memory.publish([event])
        assert not receipt.duplicate
        assert [outcome.kind for outcome in await receipt.outcomes()] == [kind]
        with pytest.raises(memfold.Rejected) as error:
            await receipt.applied()
        assert error.value.reason == "thread_unknown"
        await asyncio.sleep(2 * WINDOW_S)
