"""The conversations of the LoCoMo data set, the command that ingests them, and what they make."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from memfold_consumers.ownership import engine_running
from support.shared import shared_dir

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


async def ended(data: Path) -> None:
    async with asyncio.timeout(60):
        while engine_running(data):  # noqa: ASYNC110 - another process.
            await asyncio.sleep(0.05)
