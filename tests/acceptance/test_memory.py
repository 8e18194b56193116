"""The engine as its users meet it: one local engine, clients in tasks, processes and bare NATS."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats.aio.client import Client

import memfold
from memfold import InvalidEvent, Memory, WorkingMemory
from memfold_consumers import local
from memfold_consumers.local_engine import ensure_engine
from support.broker import bare_client
from support.shared import shared_dir

pytestmark = pytest.mark.acceptance

TASKS = 64
PROCESSES = 4
UPDATES = 100
MERGER = """
import asyncio, sys, memfold
async def main(url, name, updates):
    async with memfold.connect(url, actor=name) as memory:
        working = memory.resource("alice").working_memory
        for n in range(int(updates)):
            await working.merge({f"{name}-{n}": n})
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    async with local(tmp_path / "data", actor="bot") as opened:
        yield opened


@pytest.fixture
async def connection(memory: Memory, tmp_path: Path) -> AsyncIterator[Client]:
    """Connect the bare client to the engine that ``memory`` uses."""
    del memory
    async with bare_client(await url_of(tmp_path)) as opened:
        yield opened


async def url_of(tmp_path: Path) -> str:
    return (await ensure_engine(tmp_path / "data")).url


async def content(memory: Memory, resource: str = "alice") -> Any:  # noqa: ANN401 - any JSON.
    state = await memory.resource(resource).working_memory.get()
    return None if state is None else state.content


@pytest.mark.parametrize(("scope", "checked"), [("resource", False), ("thread", True)])
async def test_sixty_four_tasks_changing_one_memory_lose_nothing(
    memory: Memory, tmp_path: Path, scope: str, checked: bool
) -> None:
    """B176, B177, B178: merges, appends and edits of three clients, each memory's first write too.

    Every key, line and replacement of every task is there.
    """
    url = await url_of(tmp_path)
    numbers = range(TASKS)
    async with (
        memfold.connect(url, actor="second") as second,
        memfold.connect(url, actor="third") as third,
    ):

        def named(client: Memory, name: str) -> WorkingMemory:
            owner = client.resource(name)
            return owner.working_memory if scope == "resource" else owner.thread("t").working_memory

        def by(n: int, name: str) -> WorkingMemory:
            return named((memory, second, third)[n % 3], name)

        await named(memory, "edited").replace("".join(f"[ ] {n};\n" for n in numbers))
        receipts = await asyncio.gather(
            *(by(n, "merged").merge({f"k{n}": n}, check=checked) for n in numbers),
            *(by(n, "grown").append(f"line {n}", check=checked) for n in numbers),
            *(by(n, "edited").edit(f"[ ] {n};", f"[x] {n};", check=checked) for n in numbers),
        )
        assert {await receipt.applied() for receipt in receipts} == {"applied"}
    merged, grown, edited = [
        await named(memory, name).get() for name in ("merged", "grown", "edited")
    ]
    assert merged is not None
    assert merged.content == {f"k{n}": n for n in numbers}
    assert grown is not None
    assert isinstance(grown.content, str)
    assert sorted(grown.content.split("\n")) == sorted(f"line {n}" for n in numbers)
    assert edited is not None
    assert edited.content == "".join(f"[x] {n};\n" for n in numbers)


async def test_four_processes_merging_one_memory_lose_nothing(
    memory: Memory, tmp_path: Path
) -> None:
    """B177, B178: each of four processes makes a hundred updates at once; all are there."""
    url = await url_of(tmp_path)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", MERGER, url, f"agent{n}", str(UPDATES)
        )
        for n in range(PROCESSES)
    ]
    assert [await process.wait() for process in processes] == [0] * PROCESSES
    # Another client's writes: this one asks for all that is in the log by now.
    last = (await memory.status())["stream"]["last_sequence"]
    assert last >= PROCESSES * UPDATES
    receipt = await memory.resource("bob").working_memory.merge({"last": True})
    assert await receipt.applied() == "applied"
    assert await content(memory) == {
        f"agent{p}-{n}": n for p in range(PROCESSES) for n in range(UPDATES)
    }


