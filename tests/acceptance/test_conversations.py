"""The four real conversations, end to end: ingested, read back, ingested again, interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold.jetstream import read_recorded
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.ownership import Lease, engine_running
from support.broker import bare_client
from support.shared import shared_dir

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

WINDOW_S = "0.2"
"""A short duplicate window, so that a later ingest does not rely on it."""


def conversations() -> list[Path]:
    return sorted((shared_dir() / "data" / "locomo").glob("*.json"))


async def ingest(data: Path, files: list[Path]) -> tuple[int, dict[str, Any]]:
    """Run the real command; return its exit code and summary."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "memfold_consumers.cli.main", "--data", str(data)),
        *("ingest", "--json", "--format", "locomo", *map(str, files)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "MEMFOLD_DUPLICATE_WINDOW_S": WINDOW_S},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, json.loads(out) if out.strip() else {}


def read_file(path: Path) -> dict[str, Any]:
    file: dict[str, Any] = json.loads(path.read_text())
    return file


def sessions(file: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the turns of each session that has any, by name."""
    return {
        name: turns
        for name, turns in file.items()
        if re.fullmatch(r"session_\d+", name) and isinstance(turns, list)
    }


def evidence_ids(evidence: Any) -> list[str]:  # noqa: ANN401 - text or a list of it.
    texts = evidence if isinstance(evidence, list) else [evidence]
    return [part.strip() for text in texts for part in text.split(",")]


def expected_memory(file: dict[str, Any]) -> dict[str, Any]:
    """Return the working memory that the file's observations make, worked out on its own."""
    memory: dict[str, Any] = {}
    count: dict[tuple[str, str], int] = {}
    for number in range(1, 100):
        observations: dict[str, list[list[Any]]] = file.get(f"session_{number}_observation", {})
        for speaker, facts in observations.items():
            for fact, evidence in facts:
                key = "+".join(evidence_ids(evidence))
                count[speaker, key] = count.get((speaker, key), 0) + 1
                known = memory.setdefault(speaker, {"facts": {}})["facts"]
                known[f"{key}.{count[speaker, key]}"] = fact
    return memory


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


async def ended(data: Path) -> None:
    async with asyncio.timeout(60):
        while engine_running(data):  # noqa: ASYNC110 - another process.
            await asyncio.sleep(0.05)
