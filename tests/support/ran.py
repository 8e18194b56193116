"""The real ``memfold`` command, run to its end."""

from __future__ import annotations

import asyncio
import json
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMFOLD = Path(sysconfig.get_path("scripts")) / "memfold"
TIMEOUT_S = 60


@dataclass(frozen=True)
class Ran:
    """What a run of the command printed, and its exit code."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    def json(self) -> Any:  # noqa: ANN401 - any JSON.
        assert self.code == 0, self.err
        return json.loads(self.out)


async def run_memfold(*arguments: str | Path) -> Ran:
    """Run the command; what it prints is meant for a pipe."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEMFOLD_", "NATS_"))
    }
    process = await asyncio.create_subprocess_exec(
        MEMFOLD,
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=kept | {"COLUMNS": "80", "TERM": "dumb"},
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate()
    return Ran(process.returncode or 0, out, err.decode())
