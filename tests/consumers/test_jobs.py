"""Jobs of an engine: one at a time, followed by whoever asks, ended with the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from memfold.errors import EngineBusy, InvalidRequest, NotFound
from memfold_consumers.cli.jobs import run_job
from memfold_consumers.identity import engine_id
from memfold_consumers.jobs import KEPT_MAX, Jobs, Progress


class Gate:
    """Work that reports one step and waits to be let through."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = asyncio.Event()
        self.runs = 0

    async def work(self, progress: Progress, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.runs += 1
        progress.begin("first", 2)
        progress.done = 1
        self.begun.set()
        await self.open.wait()
        if arguments.get("fails"):
            raise NotFound("nothing is known of it")
        return {"did": dict(arguments)}


async def test_a_job_shows_how_far_it_is_and_ends_with_its_result() -> None:
    gate = Gate()
    jobs = Jobs({"wait": gate.work})
    assert jobs.state() is None
    jobs.start("wait", {"a": 1})
    await gate.begun.wait()
    running = jobs.state()
    assert running is not None
    assert (running["state"], running["phase"], running["done"], running["total"]) == (
        "running",
        "first",
        1,
        2,
    )
    gate.open.set()
    await jobs.wait()
    done = jobs.state()
    assert done is not None
    assert (done["state"], done["result"], done["error"]) == ("done", {"did": {"a": 1}}, None)


async def test_asking_for_the_running_job_joins_it_and_for_another_is_refused() -> None:
    gate = Gate()
    jobs = Jobs({"wait": gate.work, "other": gate.work})
    jobs.start("wait", {"a": 1})
    jobs.start("wait", {"a": 1})
    await gate.begun.wait()
    with pytest.raises(EngineBusy):
        jobs.start("wait", {"a": 2})
    with pytest.raises(EngineBusy):
        jobs.start("other", {})
    gate.open.set()
    await jobs.wait()
    assert gate.runs == 1
    jobs.start("other", {})
    await jobs.wait()
    assert gate.runs == 2


async def test_the_result_of_a_job_is_there_whatever_ran_next() -> None:
    gate = Gate()
    gate.open.set()
    jobs = Jobs({"wait": gate.work, "other": gate.work})
    first = jobs.start("wait", {"a": 1})
    await jobs.wait()
    for number in range(2 * KEPT_MAX):
        jobs.start("other", {"b": number})
        await jobs.wait()
    kept = jobs.state(first)
    assert kept is not None
    assert (kept["kind"], kept["result"]) == ("wait", {"did": {"a": 1}})
    assert jobs.state(first + 1) is None
    assert (jobs.state() or {})["number"] == first + 2 * KEPT_MAX


class Followed:
    """An access to an engine that starts another job as soon as one has ended."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.gate.open.set()
        self.jobs = Jobs({"wait": self.gate.work, "erase": self.gate.work})

    async def ask(self, _operation: str, _engine: str, body: Any, **_: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
        if "start" in body:
            number = self.jobs.start(body["start"], body["arguments"])
            answer = self.jobs.state(number)
            await self.jobs.wait()
            self.jobs.start("erase", {})
            return {"job": answer}
        return {"job": self.jobs.state(body.get("number"))}


async def test_whoever_follows_a_job_has_its_result_though_an_erasure_came_next() -> None:
    access: Any = Followed()
    result = await run_job(access, "wait", {"a": 1}, engine="any")
    assert result["did"] == {"a": 1}


async def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidRequest, match="other, wait"):
        Jobs({"wait": Gate().work, "other": Gate().work}).start("paint", {})


async def test_a_job_that_fails_says_with_which_code() -> None:
    gate = Gate()
    gate.open.set()
    jobs = Jobs({"wait": gate.work})
    jobs.start("wait", {"fails": True})
    await jobs.wait()
    failed = jobs.state()
    assert failed is not None
    assert (failed["state"], failed["error"]) == (
        "failed",
        {"code": "not_found", "message": "nothing is known of it"},
    )


async def test_a_job_ends_with_its_engine() -> None:
    gate = Gate()
    jobs = Jobs({"wait": gate.work})
    jobs.start("wait", {})
    await gate.begun.wait()
    await jobs.stop()
    ended = jobs.state()
    assert ended is not None
    assert ended["state"] == "failed"


def test_an_engine_keeps_its_id_with_its_directory(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert engine_id(one) == engine_id(one) != engine_id(other)
    (one / "engine-id").write_bytes(b"\xff spoilt")
    made = engine_id(one)
    assert len(made) == 32
    assert engine_id(one) == made