async def test_a_publisher_needs_no_sdk(connection: Client) -> None:
    """Subject and JSON through the bare core client are all that it takes, for writes and reads."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "type": "WorkingMemoryUpdated",
        "source": "shell",
        "data": {"scope": "resource", "mode": "merge", "content": {"city": "Berlin"}},
    }
    reply = await connection.request(
        "memfold.publish.alice._.memory.shell", json.dumps(event).encode(), timeout=5
    )
    sequence = json.loads(reply.data)["seq"]
    asked = json.dumps({"min_sequence": sequence}).encode()
    answer = await connection.request("memfold.query.snapshot.alice", asked, timeout=5)
    found = json.loads(answer.data)["working_memory"]["resource"]
    assert found["content"] == {"city": "Berlin"}
    assert found["revision"] == sequence


async def test_all_merge_cases_pass_through_publish_fold_and_query(memory: Memory) -> None:
    """B164: each case of the shared list, on a resource of its own."""
    cases = json.loads((shared_dir() / "data" / "merge_cases.json").read_text())
    for number, case in enumerate(cases):
        working = memory.resource(f"case{number}").working_memory
        if case["existing"] is not None:
            await working.replace(case["existing"])
        await working.merge(case["patch"])
        found = await content(memory, f"case{number}")
        assert orjson.dumps(found, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
            case["expected"], option=orjson.OPT_SORT_KEYS
        ), case["note"]


def event(id_: str, **changes: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": id_,
        "type": "MessageAppended",
        "source": "raw",
        "data": {"message": {"id": id_, "role": "user", "content": "hello"}},
        **changes,
    }


def with_content(text: bytes) -> bytes:
    return orjson.dumps(event("x")).replace(b'"hello"', text)


MALFORMED: list[tuple[str, bytes]] = [
    ("not_utf8", with_content(b'"\xff"')),
    ("not_json", b'{"specversion": "1.0"'),
    ("number_not_finite", orjson.dumps(event("x"))[:-1] + b',"extra":NaN}'),
    ("number_out_of_range", orjson.dumps(event("x"))[:-1] + b',"extra":18446744073709551616}'),
    ("duplicate_key", orjson.dumps(event("x"))[:-1] + b',"id":"y"}'),
    ("too_deep", orjson.dumps(event("x"))[:-1] + b',"extra":' + b"[" * 64 + b"]" * 64 + b"}"),
    ("lone_surrogate", with_content(b'"\\ud800"')),
    ("unknown_type", orjson.dumps(event("x", type="MessageForgotten"))),
    ("unknown_version", orjson.dumps(event("x", dataversion=2))),
    ("resource_mismatch", orjson.dumps(event("x", resourceid="mallory"))),
    ("thread_mismatch", orjson.dumps(event("x", threadid="t2"))),
    ("source_mismatch", orjson.dumps(event("x", source="someone"))),
    ("invalid_data", orjson.dumps(event("x", data={"message": {"id": "x"}}))),
    ("event_too_large", with_content(b'"' + b"a" * 600_000 + b'"')),
    ("batch_empty", b"[]"),
]


async def test_malformed_events_are_parked_and_their_neighbours_applied(
    memory: Memory, connection: Client
) -> None:
    """Published raw, each is kept with its reason; messages before and after it are there."""
    js = connection.jetstream()
    subject = "memfold.publish.alice.t1.messages.raw"
    parked = []
    for number, (reason, payload) in enumerate(MALFORMED):
        await js.publish(subject, orjson.dumps(event(f"good{number}")))
        acknowledged = await js.publish(subject, payload)
        parked.append((acknowledged.seq, reason))
    bad = event("in-a-batch", data={"nonsense": 1})
    batch = [event("before"), bad, event("after")]
    acknowledged = await js.publish(subject, orjson.dumps(batch))
    rejected = event("r", type="ThreadUpdated", data={"title": "x"})
    last = await js.publish("memfold.publish.alice.t9.thread.raw", orjson.dumps(rejected))
    body = {"positions": [[sequence, 1] for sequence, _ in parked] + [[last.seq, 1]]}
    reply = await connection.request("memfold.query.outcome.alice", orjson.dumps(body), timeout=10)
    outcomes = [found[0] for found in orjson.loads(reply.data)["outcomes"]]
    assert [(o["kind"], o["reason"]) for o in outcomes[:-1]] == [
        ("parked", reason) for reason, _ in MALFORMED
    ]
    assert (outcomes[-1]["kind"], outcomes[-1]["reason"]) == ("rejected", "thread_unknown")
    messages = await memory.resource("alice").thread("t1").messages()
    assert [message.id for message in messages] == [
        *(f"good{number}" for number in range(len(MALFORMED))),
        "before",
        "after",
    ]
    listed = await memory.parked()
    assert [(each["sequence"], each["reason"]) for each in listed] == [
        *parked,
        (acknowledged.seq, "invalid_data"),
    ]


@pytest.mark.parametrize(
    "content",
    [float("nan"), 2**64, "\ud800", {"a": [[[[]]]]}, object()],
    ids=["nan", "2^64", "surrogate", "deep", "no JSON"],
)
async def test_the_client_refuses_what_the_fold_would_park(
    memory: Memory,
    content: Any,  # noqa: ANN401 - wrong on purpose.
) -> None:
    """Nothing is sent, the error says why, and the client goes on."""
    deep: Any = content
    if isinstance(content, dict):
        for _ in range(65):
            deep = {"a": deep}
    working = memory.resource("alice").working_memory
    with pytest.raises(InvalidEvent) as raised:
        await working.merge({"bad": deep})
    assert raised.value.reason in {
        "number_not_finite",
        "number_out_of_range",
        "lone_surrogate",
        "too_deep",
        "not_json",
    }
    receipt = await working.merge({"good": 1})
    assert receipt.sequence == 1


async def test_a_snapshot_of_five_mebibytes_is_read_whole(memory: Memory) -> None:
    """Eleven messages of almost half a mebibyte come back whole, in order, byte for byte."""
    thread = memory.resource("alice").thread("t1")
    texts = [f"{n}:" + "é" * 260_000 for n in range(11)]
    for text in texts:
        await thread.append(memfold.Message(role="user", content=text))
    snapshot = await thread.snapshot(last=100)
    assert [message.content for message in snapshot.messages] == texts
    assert sum(len(text.encode()) for text in texts) > 5 * 1024 * 1024


async def test_an_event_published_twice_is_skipped_as_a_duplicate(
    memory: Memory, connection: Client
) -> None:
    """Without a Msg-Id the stream keeps both; the fold applies one and says so of the other."""
    js = connection.jetstream()
    subject = "memfold.publish.alice.t1.messages.raw"
    first = await js.publish(subject, orjson.dumps(event("e1", salt="AAAAAAAAAAAAAAAAAAAAAA==")))
    second = await js.publish(subject, orjson.dumps(event("e1")))
    other = event("e1")
    other["data"]["message"]["content"] = "something else"
    third = await js.publish(subject, orjson.dumps(other))
    body = {"positions": [[seen.seq, 1] for seen in (first, second, third)]}
    reply = await connection.request("memfold.query.outcome.alice", orjson.dumps(body), timeout=10)
    outcomes = [found[0] for found in orjson.loads(reply.data)["outcomes"]]
    assert [outcome["kind"] for outcome in outcomes] == ["applied", "duplicate", "parked"]
    assert outcomes[1]["of"] == [1, 0]
    assert outcomes[2]["reason"] == "id_reused"
    messages = await memory.resource("alice").thread("t1").messages()
    assert [message.content for message in messages] == ["hello"]
