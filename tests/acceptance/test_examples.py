"""The examples run as printed, twice on the same data, and what they leave is right."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold_consumers import local
from support.scripts import blocks, end_engines, run
from support.shared import ROOT, shared_dir

pytestmark = pytest.mark.acceptance

EXAMPLES = ROOT / "examples"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Give an empty directory; the engines that were started in it end with the test."""
    yield tmp_path
    asyncio.run(end_engines(tmp_path))


def example(directory: Path, name: str, *arguments: str, timeout_s: float = 60.0) -> str:
    """Run an example on the directory's data and return what it prints."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return run(command, directory, timeout_s=timeout_s)


def test_every_example_is_tested_here() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"agent_loop.py", "sharing.py", "locomo_agents.py"}


def test_an_agent_remembers_in_another_thread_what_it_was_told(directory: Path) -> None:
    first = example(directory, "agent_loop.py", "data")
    assert "booking | assistant: All right. (Saved" in first
    assert "assistant: All right. (It rains in Berlin.)" in first
    assert "another day | assistant: You live in Berlin." in first
    assert "8 messages are stored" in first
    assert "Working memory: - Lives in Berlin\n" in first
    assert "It rests on 'booking', by travel-agent." in first
    again = example(directory, "agent_loop.py", "data")
    assert "booking | assistant: All right. (Nothing has changed" in again
    assert "16 messages are stored" in again
    assert "Working memory: - Lives in Berlin\n" in again


@pytest.mark.parametrize("times", [1, 2])
def test_agents_share_threads_and_threads_memory_and_resources_nothing(
    directory: Path, times: int
) -> None:
    shown = [example(directory, "sharing.py", "data") for _ in range(times)][-1]
    assert "planner wrote: Paris, from Monday." in shown
    assert "booker wrote: Train booked." in shown
    assert "'trip': {'city': 'Paris', 'train': 'ICE 9'}" in shown
    assert "the thread 'dinner' knows it: True" in shown
    assert "its own memory is its own:    True" in shown
    assert "and not that of 'trip':       True" in shown
    assert "thread 'trip' of Bob has ['Rome.']" in shown
    assert "his memory has None" in shown
    assert "Ada's still has ['Paris, from Monday.']" in shown


Facts = dict[str, dict[str, tuple[str, ...]]]
"""By whom it is about, each fact with the turns it rests on."""


def observed(file: dict[str, Any]) -> Facts:
    """Return the observations of a file, read here on their own; no two of a person are equal."""
    found: Facts = {}
    for name, observations in file.items():
        if not re.fullmatch(r"session_\d+_observation", name):
            continue
        for about, listed in observations.items():
            for fact, evidence in listed:
                ids = re.findall(r"D\d+:\d+", json.dumps(evidence))
                known = found.setdefault(about, {})
                assert fact not in known
                known[fact] = tuple(dict.fromkeys(ids))
    return found


def spoken(file: dict[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Return (id, speaker, text) of each turn by thread."""
    return {
        name: [(turn["dia_id"], turn["speaker"], turn["text"]) for turn in turns]
        for name, turns in file.items()
        if re.fullmatch(r"session_\d+", name) and turns
    }


def read_file(path: Path) -> dict[str, Any]:
    file: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return file


async def check(data: Path, files: list[Path]) -> None:
    """Hold messages, memory, reasons and actors of conversations against their files."""
    async with local(data, actor="auditor") as memory:
        for path in files:
            await check_one(memory, path, read_file(path))
        assert (await memory.status())["parked"] == 0


async def check_one(memory: memfold.Memory, path: Path, file: dict[str, Any]) -> None:
    resource = memory.resource(path.stem)
    threads = spoken(file)
    for name, turns in threads.items():
        stored = await resource.thread(name).messages()
        found = [(each.id, each.metadata["speaker"], each.content) for each in stored]
        assert found == turns
    assert {thread.id for thread in await resource.threads()} == set(threads)
    expected = observed(file)
    state = await resource.working_memory.get()
    assert state is not None
    assert isinstance(state.content, dict)
    people: dict[str, dict[str, dict[str, str]]] = state.content
    assert {about: sorted(known["facts"].values()) for about, known in people.items()} == {
        about: sorted(facts) for about, facts in expected.items()
    }
    places = {id_: name for name, turns in threads.items() for id_, _, _ in turns}
    speakers = {id_: speaker for turns in threads.values() for id_, speaker, _ in turns}
    order = {id_: place for place, id_ in enumerate(places)}
    reasons: Facts = {}
    for change in await resource.history():
        if change.type == "MessageAppended":
            assert change.actor == speakers[change.data["message"]["id"]]
        elif change.type == "WorkingMemoryUpdated":
            [(about, known)] = change.data["content"].items()
            [fact] = known["facts"].values()
            ids = tuple(each["message"] for each in change.data["evidence"])
            assert [each["thread"] for each in change.data["evidence"]] == [
                places[id_] for id_ in ids
            ]
            reasons.setdefault(about, {})[fact] = ids
            # The agent that heard the last turn it rests on has remembered it.
            assert change.actor == speakers[max(ids, key=order.__getitem__)]
    assert reasons == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_agents_remember_long_conversations_as_they_were_observed(directory: Path) -> None:
    """B168: all four conversations, each with two agents at the same threads and one memory."""
    files = sorted((shared_dir() / "data" / "locomo").glob("*.json"))
    assert len(files) == 4
    arguments = ["--data", "data", *map(str, files)]
    shown = example(directory, "locomo_agents.py", *arguments, timeout_s=600)
    asyncio.run(check(directory / "data", files))
    remembered = re.findall(r"(\d+) facts remembered now", shown)
    assert sum(map(int, remembered)) == sum(
        len(facts) for path in files for facts in observed(read_file(path)).values()
    )


