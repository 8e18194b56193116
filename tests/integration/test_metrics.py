"""Metrics of a running engine: by operation, never by resource."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

import memfold
from memfold_consumers.nats_probe import free_port
from memfold_consumers.ownership import current_engine

pytestmark = pytest.mark.integration


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        return str(page.read().decode())


async def test_metrics_count_operations_and_name_no_resource(tmp_path: Path) -> None:
    """A label per resource would leak users' ids and grow without bound."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "memfold_consumers.cli.main", "--data", str(tmp_path / "data")),
        *("serve", "--metrics-port", str(port)),
        env={**os.environ, "MEMFOLD_NATS_URL": "", "NATS_URL": ""},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while (info := current_engine(tmp_path / "data")) is None:  # noqa: ASYNC110 - another process.
                await asyncio.sleep(0.05)
        async with memfold.connect(info.url, actor="bot") as memory:
            await memory.resource("secret-user").thread("secret-thread").snapshot()
        text = await asyncio.to_thread(scrape, port)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
    assert 'handler="memfold.query.snapshot"' in text
    assert "secret" not in text
    assert "_INBOX" not in text
