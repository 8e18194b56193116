"""``memfold rebuild`` and ``memfold restore`` as a person runs them, against a local engine."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

MEMFOLD = Path(sysconfig.get_path("scripts")) / "memfold"
DEADLINE_S = 120


def run(data: Path, *arguments: str, code: int = 0, given: str = "") -> tuple[str, str]:
    """Run a command; return what it printed, once it has ended as expected."""
    names = ("MEMFOLD_NATS_URL", "NATS_URL", "MEMFOLD_NAMESPACE")
    ran = subprocess.run(
        [MEMFOLD, *arguments, "--data", data],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
        env={key: value for key, value in os.environ.items() if key not in names},
    )
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    return ran.stdout, ran.stderr


def answer(data: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(data, *arguments, "--json", code=code)[0])
    return found


def end_engine(data: Path) -> None:
    """Wait until the background engine has released its lock."""
    with (data / "engine.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "data"
    lines = [
        json.dumps(
            {
                "specversion": "1.0",
                "id": f"e{number}",
                "type": "MessageAppended",
                "source": "bot",
                "resourceid": "alice",
                "threadid": "t",
                "data": {"message": {"id": f"m{number}", "role": "user", "content": "x"}},
            }
        )
        for number in range(30)
    ]
    run(directory, "ingest", "--format", "jsonl", "-", given="\n".join(lines))
    yield directory
    end_engine(directory)


def test_rebuild_compares_replaces_and_goes_back(data: Path) -> None:
    """A projection that was changed ends with 6 and its table; a rollback brings it back."""
    same = answer(data, "rebuild")
    assert (same["generation"], same["same"], same["events"]) == (2, True, 30)
    text, _ = run(data, "rebuild", "--from", "stream")
    assert "generation 3 in place of 2" in text
    assert "both had the same content" in text
    end_engine(data)
    with duckdb.connect(str(data / "generations" / "000003.duckdb")) as file:
        file.execute("DELETE FROM message WHERE id = 'm7'")
    text, errors = run(data, "rebuild", code=6)
    assert ["message", "0", "1"] in [line.split() for line in text.splitlines()]
    assert "tables: message" in errors
    shown = answer(data, "messages", "alice")
    assert len(shown["messages"]) == 30
    back = answer(data, "rebuild", "--rollback")
    assert (back["generation"], back["same"]) == (3, None)
    assert len(answer(data, "messages", "alice")["messages"]) == 29
    run(data, "rebuild", "--rollback", "--from", "stream", code=2)
    run(data, "rebuild", "--engine", "nobody", code=7)


def test_restore_says_what_it_would_do_and_does_it(data: Path) -> None:
    """A lost store ends with 6 until it is filled again; then there is nothing to do."""
    whole = answer(data, "restore")
    assert whole["found"] == "intact"
    shutil.rmtree(data / "nats")
    dry = answer(data, "restore", "--dry-run", code=6)
    assert (dry["found"], dry["log"], dry["done"]) == ("lost", whole["log"], False)
    text, _ = run(data, "restore", code=6)
    assert "memfold restore --yes" in text
    text, _ = run(data, "restore", "--yes")
    assert f"put back: {whole['log']} messages" in text
    assert answer(data, "restore", "--yes")["found"] == "intact"
    assert len(answer(data, "messages", "alice")["messages"]) == 30
    assert answer(data, "rebuild", "--from", "stream")["same"] is True


def test_restore_needs_a_log(tmp_path: Path) -> None:
    """And leaves a directory without one as it is."""
    run(tmp_path / "none", "restore", code=3)
    assert not (tmp_path / "none").exists()
