"""The README and the pages after it, as a reader tries them: samples run, output is as shown."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path

import nats
import orjson
import pytest

import memfold
from memfold.gate import parse
from memfold_consumers import local
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.nats_server import NatsServer
from memfold_consumers.ownership import Lease
from support.scripts import DEADLINE_S, blocks, end_engines, run

pytestmark = pytest.mark.acceptance

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SECONDS = re.compile(r"\(\d+\.\d+ s\)")


def plain(text: str) -> list[str]:
    """Return the lines of an output without what differs between two runs."""
    text = SECONDS.sub("(S)", TIME.sub("TIME", text))
    return [" ".join(line.split()) for line in text.splitlines()]


def assert_shown(shown: str, output: str) -> None:
    """Compare an output with the page, where a line of dots stands for any lines."""
    wanted, found = plain(shown), plain(output)
    skipping = False
    for line in wanted:
        if line == "...":
            skipping = True
            continue
        while skipping and found and found[0] != line:
            found.pop(0)
        assert found, f"the page shows more: {line}"
        assert found.pop(0) == line
        skipping = False
    assert skipping or found == []


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Give an empty directory; the engines that were started in it end with the test."""
    yield tmp_path
    asyncio.run(end_engines(tmp_path))


def test_the_quickstart_in_python_prints_what_the_page_shows(directory: Path) -> None:
    [code] = blocks("README.md", "python", "## Quickstart in Python")
    [shown] = blocks("README.md", "text", "## Quickstart in Python")
    (directory / "quickstart.py").write_text(code, "utf-8")
    assert_shown(shown, run([sys.executable, "quickstart.py"], directory))


def test_the_quickstart_in_the_shell_prints_what_the_page_shows(directory: Path) -> None:
    [code] = blocks("README.md", "sh", "## Quickstart in the shell")
    [shown] = blocks("README.md", "text", "## Quickstart in the shell")
    assert_shown(shown, run(["sh", "-e", "-c", code], directory))


async def test_the_event_of_any_language_needs_a_subject_and_json_alone(tmp_path: Path) -> None:
    """It is sent by the bare client of NATS, as printed, and twice: it is folded once."""
    [subject] = blocks("README.md", "text", "## Publish from any language")
    [event] = blocks("README.md", "json", "## Publish from any language")
    with Lease(tmp_path):
        info = await ensure_engine(tmp_path, linger_s=0.2)
        client = await nats.connect(info.url)
        for sequence in (1, 2):
            reply = await client.request(subject.strip(), event.encode(), timeout=10)
            assert orjson.loads(reply.data)["seq"] == sequence
        await client.close()
        async with memfold.connect(info.url, actor="reader") as memory:
            carol = memory.resource("user_carol")
            await carol.working_memory.merge({"seen": True})
            state = await carol.working_memory.get()
            assert state is not None
            assert state.content == {"plan": "team", "seen": True}
            history = await carol.history(everything=True)
            assert [change.outcome for change in history] == ["applied", "duplicate", "applied"]
    await end_engines(tmp_path)


async def test_64_concurrent_updates_of_one_memory_are_all_kept(tmp_path: Path) -> None:
    """As the comparison says; 64 agents, each with a connection of its own."""
    async with local(tmp_path, actor="starter", linger_s=0.2):
        info = await ensure_engine(tmp_path)

        async def one(number: int) -> None:
            async with memfold.connect(info.url, actor=f"agent_{number}") as memory:
                memory_of_dora = memory.resource("user_dora").working_memory
                receipt = await memory_of_dora.merge({f"key_{number}": number})
                assert await receipt.applied() == "applied"

        await asyncio.gather(*(one(number) for number in range(64)))
        async with memfold.connect(info.url, actor="reader") as memory:
            await memory.resource("user_dora").working_memory.merge({})
            state = await memory.resource("user_dora").working_memory.get()
            assert state is not None
            assert state.content == {f"key_{number}": number for number in range(64)}
    await end_engines(tmp_path)


@pytest.mark.slow
def test_the_first_steps_run_in_their_order(directory: Path) -> None:
    programs = blocks("docs/first-steps.md", "python")
    outputs: dict[str, str] = {}
    for program in programs:
        name = program.split("\n", maxsplit=1)[0].removeprefix("# ")
        (directory / name).write_text(program, "utf-8")
        outputs[name] = run([sys.executable, name], directory)
    assert outputs["remember.py"].splitlines() == [
        "applied",
        "applied",
        "{'address': {'city': 'Berlin', 'since': 'last week'}} 3",
    ]
    assert "I moved to Berlin last week." in outputs["read.py"]
    assert outputs["reject.py"].startswith("not_text - ")
    shell = blocks("docs/first-steps.md", "sh", "## 5. Look from the shell")
    assert "last week" in run(["sh", "-e", "-c", *shell], directory)
    assert "not_text" in run(["memfold", "log", "user_alice", "--all"], directory)


