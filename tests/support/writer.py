"""One of several processes that write to the same documents at once, 64 tasks in each."""

from __future__ import annotations

import asyncio
import sys

import memfold
from memfold import Message, Receipt

TASKS = 64


async def main(url: str, name: str) -> None:
    """Make every kind of change once in each task, all on one resource and thread."""
    async with memfold.connect(url, actor=name) as memory:
        alice = memory.resource("alice")
        thread = alice.thread("t")

        async def changes(key: str) -> list[Receipt]:
            return [
                await thread.append(Message(id=key, role="user", content=f"by {key}")),
                await alice.working_memory.merge({key: {"by": name}}),
                await thread.working_memory.edit(f"- {key}: open", f"- {key}: done"),
                await thread.working_memory.append(f"- {key}: appended"),
                await alice.update(metadata={key: 1}),
                await thread.update(metadata={key: 2}),
                await thread.update(title=key),
                await thread.update_message("shared", metadata={key: 3}),
            ]

        await asyncio.gather(*(changes(f"{name}-{n}") for n in range(TASKS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
