"""A publisher process for fault tests: appends messages and writes down what was acknowledged.

Run as ``python publisher.py URL ACTOR FILE``; it ends once FILE.stop exists. Each acknowledged
message becomes one line ``number sequence`` in FILE, flushed at once, so that it stands even if
this process is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import memfold


async def main(url: str, actor: str, file: Path) -> None:
    """Publish in order: the next message only after the last one was acknowledged."""
    stop = file.with_name(f"{file.name}.stop")
    async with memfold.connect(url, actor=actor, timeout_s=60, connect_timeout_s=60) as memory:
        owner = memory.resource("alice")
        thread = owner.thread(f"by-{actor}")
        number = 0
        with file.open("a", buffering=1) as acknowledged:
            while not stop.exists():
                message = memfold.Message(id=f"m{number}", role="user", content=f"text {number}")
                receipt = await thread.append(message)
                acknowledged.write(f"{number} {receipt.sequence}\n")
                if number % 5 == 0:
                    merged = await owner.working_memory.merge({actor: {f"k{number}": number}})
                    # Some writes wait for the fold, so that kills meet readers, too.
                    assert await merged.applied(timeout=60) == "applied"
                number += 1


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
