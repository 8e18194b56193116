"""The real ``memfold`` command, run as a user does."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memfold_consumers.ownership import engine_pid

MEMFOLD = Path(sysconfig.get_path("scripts")) / "memfold"
TIMEOUT_S = 60


@dataclass(frozen=True)
class Ran:
    """What a run of the command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:  # noqa: ANN401 - any JSON.
        assert self.code == 0, self.err
        return json.loads(self.out)

    def error(self) -> Any:  # noqa: ANN401 - any JSON.
        """Return the JSON error on stderr; stdout must be empty then."""
        assert self.out == ""
        return json.loads(self.err)["error"]


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEMFOLD_", "NATS_"))
    }
    return kept | {"COLUMNS": "80", "TERM": "dumb"} | more


def memfold(*arguments: str | Path, given: str = "", env: dict[str, str] | None = None) -> Ran:
    done = subprocess.run(
        [MEMFOLD, *map(str, arguments)],
        input=given.encode(),
        capture_output=True,
        check=False,
        timeout=TIMEOUT_S,
        env=environment(**(env or {})),
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def end_engine(data: Path) -> None:
    """End the engine at once rather than when nobody has used it for a while."""
    pid = engine_pid(data)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        with (data / "engine.lock").open() as lock:
            # The kernel wakes us when its holder has ended; too long ends the test.
            fcntl.flock(lock, fcntl.LOCK_SH)
