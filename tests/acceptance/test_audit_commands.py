"""The commands that explain and restore: ``--as-of``, ``log``, ``blame``, ``diff``, ``revert``."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold_consumers.local_engine import local
from support.command import MEMFOLD, TIMEOUT_S, Ran, end_engine, environment
from support.command import memfold as command

pytestmark = pytest.mark.acceptance


async def write(directory: Path) -> list[int]:
    """Write what the tests look at; return the sequences."""
    async with local(directory, actor="bot") as memory:
        ada = memory.resource("ada")
        thread = ada.thread("t")
        said = await thread.append(
            memfold.Message(id="m1", role="user", content="I love [b]Berlin")
        )
        first = await ada.working_memory.merge({"city": "Berlin", "age": 5}, because=said)
        second = await ada.working_memory.merge(
            {"city": "Mars", "age": None}, reason="a \x1b[31mjoke"
        )
        await thread.update(title="About Berlin")
        text = await thread.working_memory.replace("- one\n- two")
        last = await thread.working_memory.edit("- two", "- three")
        await last.applied()
        return [each.sequence for each in (said, first, second, text, last)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[int]]]:
    directory = tmp_path_factory.mktemp("audit") / "data"
    yield directory, asyncio.run(write(directory))
    end_engine(directory)


def run(data: tuple[Path, list[int]], *arguments: str) -> Ran:
    return command(*arguments, "--data", data[0])


def run_json(data: tuple[Path, list[int]], *arguments: str) -> Any:  # noqa: ANN401 - any JSON.
    return run(data, *arguments, "--json").json()


def test_what_is_shown_can_be_as_of_a_sequence_or_a_time(data: tuple[Path, list[int]]) -> None:
    said, first, *_ = data[1]
    shown = run_json(data, "show", "ada", "--as-of", str(first))
    assert shown["sequence"] == first
    assert shown["working_memory"]["resource"]["content"] == {"city": "Berlin", "age": 5}
    assert run_json(data, "show", "ada", "--as-of", str(said))["working_memory"]["resource"] is None
    assert run_json(data, "messages", "ada", "--as-of", "0")["messages"] == []
    assert run_json(data, "threads", "ada", "--as-of", "2020-01-01") == {
        "resource": "ada",
        "threads": [],
        "sequence": 0,
    }
    [thread] = run_json(data, "threads", "ada", "--as-of", str(first))["threads"]
    assert thread["title"] == ""
    assert run(data, "show", "ada", "--as-of", "yesterday").code == 2
    assert run(data, "show", "nobody", "--as-of", "1").code == 3


def test_a_log_can_be_bounded_by_moments(data: tuple[Path, list[int]]) -> None:
    said, first, second, *_ = data[1]
    ran = run(data, "log", "ada", "--since", str(said), "--until", str(second), "--json")
    assert [json.loads(line)["sequence"] for line in ran.out.splitlines()] == [first, second]
    assert run(data, "log", "ada", "--since", "2999-01-01", "--json").out == ""


def test_the_log_of_one_document_shows_what_each_event_changed(
    data: tuple[Path, list[int]],
) -> None:
    _, first, second, text, _ = data[1]
    out = run(data, "log", "ada", "--of", "memory").out
    assert f'because of t m1\n  + /age: 5\n  + /city: "Berlin"\n{second}.0 ' in out
    ran = run(data, "log", "ada", "--path", "/age", "--since", str(first), "--json")
    [change] = [json.loads(line) for line in ran.out.splitlines()]
    assert (change["sequence"], change["changes"]) == (
        second,
        [{"kind": "removed", "path": "/age", "line": None, "before": 5, "after": None}],
    )
    ran = run(data, "log", "ada", "--of", "memory", "--thread", "t", "--until", str(text), "--json")
    assert [json.loads(line)["sequence"] for line in ran.out.splitlines()] == [text]
    out = run(data, "log", "ada", "--of", "details", "--thread", "t").out
    assert '+ /title: "About Berlin"' in out
    assert run(data, "log", "nobody", "--of", "memory").code == 3
    assert run(data, "log", "ada", "--of", "memory", "--all").code == 2


def test_blame_shows_who_set_what_and_because_of_which_message(
    data: tuple[Path, list[int]],
) -> None:
    _, first, second, text, last = data[1]
    found = run_json(data, "blame", "ada", "--as-of", str(first), "--path", "/city")
    [entry] = found["entries"]
    assert (entry["path"], entry["value"], entry["event"]["actor"]) == ("/city", "Berlin", "bot")
    assert entry["event"]["evidence"][0]["text"] == "I love [b]Berlin"
    out = run(data, "blame", "ada").out
    # The event stands above what it set, as in the log.
    assert re.search(
        rf"\n{second}\.0 \S+ bot WorkingMemoryUpdated: a \\x1b\[31mjoke\n  /city  \"Mars\"\n$", out
    )
    out = run(data, "blame", "ada", "--as-of", str(first)).out
    assert re.search(
        rf"\n{first}\.0 \S+ bot WorkingMemoryUpdated\n"
        r"  because of t m1 user \(bot\): I love \[b\]Berlin\n"
        r'  /age  5\n  /city  "Berlin"\n$',
        out,
    )
    found = run_json(data, "blame", "ada", "--thread", "t")
    assert [(each["line"], each["event"]["sequence"]) for each in found["entries"]] == [
        (1, text),
        (2, last),
    ]
    [title] = run_json(data, "blame", "ada", "--thread", "t", "--details")["entries"]
    assert title["value"] == "About Berlin"
    assert run(data, "blame", "nobody").code == 3
    assert run(data, "blame", "ada", "--thread", "t", "--path", "/a").code == 2


def test_diff_shows_before_after_and_who(data: tuple[Path, list[int]]) -> None:
    _, first, second, text, _ = data[1]
    found = run_json(data, "diff", "ada", str(first), str(second))
    assert [
        (each["kind"], each["path"], each["before"], each["after"]) for each in found["entries"]
    ] == [
        ("removed", "/age", 5, None),
        ("changed", "/city", "Berlin", "Mars"),
    ]
    assert {each["event"]["sequence"] for each in found["entries"]} == {second}
    out = run(data, "diff", "ada", str(first), str(second)).out
    assert re.search(
        rf'\n{second}\.0 \S+ bot .*\n  - /age: 5\n  ~ /city: "Berlin" -> "Mars"\n$', out
    )
    out = run(data, "diff", "ada", str(text), "--thread", "t").out
    assert re.search(r"\n\d+\.0 \S+ bot .*\n  -    2  - two\n  \+    2  - three\n$", out)
    assert "\x1b" not in out
    assert run(data, "diff", "ada", str(second), str(first)).code == 2


def test_on_a_terminal_the_kinds_of_differences_have_colours(data: tuple[Path, list[int]]) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [MEMFOLD, "diff", "ada", "0", "--data", str(data[0])],
        stdout=theirs,
        check=True,
        timeout=TIMEOUT_S,
        env=environment(TERM="xterm-256color"),
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "\x1b[32m  + /city" in shown


def test_revert_publishes_what_it_restores_and_why(data: tuple[Path, list[int]]) -> None:
    _, first, *_ = data[1]
    asked = ("revert", "ada", str(first), "--reason", "poison")
    done = run_json(data, *asked, "--path", "/city")
    assert done["outcome"] == "applied"
    shown = run_json(data, "show", "ada")["working_memory"]["resource"]["content"]
    assert shown == {"city": "Berlin"}
    [entry] = run_json(data, "blame", "ada", "--path", "/city")["entries"]
    event = entry["event"]
    assert event["reverts"] == {"sequence": first, "path": "/city"}
    assert (event["actor"], event["reason"]) == ("memfold-cli", "poison")
    again = run_json(data, *asked, "--path", "/city")
    assert (again["outcome"], again["sequence"]) == ("unchanged", None)
    assert "nothing was published" in run(data, *asked, "--path", "/city").out
    assert "(applied)" in run(data, *asked).out
    assert run(data, "revert", "ada", str(first)).code == 2
    assert run(data, "revert", "nobody", str(first), "--reason", "x").code == 3


async def define(directory: Path) -> None:
    async with local(directory, actor="bot") as memory:
        wm = memory.resource("strict").working_memory
        await wm.replace("text")
        await wm.define(schema={"type": "object"})
        await (await wm.replace({"a": 1})).applied()


def test_a_revert_that_the_definition_forbids_is_a_conflict(data: tuple[Path, list[int]]) -> None:
    asyncio.run(define(data[0]))
    found = run(data, "log", "strict", "--json").out.splitlines()
    first = json.loads(found[0])["sequence"]
    ran = run(data, "revert", "strict", str(first), "--reason", "x", "--json")
    assert (ran.code, ran.error()["code"]) == (4, "rejected")


async def erase(directory: Path) -> int:
    """Erase one of two changes; return the sequence of the first one."""
    async with local(directory, actor="bot") as memory:
        gone = memory.resource("gone")
        first = await gone.working_memory.merge({"n": "1"})
        second = await gone.working_memory.merge({"m": "secret"})
        await gone.working_memory.merge({"n": 1})
        await gone.thread("t").append(memfold.Message(id="m1", role="user", content="hello"))
        await memory.erase_event((second.sequence, 0))
        return first.sequence


def test_what_is_of_a_redacted_past_says_so(data: tuple[Path, list[int]]) -> None:
    first = str(asyncio.run(erase(data[0])))
    asked: tuple[str, ...]
    for asked in (("blame", "gone", "--as-of", first), ("diff", "gone", first)):
        assert run_json(data, *asked)["redacted"] is True
        assert "\nredacted: something of this resource was erased since\n" in run(data, *asked).out
    # A number is not the text of its digits.
    assert '~ /n: "1" -> 1\n' in run(data, "diff", "gone", first).out
    for asked in (
        ("messages", "gone", "--as-of", first),
        ("messages", "gone", "--as-of", first, "--last", "3"),
        ("threads", "gone", "--as-of", first),
    ):
        assert run_json(data, *asked)["redacted"] is True
        ran = run(data, *asked)
        assert "redacted" not in ran.out
        assert "redacted: " in ran.err
    assert "redacted: " in run(data, "log", "gone", "--until", first).err
    assert "redacted" not in run_json(data, "messages", "gone")
    assert run_json(data, "blame", "gone")["redacted"] is False
