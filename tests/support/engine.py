"""A real engine in this process, and a memory opened on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import memfold
from memfold import Memory
from memfold_consumers.engine import run_engine
from memfold_consumers.settings import EngineSettings
from support.broker import running_broker


@asynccontextmanager
async def running_engine(
    url: str,
    data: Path,
    namespace: str = "memfold",
    *,
    settings: EngineSettings | None = None,
) -> AsyncGenerator[None]:
    """Run an engine for the length of a block; it answers from the block's first line on."""
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.ensure_future(
        run_engine(
            url=url,
            data=data,
            namespace=namespace,
            stop=stop,
            on_ready=ready.set,
            settings=settings,
        )
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


@asynccontextmanager
async def running_memory(directory: Path) -> AsyncGenerator[tuple[Memory, str]]:
    """Run a server and an engine, and yield a memory of the actor ``bot`` with the server's URL."""
    for name in ("broker", "engine"):
        (directory / name).mkdir()
    async with (
        running_broker(directory / "broker") as broker,
        running_engine(broker.url, directory / "engine"),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        yield memory, broker.url