def test_the_samples_of_the_guide_run_in_their_order(directory: Path) -> None:
    samples = "\n".join(blocks("docs/guide.md", "python"))
    program = (
        "import asyncio\nimport memfold\nfrom memfold_consumers import local\n"
        "async def main():\n    async with local('.memfold', actor='bot') as memory:\n"
        f"{textwrap.indent(samples, ' ' * 8)}\nasyncio.run(main())\n"
    )
    (directory / "guide.py").write_text(program, "utf-8")
    output = run([sys.executable, "guide.py"], directory).splitlines()
    assert "{'address': {'city': 'Berlin'}}" in output
    notes = output.index("# Notes")
    assert output[notes : notes + 3] == ["# Notes", "- moved to Berlin", "- has a cat"]
    assert "schema_violation" in output
    assert "unchanged" in output
    assert any(line.startswith("someone wrote after") for line in output)
    assert output[-1] == "64"


def test_the_samples_of_the_page_on_attachments_run(directory: Path) -> None:
    samples = "\n".join(blocks("docs/attachments.md", "python"))
    program = (
        "import asyncio\nimport memfold\nfrom memfold_consumers import local\n"
        "async def main():\n    async with local('.memfold', actor='bot') as memory:\n"
        f"{textwrap.indent(samples, ' ' * 8)}\nasyncio.run(main())\n"
    )
    (directory / "attachments.py").write_text(program, "utf-8")
    assert run([sys.executable, "attachments.py"], directory).splitlines() == [
        "image/png 100000",
        "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
        "100000",
        "data:image/png;base64,AAAAAA",
    ]
    for command in blocks("docs/attachments.md", "sh")[0].splitlines():
        shown = run(command.split(), directory).splitlines()
        assert ["orphans", "0"] in [line.split() for line in shown]


@pytest.mark.parametrize("page", ["as-of", "blame-and-diff", "revert"])
def test_the_samples_of_the_pages_on_the_past_print_what_they_show(
    directory: Path, page: str
) -> None:
    [code] = blocks(f"docs/audit/{page}.md", "python")
    shown = blocks(f"docs/audit/{page}.md", "text")[0]
    program = f"import asyncio\nasync def main():\n{textwrap.indent(code, ' ' * 4)}\n"
    (directory / "sample.py").write_text(f"{program}asyncio.run(main())\n", "utf-8")
    assert_shown(shown, run([sys.executable, "sample.py"], directory))


@pytest.mark.faults
def test_a_lost_tail_comes_back_from_the_log_as_the_page_says(directory: Path) -> None:
    """The stream loses its tail; the engine halts and says so; a restore loses no event."""
    [recipe] = blocks("docs/operating.md", "sh", "## Halted: `log_diverged`")
    old = directory / "old"
    remaining = asyncio.run(fill_and_damage(old))
    assert 0 < remaining < 40
    halted = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "memfold", "status", "--data", old],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert halted.returncode == 6
    assert f"the stream ends at {remaining}" in halted.stderr
    asyncio.run(end_engines(directory))
    output = run(["sh", "-e", "-c", recipe], directory)
    assert f"to do: put messages {remaining + 1} to 40 back" in output
    assert f"put back: {40 - remaining} messages" in output
    shown = run(["memfold", "messages", "user_alice", "--data", "old", "--json"], directory)
    assert [message["id"] for message in parse(shown.encode())["messages"]] == [
        f"m{number}" for number in range(40)
    ]


async def fill_and_damage(data: Path) -> int:
    """Append 40 messages, flip a bit in the stream's middle, return what the stream ends at."""
    with Lease(data):
        info = await ensure_engine(data, linger_s=0.2)
        async with memfold.connect(info.url, actor="bot") as memory:
            thread = memory.resource("user_alice").thread("t")
            for number in range(40):
                await thread.append({"id": f"m{number}", "role": "user", "content": "x"})
            assert len(await thread.messages()) == 40
        # The server first: a dying engine would end it in an orderly way.
        os.kill(info.server_pid, signal.SIGKILL)
        os.kill(info.pid, signal.SIGKILL)
    await end_engines(data)
    messages = data / "nats" / "jetstream" / "$G" / "streams" / "memfold" / "msgs"
    (messages / "index.db").unlink(missing_ok=True)
    (block,) = messages.glob("*.blk")
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 0x10
    block.write_bytes(content)
    async with NatsServer(data) as server:
        client = await nats.connect(server.url)
        info_of_stream = await client.jetstream().stream_info("memfold")
        await client.close()
    return info_of_stream.state.last_seq
