"""Exports through the real command: checked offline by the one file that auditors get."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import pytest

import memfold
from memfold import Message
from memfold.audit import check_export
from memfold.audit.merkle import root
from memfold.exporting import OLDER_MAX
from memfold.leaf import leaf_hash
from support.broker import bare_client, stored
from support.engine import running_memory
from support.ran import Ran, run_memfold

pytestmark = pytest.mark.integration

SECRET = "xylophone-4711"
CHECKER = Path(check_export.__file__)


async def check(*arguments: str | Path) -> Ran:
    """Run the checker where nothing of ours can be imported."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", str(CHECKER)),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return Ran(process.returncode or 0, out, err.decode())


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[tuple[memfold.Memory, str]]:
    async with running_memory(tmp_path) as (memory, url), bare_client(url) as bare:
        alice = memory.resource("alice")
        thread = alice.thread("t")
        for n in range(5):
            said = await thread.append([Message(role="user", content=f"{m}") for m in range(n + 1)])
            await alice.working_memory.merge({"n": n}, because=said)
            await memory.resource("bob").working_memory.append("- x")
        await bare.jetstream().publish(
            "memfold.publish.alice._.memory.bot", b"{nonsense" + b" " * 900_000
        )
        await bare.jetstream().publish("memfold.publish.a%2eb._.memory.bot", b"{}")
        await (await alice.working_memory.replace("text")).applied()
        yield memory, url


async def test_an_export_is_checked_offline(
    told: tuple[memfold.Memory, str], tmp_path: Path
) -> None:
    _, url = told
    async with bare_client(url) as bare:
        log = await stored(bare, "memfold")
    leaves = [leaf_hash(message) for message in log]
    size = len(log)
    head = f"{root(leaves).hex()}:{size}"
    older = f"{root(leaves[:3]).hex()}:3"
    nats = ("--nats", url)
    file, own, whole = (tmp_path / name for name in ("alice.ndjson", "t.ndjson", "all.ndjson"))
    made = await run_memfold("export", "alice", "--out", file, "--head", "3", *nats, "--json")
    mine = [message for message in log if ".alice." in message.subject]
    assert made.json() == {"size": size, "messages": len(mine), "out": str(file)}
    checked = await check(file, "--head", head, "--head", older)
    assert (checked.code, checked.err) == (0, "")
    assert f"ok: {len(mine)} messages of resource 'alice'" in checked.out
    assert "2 of the 2 heads" in checked.out
    kept = tmp_path / "heads.ndjson"
    kept.write_text(json.dumps({"size": 3, "root": root(leaves[:3]).hex(), "time": ""}) + "\n")
    assert (await check(file, "--heads", kept)).code == 0
    kept.write_text(json.dumps({"size": 3, "root": "00" * 32}) + "\n")
    assert (await check(file, "--heads", kept)).code == 1
    piped = await run_memfold("export", "alice", "--head", "3", *nats)
    assert piped.raw == file.read_bytes()
    sizes = range(1, size + 1)
    assert len(sizes) > OLDER_MAX
    asked = [word for each in sizes for word in ("--head", str(each))]
    await run_memfold("export", "alice", "--thread", "t", "--out", own, *asked, *nats)
    kept.write_text("".join(f'{{"size":{n},"root":"{root(leaves[:n]).hex()}"}}\n' for n in sizes))
    assert "thread 't'" in (await check(own)).out
    assert f"the log of {size} of the {size} heads" in (await check(own, "--heads", kept)).out
    unproven = await check(file, "--heads", kept)
    assert (unproven.code, "export again with --head 1 --head 2 " in unproven.out) == (2, True)
    await run_memfold("export", "--out", whole, *nats)
    assert f"ok: {size} messages of the whole log" in (await check(whole)).out
    assert "complete" in (await check(whole)).out
    assert (await check(tmp_path / "nothing")).code == 2
    assert (await check(file, "--head", "nonsense")).code == 2
    file.write_bytes(file.read_bytes().replace(b'"msg_id":"', b'"msg_id":"x', 1))
    wrong = await check(file)
    assert wrong.code == 1
    assert wrong.out.startswith("WRONG: line 2, behind sequence 0: ")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]  # noqa: PTH208 - quick.