def test_two_agents_hear_a_conversation_again_without_remembering_twice(directory: Path) -> None:
    """A small conversation of our own: evidence as an id, a list, and text with commas."""
    turns = [
        {"speaker": "Ann", "dia_id": "D1:1", "text": "I have a dog."},
        {"speaker": "Ben", "dia_id": "D1:2", "text": "What is its name?"},
        {"speaker": "Ann", "dia_id": "D1:3", "text": "Rex. It is old."},
    ]
    later = [{"speaker": "Ben", "dia_id": "D2:1", "text": "How is Rex?"}]
    file = {
        "speaker_a": "Ann",
        "speaker_b": "Ben",
        "session_1": turns,
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1_observation": {
            "Ann": [["Ann has a dog.", "D1:1"], ["Its name is Rex.", ["D1:1", "D1:3"]]],
            "Ben": [["Ben asks about dogs.", "D1:2, D2:1"]],
        },
        "session_2": later,
        "session_2_date_time": "9:00 am on 9 May, 2023",
    }
    path = directory / "pair.json"
    path.write_text(json.dumps(file), "utf-8")
    first = example(directory, "locomo_agents.py", "--data", "data", str(path))
    assert first.startswith("pair: Ann and Ben, 2 threads, 4 messages, 3 facts remembered now\n")
    again = example(directory, "locomo_agents.py", "--data", "data", str(path))
    assert "4 messages, 0 facts remembered now" in again
    assert "of Ann 2 facts are known" in again

    asyncio.run(check(directory / "data", [path]))


MODEL = """
async def call_model(messages, tools):
    if messages[-1]["role"] == "tool":
        return {"role": "assistant", "content": "Welcome, Alice."}
    arguments = '{"mode": "append", "content": "- Alice, lives in Berlin"}'
    function = {"name": tools[0]["function"]["name"], "arguments": arguments}
    call = {"id": "c1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}
"""


def test_the_loop_of_the_readme_lets_the_model_remember_and_answer(directory: Path) -> None:
    """The model sees the result of its tool, and its answer is what is stored."""
    [sample] = blocks("README.md", "python", "## In an agent's loop")
    body = (
        "thread = memory.resource('r').thread('t')\n"
        + sample
        + (
            "print(len(said), said[-1]['content'])\n"
            "print((await memory.resource('r').working_memory.get()).content)\n"
            "print([message.content for message in await thread.messages()])\n"
        )
    )
    program = (
        f"import asyncio\nfrom memfold_consumers import local\n{MODEL}\n"
        "async def main():\n    async with local('.memfold', actor='bot') as memory:\n"
        f"{textwrap.indent(body, ' ' * 8)}\nasyncio.run(main())\n"
    )
    (directory / "loop.py").write_text(program, "utf-8")
    output = run([sys.executable, "loop.py"], directory).splitlines()
    assert output[:2] == ["3 Welcome, Alice.", "- Alice, lives in Berlin"]
    assert "I moved to Berlin." in output[2]
    assert "Welcome, Alice." in output[2]


def test_the_samples_of_the_page_on_prompts_run_in_their_order(directory: Path) -> None:
    """With a model that notes what it is told once."""
    samples = "\n".join(blocks("docs/prompts.md", "python"))
    program = (
        f"import asyncio\nimport memfold\nfrom memfold_consumers import local\n{MODEL}\n"
        "async def main():\n    async with local('.memfold', actor='bot') as memory:\n"
        f"{textwrap.indent(samples, ' ' * 8)}\nasyncio.run(main())\n"
    )
    (directory / "prompts.py").write_text(program, "utf-8")
    output = run([sys.executable, "prompts.py"], directory).splitlines()
    assert output[:2] == ["Welcome, Alice.", "- Alice, lives in Berlin"]
    assert output[-1] == "Moving to Berlin"
    for line in (
        "<working_memory>",
        "unchanged",
        "update_working_memory",
        "True True Saved: added at the end.",
        "False duplicate",
        "False The arguments are not acceptable JSON (not_json). Send one JSON object.",
        "True",
        "[{'role': 'assistant', 'content': [{'type': 'text', 'text': 'Noted. '}]}]",
        "a  c",
    ):
        assert line in output
