"""One agent of ``memfold demo``: a process of its own, which only publishes.

It says when it is ready, begins when told to, and prints the receipt of each write as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import memfold
from memfold_consumers.cli.sample import CLERKS, CONVERSATION, HOST, NOTES_EACH, THREAD, Clerk, note


async def main() -> None:
    """Publish this agent's part of the demonstration."""
    parser = argparse.ArgumentParser(prog="memfold_consumers.cli.demo_agent")
    for name in ("url", "namespace", "resource", "actor"):
        parser.add_argument(name)
    given = parser.parse_args()
    async with memfold.connect(given.url, actor=given.actor, namespace=given.namespace) as memory:
        resource = memory.resource(given.resource)
        _say({"ready": given.actor})
        await asyncio.to_thread(sys.stdin.readline)
        if given.actor == HOST:
            await _host(resource)
        else:
            clerks = {clerk.name: clerk for clerk in CLERKS}
            await _clerk(resource, clerks[given.actor])


async def _host(resource: memfold.Resource) -> None:
    """Hold the conversation, and remember what is said in it."""
    thread = resource.thread(THREAD)
    for number, turn in enumerate(CONVERSATION, start=1):
        receipt = await thread.append({"id": f"m{number}", "role": turn.role, "content": turn.text})
        _say(receipt.to_json())
        if turn.learned is not None:
            learned = await resource.working_memory.merge(
                turn.learned, because=receipt, reason=turn.reason
            )
            _say(learned.to_json())


async def _clerk(resource: memfold.Resource, clerk: Clerk) -> None:
    """Write all notes at once, in any order: they are deltas, so none undoes another."""
    thread = resource.thread(f"{clerk.name}_1")
    receipt = await thread.append({"id": "m1", "role": "user", "content": clerk.request})
    _say(receipt.to_json())
    memory = resource.working_memory
    async with asyncio.TaskGroup() as group:
        notes = [
            group.create_task(memory.merge(note(clerk, number), because=receipt))
            for number in range(1, NOTES_EACH + 1)
        ]
    for noted in notes:
        _say(noted.result().to_json())


def _say(value: object) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
