"""Recorded messages through a real engine: raw as the stream holds them, large ones too."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

import memfold
from memfold import InvalidRequest, Message
from memfold.leaf import leaf_hash
from memfold.recorded import Asked, read_recorded_messages, recorded
from support.broker import bare_client, stored
from support.engine import running_memory

pytestmark = pytest.mark.integration


async def test_a_client_reads_what_the_stream_recorded(tmp_path: Path) -> None:
    async with running_memory(tmp_path) as (memory, url), bare_client(url) as bare:
        alice = memory.resource("alice")
        await alice.thread("t").append([Message(role="user", content=f"{n}") for n in range(3)])
        await alice.thread("t").append(Message(role="user", content="x" * 500_000))
        # Spaces are no content: this one is almost as large as a message can be.
        padded = orjson.dumps({"nonsense": True}) + b" " * 900_000
        await bare.jetstream().publish("memfold.publish.alice._.memory.bot", padded)
        await memory.resource("bob").working_memory.merge({"name": "Bob"})
        await memory.defaults.define(template="# Name")
        last = await alice.working_memory.append("- Alice")
        await last.applied()
        log = await stored(bare, "memfold")
        mine = [message for message in log if ".alice." in message.subject]
        read = [message async for message in alice.recorded()]
        assert [recorded(message) for message in read] == mine
        assert [bytes.fromhex(message.leaf) for message in read] == list(map(leaf_hash, mine))
        assert len(read[2].payload) > 900_000
        assert read[0].to_json()["payload"].startswith("W3si")
        own = [recorded(message) async for message in alice.recorded(thread="t")]
        assert own == mine[:2]
        some = alice.recorded(after=mine[0].sequence, upto=mine[1].sequence)
        assert [message.sequence async for message in some] == [mine[1].sequence]
        queries = memory._client.queries
        whole = read_recorded_messages(queries, Asked(None, whole_log=True))
        assert [recorded(message) async for message in whole] == log
        defaults = [each async for each in read_recorded_messages(queries, Asked(None))]
        assert [each.subject.split(".")[3] for each in defaults] == ["_"]


async def test_questions_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    async with running_memory(tmp_path) as (memory, _):
        ask = memory._client.queries.ask
        with pytest.raises(InvalidRequest, match="whole_log"):
            await ask("recorded", "alice", {"whole_log": True})
        with pytest.raises(InvalidRequest, match="thread"):
            await ask("recorded", None, {"thread": "t"})
        with pytest.raises(InvalidRequest, match="after="):
            await anext(memory.resource("alice").recorded(after=-1))
        assert [each async for each in memory.resource("alice").recorded()] == []
        assert memfold.RecordedMessage.__doc__
