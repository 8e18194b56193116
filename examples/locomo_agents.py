"""Long conversations of two people, heard by two agents that remember what matters.

Each file of LoCoMo (see its licence; none is in this repository) holds the conversation of two
people over many dated sessions, and observations: facts, each with the turns that it rests on. Here
each person has an agent. It gets what its person says as a user's message, and its model, scripted,
calls the memory tool for every observation as soon as the last turn it rests on was said. So both
agents work in the same threads and on one memory.

    python examples/locomo_agents.py [--data DIRECTORY] FILE...

File = resource, session = thread, turn = message, observation = a change of the working memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from memfold import Memory, Prompt
from memfold_consumers import local

SESSION = re.compile(r"session_([0-9]+)")
SCHEMA = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "description": "One person, by name.",
        "properties": {"facts": {"type": "object", "additionalProperties": {"type": "string"}}},
        "additionalProperties": False,
    },
}


@dataclass(frozen=True)
class Turn:
    """Something that a person said."""

    thread: str
    id: str
    speaker: str
    text: str
    time: str


@dataclass(frozen=True)
class Fact:
    """An observation: about whom, under which name, what, and which turns it rests on."""

    about: str
    key: str
    text: str
    evidence: tuple[str, ...]


class Conversation:
    """One file: its turns in order, and what is to be remembered after which turn."""

    def __init__(self, path: Path) -> None:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
        self.name = path.stem
        self.speakers = (str(raw["speaker_a"]), str(raw["speaker_b"]))
        numbers = sorted(int(match[1]) for key in raw if (match := SESSION.fullmatch(key)))
        self.turns = [turn for number in numbers for turn in _turns(raw, number)]
        self.threads = {turn.id: turn.thread for turn in self.turns}
        self.facts = _facts(raw, numbers, [turn.id for turn in self.turns])


def _turns(raw: dict[str, Any], number: int) -> list[Turn]:
    name = f"session_{number}"
    # Like "1:56 pm on 8 May, 2023", read as UTC.
    said = datetime.strptime(f"{raw[f'{name}_date_time']} +0000", "%I:%M %p on %d %B, %Y %z")
    time = said.isoformat()
    return [Turn(name, turn["dia_id"], turn["speaker"], turn["text"], time) for turn in raw[name]]


def _facts(raw: dict[str, Any], numbers: list[int], ids: list[str]) -> dict[str, list[Fact]]:
    """Return the facts by the turn after which all that they rest on was said."""
    order = {id_: place for place, id_ in enumerate(ids)}
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    found: defaultdict[str, list[Fact]] = defaultdict(list)
    for number in numbers:
        observations: dict[str, list[tuple[str, str | list[str]]]]
        observations = raw.get(f"session_{number}_observation", {})
        for about, observed in observations.items():
            for text, given in observed:
                named = ",".join([given] if isinstance(given, str) else given).split(",")
                evidence = tuple(dict.fromkeys(id_.strip() for id_ in named if id_.strip()))
                joined = "+".join(evidence)
                counts[about, joined] += 1
                fact = Fact(about, f"{joined}.{counts[about, joined]}", text, evidence)
                found[max(evidence, key=order.__getitem__)].append(fact)
    return found


class ScriptedModel:
    """Stands for a model: after each turn it wants to remember what the file says of it."""

    def __init__(self, conversation: Conversation) -> None:
        self._facts = conversation.facts

    async def complete(self, request: Prompt, turn: Turn) -> list[tuple[dict[str, Any], Fact]]:
        """Return calls of the memory tool as OpenAI's models make them, each with its reason."""
        assert request.messages[-1]["content"] == turn.text, "the model was asked about this turn"
        calls: list[tuple[dict[str, Any], Fact]] = []
        for number, fact in enumerate(self._facts.get(turn.id, [])):
            patch = {fact.about: {"facts": {fact.key: fact.text}}}
            function = {
                "name": request.tools[0]["function"]["name"],
                "arguments": json.dumps({"memory": patch}),
            }
            call = {"id": f"{turn.id}-{number}", "type": "function", "function": function}
            calls.append((call, fact))
        return calls


async def hear(memory: Memory, conversation: Conversation, turn: Turn) -> int:
    """Let one agent hear one turn; return how many facts it remembered."""
    thread = memory.resource(conversation.name).thread(turn.thread)
    processor = thread.processor(last=6)
    request = await processor.before(
        {
            "id": turn.id,
            "role": "user",
            "content": turn.text,
            "created_at": turn.time,
            "metadata": {"speaker": turn.speaker},
        }
    )
    remembered = 0
    for call, fact in await ScriptedModel(conversation).complete(request, turn):
        # By default a change rests on the turn's input; some facts rest on earlier turns as well.
        because = [(conversation.threads[id_], id_) for id_ in fact.evidence]
        [answer] = await processor.answer(call, because=because)
        remembered += answer["content"].startswith("Saved")
    await processor.after()
    return remembered


async def replay(agents: dict[str, Memory], conversation: Conversation) -> None:
    """Let each person's agent hear what the person says, turn by turn."""
    first = agents[conversation.speakers[0]]
    working = first.resource(conversation.name).working_memory
    await (await working.define(schema=SCHEMA)).applied()
    remembered = 0
    for turn in conversation.turns:
        remembered += await hear(agents[turn.speaker], conversation, turn)
    state = await working.get()
    threads = {turn.thread for turn in conversation.turns}
    print(
        f"{conversation.name}: {' and '.join(conversation.speakers)}, {len(threads)} threads, "
        f"{len(conversation.turns)} messages, {remembered} facts remembered now"
    )
    people: dict[str, Any] = state.content if state and isinstance(state.content, dict) else {}
    for person, known in people.items():
        last = list(known["facts"].values())[-1]
        print(f"    of {person} {len(known['facts'])} facts are known, for example: {last}")


async def converse(data: str, conversation: Conversation) -> None:
    """Replay one conversation; each agent has its own name and its own connection."""
    one, two = conversation.speakers
    async with local(data, actor=one) as first, local(data, actor=two) as second:
        await replay({one: first, two: second}, conversation)


async def main(data: str, files: list[Path]) -> None:
    """Replay all conversations at the same time."""
    await asyncio.gather(*(converse(data, Conversation(path)) for path in files))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Two agents hear long conversations.")
    parser.add_argument("--data", default=".memfold", help="where memory is kept")
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.data, arguments.files))
