"""Getting the right to run a directory's engine, from one that only lingers if need be.

A background engine stays a few seconds after its last user. Who wants to run the engine for good
need not wait for that, but never ends one that somebody uses or runs for good, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from memfold.errors import EngineInUse
from memfold_consumers.ownership import EngineLock, engine_pid, lingering_pid, live_leases

POLL_S: Final = 0.05
PATIENCE_S: Final = 60.0
"""How long a background engine may take to end: it commits and ends its server."""


@asynccontextmanager
async def owned(directory: Path) -> AsyncGenerator[EngineLock]:
    """Hold the engine's lock of a directory for the length of a block.

    Raises:
        EngineInUse: another process runs its engine, for good or for its users.
    """
    lock = EngineLock(directory)
    give_up_at = asyncio.get_running_loop().time() + PATIENCE_S
    asked: int | None = None
    while not lock.acquire():
        owner, lingering = engine_pid(directory), lingering_pid(directory)
        kept = owner is not None and lingering is None
        late = asyncio.get_running_loop().time() > give_up_at
        if kept or late or live_leases(directory) > 0:
            raise EngineInUse(f"process {owner} runs the engine of {directory}")
        if lingering is not None and lingering != asked:
            with suppress(ProcessLookupError):
                os.kill(lingering, signal.SIGTERM)
            asked = lingering
        await asyncio.sleep(POLL_S)
    try:
        yield lock
    finally:
        lock.release()
