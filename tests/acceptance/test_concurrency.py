"""Many writers at once: tasks and processes on the same documents, and nothing is lost."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from memfold import Message
from memfold_consumers import local
from memfold_consumers.local_engine import ensure_engine
from support.shared import ROOT
from support.writer import TASKS

pytestmark = pytest.mark.acceptance

PROCESSES = 4


async def test_all_kinds_of_changes_by_tasks_of_processes_at_once(tmp_path: Path) -> None:
    """B22, B72, B148, B176, B177, B178: 64 tasks in each of 4 processes change everything."""
    keys = [f"agent{p}-{n}" for p in range(PROCESSES) for n in range(TASKS)]
    async with local(tmp_path / "data", actor="bot") as memory:
        url = (await ensure_engine(tmp_path / "data")).url
        alice = memory.resource("alice")
        thread = alice.thread("t")
        await thread.append(Message(id="shared", role="user", content="shared"))
        form = [f"- {key}: open" for key in keys]
        await (await thread.working_memory.replace("\n".join(form))).applied()
        processes = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "support.writer", url, f"agent{p}"), cwd=ROOT / "tests"
            )
            for p in range(PROCESSES)
        ]
        assert [await process.wait() for process in processes] == [0] * PROCESSES
        # A write of one's own, so that the reads after it contain all that was written before.
        await (await alice.working_memory.merge({"last": True})).applied()

        messages = await thread.messages()
        assert sorted(message.id for message in messages) == sorted(["shared", *keys])
        assert messages[0].metadata == dict.fromkeys(keys, 3)
        facts = await alice.working_memory.get()
        assert facts is not None
        assert facts.content == {
            "last": True,
            **{key: {"by": key.partition("-")[0]} for key in keys},
        }
        own = await thread.working_memory.get()
        assert own is not None
        assert isinstance(own.content, str)
        lines = own.content.split("\n")
        assert lines[: len(keys)] == [f"- {key}: done" for key in keys]
        assert sorted(lines[len(keys) :]) == sorted(f"- {key}: appended" for key in keys)
        resource, state = await alice.get(), await thread.get()
        assert resource is not None
        assert state is not None
        assert resource.metadata == dict.fromkeys(keys, 1)
        assert state.metadata == dict.fromkeys(keys, 2)
        titles = [
            change.data["title"]
            for change in await thread.history()
            if change.type == "ThreadUpdated" and change.data["title"] is not None
        ]
        assert sorted(titles) == sorted(keys)
        assert state.title == titles[-1]
