"""An agent with memory: two lines in its loop, one before the model and one after it.

The model is scripted, so that this runs anywhere; a real one goes in its place. Try:

    python examples/agent_loop.py [DATA_DIRECTORY]
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import memfold
from memfold_consumers import local


class ScriptedModel:
    """Stands for a model: notes what it is told of, and answers from its system message."""

    def __init__(self) -> None:
        self._calls = 0

    async def complete(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the next message, in the shape of OpenAI's chat completions."""
        system, last = messages[0]["content"], messages[-1]
        if last["role"] == "tool":
            return {"role": "assistant", "content": f"All right. ({last['content']})"}
        if "Berlin" in last["content"]:
            return self._call(tools[0], mode="append", content="- Lives in Berlin")
        if "weather" in last["content"]:
            return self._call({"function": {"name": "weather"}}, city="Berlin")
        where = "Berlin" if "Lives in Berlin" in system else "a place you have not told me"
        return {"role": "assistant", "content": f"You live in {where}."}

    def _call(self, tool: dict[str, Any], **arguments: str) -> dict[str, Any]:
        self._calls += 1
        function = {"name": tool["function"]["name"], "arguments": json.dumps(arguments)}
        call = {"id": f"call_{self._calls}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}


def weather(call: dict[str, Any]) -> dict[str, Any]:
    """Run the agent's own tool."""
    city = json.loads(call["function"]["arguments"])["city"]
    return {"role": "tool", "tool_call_id": call["id"], "content": f"It rains in {city}."}


async def turn(thread: memfold.Thread, model: ScriptedModel, text: str) -> str:
    """Answer one message of the user."""
    processor = thread.processor(system="You are a travel assistant.")
    request = await processor.before({"role": "user", "content": text})
    said: list[dict[str, Any]] = []
    while True:
        reply = await model.complete([*request.messages, *said], request.tools)
        said.append(reply)
        calls = reply.get("tool_calls", [])
        if not calls:
            break
        said += await processor.answer(calls)
        said += [weather(call) for call in calls if call["function"]["name"] == "weather"]
    await processor.after(said)
    return str(said[-1]["content"])


async def main(data: str = ".memfold") -> None:
    """Talk in one thread, then ask in another: the memory is the resource's."""
    async with local(data, actor="travel-agent") as memory:
        sam, model = memory.resource("user_sam"), ScriptedModel()
        for thread, text in [
            ("booking", "I moved to Berlin."),
            ("booking", "How is the weather?"),
            ("another day", "Where do I live?"),
        ]:
            print(f"{thread:>12} | user:      {text}")
            print(f"{thread:>12} | assistant: {await turn(sam.thread(thread), model, text)}")
        stored = await sam.messages()
        state = await sam.working_memory.get()
        print(f"\n{len(stored)} messages are stored; the memory tool's calls are not among them.")
        print(f"Working memory: {state.content if state else None}")
        [change, *_] = [each for each in await sam.history() if each.thread is None]
        print(f"It rests on {change.data['evidence'][0]['thread']!r}, by {change.actor}.")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
