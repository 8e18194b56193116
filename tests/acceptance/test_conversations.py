"""The four real conversations, end to end: ingested, read back, ingested again, interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold.jetstream import read_recorded
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.ownership import Lease
from support.broker import bare_client
from support.locomo import (
    conversations,
    ended,
    expected_memory,
    ingest,
    read_file,
    sessions,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


async def check(memory: memfold.Memory, path: Path) -> tuple[int, int]:
    """Hold one resource against its file; return its messages and observations."""
    file = read_file(path)
    resource = memory.resource(path.stem)
    turns = 0
    for name, expected in sessions(file).items():
        messages = await resource.thread(name).messages()
        assert [message.id for message in messages] == [turn["dia_id"] for turn in expected]
        for message, turn in zip(messages, expected, strict=True):
            assert isinstance(message.content, str)
            assert message.content.encode() == turn["text"].encode()
            assert message.role == "user"
            assert message.metadata["speaker"] == turn["speaker"]
        turns += len(expected)
    state = await resource.working_memory.get()
    assert state is not None
    assert state.content == expected_memory(file)
    await check_causes(resource)
    return turns, sum(len(each["facts"]) for each in expected_memory(file).values())


async def check_causes(resource: memfold.Resource) -> None:
    """Each observation names its evidence, comes after it, and is caused by the first of it."""
    places: dict[tuple[str, str], tuple[tuple[int, int], str]] = {}
    for change in await resource.history():
        position = (change.sequence, change.index)
        if change.type == "MessageAppended":
            assert change.thread is not None
            places[change.thread, change.data["message"]["id"]] = (position, change.id)
        else:
            evidence = [(each["thread"], each["message"]) for each in change.data["evidence"]]
            assert evidence
            assert all(places[each][0] < position for each in evidence)
            assert change.causation == places[evidence[0]][1]


async def all_content(memory: memfold.Memory, files: list[Path]) -> list[Any]:
    """Return what readers see of all resources, but for the revisions of what did not change."""
    found: list[Any] = []
    for path in files:
        resource = memory.resource(path.stem)
        state = await resource.working_memory.get()
        assert state is not None
        found.append([state.content, state.format, state.changed_at])
        found.append([message.to_json() for message in await resource.messages()])
    return found


async def test_the_conversations_are_ingested_whole_and_once(tmp_path: Path) -> None:
    """Counts, texts, memories and causes are the files'; ingesting again changes nothing."""
    files = conversations()
    data = tmp_path / "data"
    with Lease(data):
        code, summary = await ingest(data, files)
        assert code == 0
        info = await ensure_engine(data)
        async with memfold.connect(info.url, actor="auditor") as memory:
            checked = [await check(memory, path) for path in files]
            turns, observations = (sum(column) for column in zip(*checked, strict=True))
            assert summary["messages"] == turns
            assert summary["threads"] == sum(len(sessions(read_file(path))) for path in files)
            assert summary["resources"] == len(files)
            assert summary["events"] == summary["added"] == turns + observations
            before = await all_content(memory, files)
            stream = (await memory.status())["stream"]
            assert stream["last_sequence"] == summary["last_sequence"]

            # The window has long passed by now: the second ingest does not rest on it.
            code, again = await ingest(data, files)
            assert (code, again["added"], again["already_there"]) == (0, 0, summary["events"])
            assert (await memory.status())["stream"] == stream

            await publish_again(info.url, stream["last_sequence"])
            status = await memory.status()
            assert status["stream"]["last_sequence"] == 2 * stream["last_sequence"]
            assert status["parked"] == 0
            assert await all_content(memory, files) == before
    await ended(data)


async def publish_again(url: str, last: int) -> None:
    """Publish every message of the stream a second time, as a client after the window would."""
    async with bare_client(url) as bare:
        js = bare.jetstream()
        latest = 0
        for sequence in range(1, last + 1):
            recorded = await read_recorded(bare, "memfold", sequence)
            assert recorded is not None
            tokens = recorded.subject.split(".")
            subject = ".".join([tokens[0], "publish", *tokens[3:]])
            headers = {"Nats-Msg-Id": recorded.msg_id}
            acknowledged = await js.publish(subject, recorded.payload, headers=headers)
            assert not acknowledged.duplicate
            latest = acknowledged.seq
        asked = json.dumps({"positions": [[latest, 1]]}).encode()
        reply = await bare.request("memfold.query.outcome._", asked, timeout=30)
        assert json.loads(reply.data)["outcomes"][0][0]["kind"] == "duplicate"


@pytest.mark.faults
@pytest.mark.parametrize("victim", ["engine", "server"])
async def test_an_ingest_survives_kill_9_at_any_point(tmp_path: Path, victim: str) -> None:
    """The command goes on by itself or can be run again: in the end all is there once."""
    files = conversations()[:2]
    for number, delay_s in enumerate((0.3, 0.6, 0.9)):
        data = tmp_path / f"data{number}"
        with Lease(data):
            info = await ensure_engine(data)
            running = asyncio.create_task(ingest(data, files))
            done, _ = await asyncio.wait({running}, timeout=delay_s)
            os.kill(info.pid if victim == "engine" else info.server_pid, signal.SIGKILL)
            await running
            code, _ = await ingest(data, files)
            assert code == 0, done
            info = await ensure_engine(data)
            async with memfold.connect(info.url, actor="auditor") as memory:
                for path in files:
                    await check(memory, path)
                assert (await memory.status())["parked"] == 0
        await ended(data)
