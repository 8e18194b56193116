"""Parked events through the real command: listed, shown, given up, and told in what is read."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest

import memfold
from memfold import Message, wire
from support.broker import bare_client, running_broker
from support.engine import running_engine, running_memory
from support.ran import run_memfold

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


async def test_parked_events_are_shown_and_given_up(tmp_path: Path) -> None:
    async with running_memory(tmp_path) as (memory, url), bare_client(url) as bare:
        thread = memory.resource("alice").thread("t")
        await thread.append(Message(role="user", content="hi"))
        assert (await thread.snapshot()).parked == 0
        batch = orjson.dumps([{"a": "\x1b[31m"}, {"b": 2}])
        await bare.jetstream().publish("memfold.publish.alice.t.messages.bot", batch)
        await bare.jetstream().publish("memfold.publish.alice._.memory.bot", b"\xff\x00{")
        await bare.jetstream().publish("memfold.publish.a%2eb._.memory.bot", b"{}")
        await (await memory.resource("bob").working_memory.append("x")).applied()
        for fresh in (True, False):
            snapshot = await thread.snapshot(last=int(fresh))
            assert snapshot.thread is not None
            assert (snapshot.parked, snapshot.thread.parked) == (3, 2)
        state = await thread.get()
        assert state is not None
        assert state.parked == 2
        assert [each.parked for each in await memory.resource("alice").threads()] == [2]
        assert (await memory.resource("bob").thread("t").snapshot()).parked == 0
        nats = ("--nats", url)
        assert "3 parked" in (await run_memfold("show", "alice", "--thread", "t", *nats)).out
        found = (await run_memfold(*nats, "parked", "--json")).json()["parked"]
        places = [f"{each['sequence']}.{each['index']}" for each in found]
        assert len(places) == 4
        shown = await run_memfold(*nats, "parked", "show", places[0])
        assert '"a": "\\u001b[31m"' in shown.out
        assert '"b"' not in shown.out
        raw = (await run_memfold(*nats, "parked", "show", places[2], "--json")).json()
        assert base64.b64decode(raw["payload"]) == b"\xff\x00{"
        assert raw["text"] is None
        assert "\\xff" in (await run_memfold("parked", "show", places[2], *nats)).out
        for place in (places[1], places[3]):
            gone = await run_memfold(
                "parked", "discard", place, "--reason", "a mistake", *nats, "--json"
            )
            assert gone.json()["outcome"] == "applied"
        assert [each["index"] for each in await memory.parked("alice")] == [0, 0]
        listed = (await run_memfold("parked", "--all", "--json", *nats)).json()["parked"]
        told = [each["discarded"] and each["discarded"]["reason"] for each in listed]
        assert told == [None, "a mistake", None, "a mistake"]
        assert listed[1]["discarded"]["actor"] == "memfold-cli"
        assert (await thread.snapshot()).parked == 2
        again = await run_memfold("parked", "discard", places[1], "--reason", "x", *nats, "--json")
        assert again.json()["outcome"] == "unchanged"
        assert (await run_memfold("parked", "discard", "1", "--reason", "x", *nats)).code == 3
        assert (await run_memfold("parked", "discard", places[0], "--reason", " ", *nats)).code == 2
        assert (await run_memfold("parked", "show", "x", *nats)).code == 2
        none = await run_memfold("parked", "redrive", *nats)
        assert (none.code, none.out) == (0, "")
        assert "none of 2" in none.err
        assert (await memory.status())["parked"] == 2
        assert (await memory.resource("alice").replay()).agrees
    # The engine that starts next counts them from its file.
    async with (
        running_broker(tmp_path / "broker") as broker,
        running_engine(broker.url, tmp_path / "engine"),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        assert (await memory.resource("alice").thread("t").snapshot()).parked == 2


async def test_what_an_upgrade_can_read_is_folded_at_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_memory(tmp_path) as (memory, url):
        thread = memory.resource("alice").thread("t")
        await thread.append(Message(role="user", content="hi"))
        with monkeypatch.context() as patch:
            # The engine is of an earlier release, which knew nothing of archives.
            reader = wire._READERS["ThreadArchived"]
            archived = memory.prepare(
                {"specversion": "1.0", "id": "e1", "type": "ThreadArchived", "source": "bot"}
                | {"data": {}},
                resource="alice",
                thread="t",
                facet="thread",
            )
            patch.delitem(wire._READERS, "ThreadArchived")
            receipt = await memory.publish([archived])
            with pytest.raises(memfold.Parked):
                await receipt.applied()
        assert wire._READERS["ThreadArchived"] is reader
        assert (await thread.snapshot()).parked == 1
        ran = await run_memfold("parked", "redrive", "--nats", url, "--json")
        place = {"sequence": receipt.sequence, "index": 0}
        assert ran.json() == {"redriven": [{**place, "outcome": "applied", "reason": None}]}
        snapshot = await thread.snapshot()
        assert snapshot.thread is not None
        assert (snapshot.parked, snapshot.thread.parked) == (0, 0)
        assert snapshot.thread.archived_at is not None
