"""Running a verification on an engine, as the command line does."""

from __future__ import annotations

import asyncio
from typing import Any

from memfold import Memory


async def verify(memory: Memory, **arguments: object) -> dict[str, Any]:
    """Run a verification to its end and return its report."""
    engine = (await memory.status())["engine"]
    ask = memory._client.queries.ask
    asked: dict[str, Any] = {"start": "verify", "arguments": arguments}
    while True:
        job = (await ask("job", engine, asked, fresh=False))["job"]
        asked = {"number": job["number"]}
        assert job["error"] is None, job
        if job["state"] == "done":
            report: dict[str, Any] = job["result"]
            return report
        await asyncio.sleep(0.01)


def places(report: dict[str, Any]) -> set[tuple[str, int | None]]:
    """Return kind and first sequence of each finding."""
    return {(each["kind"], each["sequence"]) for each in report["findings"]}
