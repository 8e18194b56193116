"""``memfold verify`` as it is typed: a report to read, JSON, and the exit code."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sysconfig
from pathlib import Path

import duckdb
import pytest

from memfold import Message
from memfold.audit.heads import Head
from memfold_consumers.local_engine import local
from memfold_consumers.ownership import engine_running

pytestmark = pytest.mark.acceptance

MEMFOLD = Path(sysconfig.get_path("scripts")) / "memfold"
AUDIT_MISMATCH = 6
NO_ENGINE = 7


async def written(data: Path) -> None:
    async with local(data, actor="bot") as memory:
        thread = memory.resource("alice").thread("t")
        for number in range(10):
            await (
                await thread.append(Message(id=f"m{number}", role="user", content="x"))
            ).applied()
    await ended(data)


async def ended(data: Path) -> None:
    async with asyncio.timeout(30):
        while engine_running(data):  # noqa: ASYNC110 - another process.
            await asyncio.sleep(0.02)


async def verify(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(MEMFOLD), "verify", "--data", str(data), *options]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
    )


def lines_of(ran: subprocess.CompletedProcess[str]) -> list[str]:
    return ran.stdout.splitlines()


async def test_verify_reports_and_ends_with_zero_or_six(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await written(data)
    kept = tmp_path / "kept.ndjson"
    kept.write_bytes((data / "heads.ndjson").read_bytes())
    ran = await verify(data, "--heads", str(kept))
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("10 messages, root ")
    assert lines[-1] == "ok: nothing was changed"
    assert [line.split()[0] for line in lines[1:7]] == [
        "phase",
        "log",
        "published",
        "tree",
        "stream",
        "refold",
    ]
    kept.write_bytes(kept.read_bytes() + b"x\n" + Head(4, bytes(32)).encode() + b"\n")
    ran = await verify(data, "--quick", "--json", "--heads", str(kept))
    assert ran.returncode == AUDIT_MISMATCH
    report = json.loads(ran.stdout)
    found = {(each["kind"], each["sequence"], each["where"]) for each in report["findings"]}
    assert found == {("head_differs", 4, "given line 3"), ("head_unreadable", None, "given line 2")}
    assert report["counts"] == {"head_differs": 1, "head_unreadable": 1}
    await ended(data)
    with duckdb.connect(str(data / "log.duckdb")) as log:
        log.execute("UPDATE event SET payload = payload || ' '::BLOB WHERE sequence = 3")
    ran = await verify(data, "--quick")
    assert ran.returncode == AUDIT_MISMATCH
    assert ["event_changed", "3", "log.duckdb"] in [line.split()[:3] for line in lines_of(ran)]
    assert "1 finding" in lines_of(ran)
    ran = await verify(data, "--heads", str(tmp_path / "none"))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "cannot be read" in ran.stderr


async def test_verify_names_a_log_on_which_no_engine_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await written(data)
    path = data / "log.duckdb"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    ran = await verify(data, "--json")
    assert ran.returncode == AUDIT_MISMATCH, ran.stderr
    report = json.loads(ran.stdout)
    assert report["ok"] is False
    [found] = report["findings"]
    assert (found["kind"], found["where"]) == ("file_unreadable", "log.duckdb")
    assert "move this file away" in found["text"]
    path.unlink()
    ran = await verify(data, "--quick", "--acknowledge")
    assert ran.returncode == 0, ran.stdout


async def test_a_log_without_fault_is_not_blamed_for_an_engine_that_does_not_start(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    await written(data)
    ran = await verify(data, "--namespace", "other")
    assert ran.returncode == NO_ENGINE, ran.stdout
