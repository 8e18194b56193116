"""Exported conversations, end to end: ingested, read back, ingested again, later, older, killed."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.ownership import Lease, engine_pid, engine_running
from support.exports import (
    CODE,
    IMAGE,
    NOON,
    OUTPUT,
    claude,
    mastra_database,
    mastra_message,
    mastra_resource,
    mastra_thread,
    node,
    said,
    tree,
    trip,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

COMMAND = (sys.executable, "-m", "memfold_consumers.cli.main")


@dataclass
class Ran:
    """What a run of the command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    def counts(self) -> tuple[int, int, int, dict[str, int]]:
        """Return what was added, already there, failed and skipped."""
        found = self.summary
        return found["added"], found["already_there"], found["failed"], found["skipped"]


class Place:
    """A directory with files, and a data directory with its engine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"

    def write(self, content: object, name: str = "export.json") -> Path:
        file = self.path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return file

    async def start(self, *arguments: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(*COMMAND, "--data", str(self.data), "ingest", *map(str, arguments)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def ingest(self, *arguments: object) -> Ran:
        process = await self.start(*arguments)
        out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def openai(self, content: object, *more: object) -> Ran:
        file = self.write(content)
        return await self.ingest("--format=openai", "--resource=ann", "--json", file, *more)


@asynccontextmanager
async def running(path: Path) -> AsyncGenerator[tuple[Place, memfold.Memory]]:
    """Run the engine of a directory for the length of a block."""
    place = Place(path)
    with Lease(place.data):
        info = await ensure_engine(place.data)
        async with memfold.connect(info.url, actor="auditor") as memory:
            yield place, memory
        pid = engine_pid(place.data)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(60):
            while engine_running(place.data):  # noqa: ASYNC110 - another process.
                await asyncio.sleep(0.02)


async def shown(thread: memfold.Thread) -> list[tuple[str, str, Any]]:
    return [(each.id, each.role, each.content) for each in await thread.messages()]


def continued() -> dict[str, Any]:
    """Return the trip as it was exported later: one message more, another one changed."""
    later = copy.deepcopy(trip())
    later["mapping"]["u3"] = node("u3", "a3", "user", ["Thanks"], create_time=NOON + 90)
    later["mapping"]["a2"]["message"]["content"]["parts"] = ["Hello again!"]
    return later | {"current_node": "u3", "update_time": NOON + 90, "title": "Journey"}


async def test_a_chatgpt_export_is_taken_once_and_a_later_one_adds_what_is_new(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (place, memory):
        ran = await place.openai([trip()])
        assert ran.counts() == (7, 0, 0, {"empty": 1, "other_branch": 1})
        assert "memfold: skipped 1: other_branch: on a branch that the" in ran.err
        thread = memory.resource("ann").thread("conv-1")
        first = await shown(thread)
        assert first == [
            ("u1", "user", "Hi \u0000👋"),
            ("a2", "assistant", "Hello!"),
            ("u2", "user", [{"type": "text", "text": "What is this?"}, IMAGE]),
            ("c", "assistant", [CODE]),
            ("t", "tool", [OUTPUT]),
            ("a3", "assistant", [{"type": "text", "text": ""}, {"type": "text", "text": "42"}]),
        ]
        assert str((await thread.messages())[0].created_at) == "2025-05-11 21:46:41.123456+00:00"
        assert (await place.openai([trip()])).counts()[:3] == (0, 7, 0)

        # New: the message, the changed message, and the thread's title and time.
        assert (await place.openai([continued()])).counts()[:3] == (3, 5, 0)
        later = await shown(thread)
        assert later[1] == ("a2", "assistant", "Hello again!")
        assert later[-1] == ("u3", "user", "Thanks")
        assert later[2:-1] == first[2:]
        state = await thread.get()
        assert state is not None
        assert state.title == "Journey"

        # The older one says nothing that is not known.
        assert (await place.openai([trip()])).counts()[:3] == (0, 7, 0)
        assert await shown(thread) == later


async def test_an_older_export_that_comes_late_adds_what_is_missing_and_changes_nothing(
    tmp_path: Path,
) -> None:
    newer = continued()
    del newer["mapping"]["u2"]
    newer["mapping"]["c"]["parent"] = "a2"
    async with running(tmp_path) as (place, memory):
        await place.openai([newer])
        thread = memory.resource("ann").thread("conv-1")
        before = await shown(thread)
        ran = await place.openai([trip()])
        # u2 is added. The title, a2, and the time that c takes from before it are others since.
        assert ran.counts() == (1, 3, 0, {"empty": 1, "older": 3, "other_branch": 1})
        after = await shown(thread)
        assert [each for each in after if each[0] != "u2"] == before
        assert len(after) == len(before) + 1
        state = await thread.get()
        assert state is not None
        assert state.title == "Journey"
        assert (await place.openai([trip()])).counts()[0] == 0


async def test_a_deleted_thread_stays_deleted_when_only_its_title_is_new(tmp_path: Path) -> None:
    async with running(tmp_path) as (place, memory):
        await place.openai([trip()])
        thread = memory.resource("ann").thread("conv-1")
        await (await thread.delete()).applied()
        ran = await place.openai([trip() | {"title": "Journey", "update_time": NOON + 90}])
        assert ran.counts()[3]["thread_gone"] == 1
        assert await thread.get() is None


async def test_a_claude_export_and_saved_messages_are_taken_once(tmp_path: Path) -> None:
    export = [claude(said("m1", "human", "Hi", 1), said("m2", "assistant", "Hello", 2))]
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, None, {}]}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "42"}
    saved = {
        "id": "saved",
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": "6 * 7?"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ],
    }
    async with running(tmp_path) as (place, memory):
        files = (place.write(export, "a.json"), place.write(json.dumps(saved) + "\n", "b.jsonl"))
        asked = ("--format", "anthropic", "--resource", "ann", "--json", *files)
        assert (await place.ingest(*asked)).counts() == (7, 0, 0, {})
        assert (await place.ingest(*asked)).counts() == (0, 7, 0, {})
        resource = memory.resource("ann")
        assert [content for _, _, content in await shown(resource.thread("conv-1"))] == [
            [{"type": "text", "text": text, "citations": []}] for text in ("Hi", "Hello")
        ]
        assert [each[1:] for each in await shown(resource.thread("saved"))] == [
            ("system", "Be brief."),
            ("user", "6 * 7?"),
            ("assistant", [use]),
            ("tool", [result]),
        ]


async def test_a_mastra_database_is_taken_once_with_its_working_memory(tmp_path: Path) -> None:
    threads = [mastra_thread(metadata={"n": 1, "workingMemory": '{"goal": "refund"}'})]
    messages = [
        mastra_message("m2", "assistant", "Hello", "2025-05-11T21:46:41.000Z"),
        mastra_message("m1", "user", "Hi"),
    ]
    async with running(tmp_path) as (place, memory):
        old, new = place.path / "old.db", place.path / "new.db"
        mastra_database(old, threads, messages, [mastra_resource()])
        messages.append(mastra_message("m3", "user", "Bye", "2025-05-11T21:46:42.000Z"))
        changed = mastra_resource(
            workingMemory='{"name": "Sam"}', updatedAt="2025-05-12T00:00:00.000Z"
        )
        mastra_database(new, threads, messages, [changed])
        asked = ("--format", "mastra", "--json")
        assert (await place.ingest(*asked, old)).counts() == (6, 0, 0, {})
        assert (await place.ingest(*asked, new)).counts() == (3, 4, 0, {})
        assert (await place.ingest(*asked, new, old, new)).counts() == (0, 20, 0, {})
        resource = memory.resource("r1")
        assert [id_ for id_, _, _ in await shown(resource.thread("t1"))] == ["m1", "m2", "m3"]
        state = await resource.working_memory.get()
        own = await resource.thread("t1").working_memory.get()
        assert state is not None
        assert own is not None
        assert (state.content, own.content) == ({"name": "Sam"}, {"goal": "refund"})
        titled = await resource.thread("t1").get()
        assert titled is not None
        assert (titled.title, titled.metadata["n"]) == ("Support", 1)


def many(conversations: int, messages: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for number in range(conversations):
        nodes = [node("root", None)]
        for place in range(messages):
            text = f"{number}.{place} " + "x" * 200
            nodes.append(node(f"m{place}", nodes[-1]["id"], "user", [text]))
        made.append(tree(*nodes, ends=nodes[-1]["id"], id=f"c{number}"))
    return made


@pytest.mark.faults
async def test_an_ingest_that_is_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    async with running(tmp_path) as (place, memory):
        file = place.write(many(300, 12))
        asked = ("--format=openai", "--resource=ann", "--json", file)
        for part in (50, 250):
            process = await place.start(*asked)
            async with asyncio.timeout(120):
                while (await memory.status())["stream"]["last_sequence"] < part:  # noqa: ASYNC110 - another process.
                    await asyncio.sleep(0.01)
            process.kill()
            await process.communicate()
        ran = await place.ingest(*asked)
        assert ran.code == 0
        added, already_there, failed, _ = ran.counts()
        assert 0 < added < 300 * 13
        assert (added + already_there, failed) == (300 * 13, 0)
        resource = memory.resource("ann")
        # Each once, in order: also in the log, where a second one would be a duplicate.
        changes = await resource.history(everything=True)
        assert len(changes) == 300 * 13
        assert {change.outcome for change in changes} == {"applied"}
        for number in (0, 150, 299):
            found = await shown(resource.thread(f"c{number}"))
            assert [id_ for id_, _, _ in found] == [f"m{place}" for place in range(12)]


async def test_files_and_conversations_that_repeat_are_published_once(tmp_path: Path) -> None:
    async with running(tmp_path) as (place, memory):
        first = place.write([trip(), continued()], "1.json")
        second = place.write([trip()], "2.json")
        ran = await place.ingest(
            "--format=openai", "--resource=ann", "--json", first, second, first
        )
        assert ran.counts()[0] == 7 + 3
        changes = await memory.resource("ann").history(everything=True)
        assert {change.outcome for change in changes} == {"applied"}


async def test_what_fails_is_told_and_its_neighbours_are_taken(tmp_path: Path) -> None:
    large: dict[str, Any] = trip() | {"id": "large"}
    large["mapping"]["u1"]["message"]["content"]["parts"] = ["x" * 600_000]
    async with running(tmp_path) as (place, memory):
        ran = await place.openai([large, {"id": "none"}, trip()])
        assert ran.code == 4
        assert ran.counts() == (13, 0, 2, {"empty": 2, "other_branch": 2})
        told = ran.err.splitlines()[:2]
        where = f"memfold: {place.path}/export.json: conversation"
        assert told == [
            (
                f"{where} 1 (large), message 3 (u1): event_too_large: "
                "the event is larger than 524288 bytes"
            ),
            f"{where} 2: invalid_input: not a conversation: it has neither mapping nor messages",
        ]
        assert len(await memory.resource("ann").thread("large").messages()) == 5
        assert (await place.openai([large, {"id": "none"}, trip()])).counts()[:3] == (0, 13, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ("--format=openai", "FILE"),
            2,
            "--resource ID is needed: files of openai do not say whose they are",
        ),
        (("--format=anthropic", "--resource=a"), 2, "name the files to ingest"),
        (("--format=anthropic", "--resource=a", "nowhere"), 2, "nowhere cannot be read: No such"),
        (("--format=mastra", "--thread=t", "FILE"), 2, "--thread does not go with mastra: its"),
        (("--format=jsonl", "--resource=a", "FILE"), 2, "--resource does not go with jsonl: its"),
        (("--format=locomo", "--thread=a", "FILE"), 2, "--thread does not go with locomo: its"),
        (
            ("--format=anthropic", "--resource=a", "FILE", "--dry-run"),
            1,
            (
                "FILE: not a conversation: it has neither chat_messages nor messages "
                "(it looks like --format openai)"
            ),
        ),
        (
            ("--format=mastra", "FILE", "--dry-run"),
            1,
            "FILE: not rows of Mastra: neither threads, messages nor resources",
        ),
    ],
)
async def test_a_command_that_does_not_fit_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    place = Place(tmp_path)
    file = str(place.write([trip()]))
    ran = await place.ingest(*(each.replace("FILE", file) for each in arguments))
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"memfold: {told.replace('FILE', file)}")
    assert not place.data.exists()


async def test_a_packed_export_is_to_be_unpacked(tmp_path: Path) -> None:
    place = Place(tmp_path)
    file = place.write("PK\x03\x04...", "export.zip")
    ran = await place.ingest("--format=openai", "--resource=a", "--dry-run", file)
    assert ran.code == 1
    assert ran.err == (
        f"memfold: {file}: a ZIP archive: unpack it, and name the file of conversations in it\n"
    )


async def test_a_dry_run_counts_and_needs_no_engine(tmp_path: Path) -> None:
    place = Place(tmp_path)
    ran = await place.openai([trip(), trip() | {"id": "x"}], "--dry-run")
    found = ran.summary
    del found["seconds"]
    assert found == {
        "messages": 12,
        "threads": 2,
        "resources": 1,
        "events": 14,
        "last_sequence": 0,
        "added": 0,
        "already_there": 0,
        "failed": 0,
        "skipped": {"empty": 2, "other_branch": 2},
        "dry_run": True,
    }
    assert not place.data.exists()
