"""Starting a job of an engine and following it to its end, with bare NATS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
from nats.aio.client import Client

from memfold_consumers.identity import engine_id

DEADLINE_S = 60.0


async def ask_job(connection: Client, engine: Path, body: dict[str, Any]) -> dict[str, Any]:
    """Send one request to the engine of a data directory; return the job that it tells of."""
    reply = await connection.request(
        f"memfold.query.job.{engine_id(engine)}", orjson.dumps(body), timeout=DEADLINE_S
    )
    answer: dict[str, Any] = orjson.loads(reply.data)
    assert "error" not in answer, answer
    job: dict[str, Any] = answer["job"]
    return job


async def run_job(connection: Client, engine: Path, kind: str, **arguments: object) -> Any:  # noqa: ANN401  # any JSON
    """Run a job to its end; return its result, or its error."""
    job = await ask_job(connection, engine, {"start": kind, "arguments": arguments})
    async with asyncio.timeout(DEADLINE_S):
        while job["state"] == "running":
            await asyncio.sleep(0.01)
            job = await ask_job(connection, engine, {"number": job["number"]})
    return job["error"] if job["state"] == "failed" else job["result"]
