"""Who shares what: agents a thread, threads of a resource its memory, resources nothing.

python examples/sharing.py [DATA_DIRECTORY]
"""

from __future__ import annotations

import asyncio
import sys

from memfold import Memory
from memfold_consumers import local


async def agents_share_a_thread(planner: Memory, booker: Memory) -> None:
    """Two agents, each with a connection and a name of its own, work in one thread at once."""
    mine, theirs = (memory.resource("user_ada") for memory in (planner, booker))
    receipts = await asyncio.gather(
        mine.thread("trip").append(
            {"id": "plan", "role": "assistant", "content": "Paris, from Monday."}
        ),
        theirs.thread("trip").append(
            {"id": "booking", "role": "assistant", "content": "Train booked."}
        ),
        mine.working_memory.merge({"trip": {"city": "Paris"}}),
        theirs.working_memory.merge({"trip": {"train": "ICE 9"}}),
    )
    # An agent reads its own writes at once, and another's as soon as they are folded.
    await asyncio.gather(*(receipt.applied() for receipt in receipts))
    print("One thread, two agents:")
    for change in await mine.thread("trip").history():
        print(f"  {change.actor} wrote: {change.data['message']['content']}")
    state = await mine.working_memory.get()
    print(f"  both have put something into the memory: {state.content if state else None}")


async def threads_share_a_memory(memory: Memory) -> None:
    """Show that what was learned in one thread is known in all threads of the resource."""
    ada = memory.resource("user_ada")
    said = await ada.thread("trip").append(
        {"id": "vegan", "role": "user", "content": "I eat vegan."}
    )
    await ada.working_memory.merge({"diet": "vegan"}, because=said)
    await ada.thread("dinner").working_memory.merge({"guests": 4})
    prompt = await ada.thread("dinner").prompt()
    snapshot = await ada.thread("dinner").snapshot()
    print("\nOne resource, several threads:")
    print(f"  the thread 'dinner' knows it: {'vegan' in prompt.system}")
    print(f"  its own memory is its own:    {snapshot.thread_working_memory is not None}")
    other = await ada.thread("trip").working_memory.get()
    print(f"  and not that of 'trip':       {other is None}")


async def resources_share_nothing(memory: Memory) -> None:
    """Show that the same ids under another resource are another thread, with other messages."""
    bob = memory.resource("user_bob")
    await bob.thread("trip").append({"id": "plan", "role": "user", "content": "Rome."})
    prompt = await bob.thread("trip").prompt()
    state = await bob.working_memory.get()
    print("\nTwo resources:")
    print(f"  thread 'trip' of Bob has {[each['content'] for each in prompt.messages[1:]]}")
    print(f"  his memory has {state.content if state else None}")
    ada = await memory.resource("user_ada").thread("trip").messages()
    print(f"  Ada's still has {[each.content for each in ada if each.id == 'plan']}")


async def main(data: str = ".memfold") -> None:
    """Show all three."""
    async with local(data, actor="planner") as planner, local(data, actor="booker") as booker:
        await agents_share_a_thread(planner, booker)
        await threads_share_a_memory(planner)
        await resources_share_nothing(booker)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
