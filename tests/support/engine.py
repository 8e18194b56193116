"""A real engine in the test's own process, on a server that runs already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from memfold_consumers.engine import run_engine


@asynccontextmanager
async def running_engine(url: str, data: Path, namespace: str = "memfold") -> AsyncGenerator[None]:
    """Run an engine for the length of a block; it answers from the block's first line on."""
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.ensure_future(
        run_engine(url=url, data=data, namespace=namespace, stop=stop, on_ready=ready.set)
    )
    started = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        assert started.done(), running.result()
        yield
    finally:
        stop.set()
        started.cancel()
        await running
