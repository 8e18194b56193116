"""Runs what a page or an example shows, as from a fresh shell, and ends the engines it started."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sysconfig
from pathlib import Path

from memfold_consumers.ownership import engine_pid, engine_running
from support.shared import ROOT

DEADLINE_S = 60.0
BLOCK = re.compile(r"(<!-- not run[^\n]*-->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: str, language: str, heading: str = "", *, run: bool = True) -> list[str]:
    """Return the code blocks of a page, or of what is under one of its headings."""
    text = (ROOT / page).read_text("utf-8")
    if heading:
        _, found, text = text.partition(f"\n{heading}\n")
        assert found, f"{page} has no heading {heading}"
        level = heading.split(" ", maxsplit=1)[0]
        text = re.split(rf"^#{{2,{len(level)}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return [
        code
        for skipped, name, code in BLOCK.findall(text)
        if name == language and not (run and skipped)
    ]


def run(
    command: list[str], directory: Path, *, timeout_s: float = DEADLINE_S, **variables: str
) -> str:
    """Run as from a fresh shell in the directory, with the installed commands first in the path."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MEMFOLD_") and name not in {"NATS_URL", "PYTHONPATH"}
    }
    environment["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=directory,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


async def end_engines(directory: Path) -> None:
    """End every engine whose data is somewhere below a directory."""
    locks = await asyncio.to_thread(lambda: list(directory.rglob("engine.lock")))
    async with asyncio.timeout(DEADLINE_S):
        for lock in locks:
            if (pid := engine_pid(lock.parent)) is not None:
                os.kill(pid, signal.SIGTERM)
            while engine_running(lock.parent):  # noqa: ASYNC110 - another process.
                await asyncio.sleep(0.02)