async def test_an_export_after_an_erasure_holds_its_leaves_and_not_its_words(
    told: tuple[memfold.Memory, str], tmp_path: Path
) -> None:
    memory, url = told
    thread = memory.resource("alice").thread("t")
    async with bare_client(url) as bare:
        before = [leaf_hash(message) for message in await stored(bare, "memfold")]
    head = f"{root(before).hex()}:{len(before)}"
    [said, *_] = (await thread.append(Message(role="user", content=SECRET))).messages
    batch = [Message(id=f"b{n}", role="user", content=f"{SECRET} {n}") for n in range(2)]
    await (await thread.append(batch)).applied()
    await thread.erase(said[1])
    await thread.erase("b0")
    nats = ("--head", str(len(before)), "--nats", url)
    whole, own, table = (tmp_path / name for name in ("all.ndjson", "own.ndjson", "own.parquet"))
    await run_memfold("export", "--out", whole, *nats)
    await run_memfold("export", "alice", "--out", own, "--parquet", table, *nats)
    checked = await check(whole, "--head", head)
    assert checked.code == 0, checked.out
    assert "2 of them erased" in checked.out
    assert "1 of them erased" in (await check(own, "--head", head)).out
    lines = [json.loads(line) for line in whole.read_bytes().splitlines()]
    words = [base64.b64decode(line.get("payload", "")) for line in lines]
    kept = [
        base64.b64decode(json.loads(each)["data"]["event"])
        for each in words
        if b'"Restated"' in each
    ]
    assert [f"{SECRET} 1".encode() in each for each in kept] == [True]
    gone = [each for each in words if SECRET.encode() in each]
    assert gone == []
    with duckdb.connect(":memory:") as connection:
        rows = connection.read_parquet(str(table)).fetchall()
    assert [str(row).count(SECRET) for row in rows if SECRET in str(row)] == [1]


async def test_a_table_has_a_row_for_each_event(
    told: tuple[memfold.Memory, str], tmp_path: Path
) -> None:
    memory, url = told
    file = tmp_path / 'it\'s a "file".parquet'
    made = await run_memfold("export", "alice", "--parquet", file, "--nats", url, "--json")
    history = await memory.resource("alice").history(everything=True)
    assert made.json()["events"] == len(history) + 1
    with duckdb.connect(":memory:") as connection:
        rows = connection.read_parquet(str(file)).fetchall()
        columns = connection.read_parquet(str(file)).columns
    shown = [dict(zip(columns, row, strict=True)) for row in rows]
    [parked] = [row for row in shown if row["outcome"] == "parked"]
    assert (parked["reason"], parked["type"], parked["actor"]) == ("not_json", None, "bot")
    others = [row for row in shown if row is not parked]
    assert [(row["sequence"], row["index"], row["id"], row["outcome"]) for row in others] == [
        (each.sequence, each.index, each.id, each.outcome) for each in history
    ]
    assert [row["time"] for row in others] == [each.time.replace(tzinfo=None) for each in history]
    assert [json.loads(row["data"]) for row in others] == [each.data for each in history]


async def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    async with running_memory(tmp_path) as (memory, url):
        assert (await run_memfold("export", "--nats", url)).code == 2
        await memory.resource("a").working_memory.append("x")
        assert (await run_memfold("export", "--thread", "t", "--nats", url)).code == 2
        there = tmp_path / "no" / "such" / "directory"
        assert (await run_memfold("export", "a", "--out", there, "--nats", url)).code == 2
        ask = memory._client.queries.ask
        for wrong in ({"size": 99}, {"size": 1, "sequences": [2]}, {"size": 1, "older": [2]}):
            with pytest.raises(memfold.InvalidRequest, match="no such tree"):
                await ask("proofs", None, wrong)
