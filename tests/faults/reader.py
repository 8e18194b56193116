"""A reader process: asks on and on, and fails if it is ever shown an older state than before.

Run as ``python reader.py URL ACTOR FILE``: it reads the thread that the publisher
ACTOR writes to, and ends once FILE.stop exists. The last sequence it was shown stands in FILE.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import memfold


async def main(url: str, actor: str, file: Path) -> None:
    """Read snapshots whose sequence and messages must only ever grow."""
    stop = file.with_name(f"{file.name}.stop")
    async with memfold.connect(url, actor=f"reader-{actor}") as memory:
        with file.open("w", buffering=1) as shown:
            thread = memory.resource("alice").thread(f"by-{actor}")
            sequence = newest = 0
            while not stop.exists():
                snapshot = await thread.snapshot(last=1)
                assert snapshot.sequence >= sequence, (snapshot.sequence, sequence)
                sequence = snapshot.sequence
                if snapshot.messages:
                    assert snapshot.messages[0].sequence >= newest
                    newest = snapshot.messages[0].sequence
                    shown.write(f"{newest}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
