"""The real ``memfold`` command: what it prints where, and the code it ends with."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from memfold.events import DATA_TYPES
from memfold_consumers.local_engine import local
from memfold_consumers.nats_probe import HOST, find_nats_server, free_port
from memfold_consumers.ownership import engine_pid, engine_running
from support.command import MEMFOLD, TIMEOUT_S, end_engine, environment, memfold

pytestmark = pytest.mark.acceptance

HELP = Path(__file__).resolve().parents[1] / "golden" / "help"
COMMANDS = (
    "serve demo ingest show messages threads log blame diff revert parked verify status sweep "  # noqa: SIM905
    "replay export schema rebuild restore".split()
)
NOWHERE = "nats://127.0.0.1:1"

CONVERSATION: dict[str, Any] = {
    "session_1_date_time": "1:56 pm on 8 May, 2023",
    "session_1": [
        {"speaker": "Ada", "dia_id": "D1:1", "text": "I moved to Berlin. [bold]\u001b[31m!"},
        {"speaker": "Ben", "dia_id": "D1:2", "text": "Grüße!"},
    ],
    "session_1_observation": {"Ada": [["Ada lives in Berlin.", "D1:1"]]},
    "session_2_date_time": "2:00 pm on 9 May, 2023",
    "session_2": [{"speaker": "Ada", "dia_id": "D2:1", "text": "Hello again."}],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("command") / "data"
    yield directory
    end_engine(directory)


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("input") / "ada.json"
    file.write_text(json.dumps(CONVERSATION), "utf-8")
    return file


@pytest.fixture(scope="module")
def ingested(data: Path, conversation: Path) -> dict[str, Any]:
    """Return the summary of the first ingest; its resource is ``ada``."""
    found: dict[str, Any] = memfold(
        "--data", data, "ingest", "--format", "locomo", "--json", conversation
    ).json()
    return found


def event(**changes: object) -> str:
    raw: dict[str, object] = {
        "specversion": "1.0",
        "type": "WorkingMemoryUpdated",
        "source": "bot",
        "resourceid": "lines",
        "data": {"scope": "resource", "mode": "merge", "content": {"n": 1}},
    }
    return json.dumps(raw | changes) + "\n"


def test_an_ingest_counts_what_the_file_holds(ingested: dict[str, Any]) -> None:
    del ingested["seconds"]
    assert ingested == {
        "messages": 3,
        "threads": 2,
        "resources": 1,
        "events": 4,
        "last_sequence": 3,
        "added": 4,
        "already_there": 0,
        "failed": 0,
    }


@pytest.mark.usefixtures("ingested")
def test_a_second_ingest_adds_nothing(data: Path, conversation: Path) -> None:
    before = memfold("status", "--data", data, "--json").json()
    again = memfold("ingest", "--format=locomo", conversation, "--json", f"--data={data}").json()
    assert (again["events"], again["added"], again["already_there"]) == (4, 0, 4)
    after = memfold("status", "--data", data, "--json").json()
    assert after["stream"] == before["stream"]
    assert again["last_sequence"] == before["checkpoint"]


@pytest.mark.usefixtures("ingested")
def test_show_prints_the_snapshot(data: Path) -> None:
    found = memfold("--json", "--data", data, "show", "ada", "--thread", "session_1").json()
    assert list(found) == [
        "resource",
        "thread",
        "working_memory",
        "messages",
        "sequence",
        "lag",
        "parked",
    ]
    memory = found["working_memory"]
    assert memory["thread"] is None
    assert memory["resource"].keys() == {"content", "format", "revision", "changed_at"}
    assert memory["resource"]["content"] == {"Ada": {"facts": {"D1:1.1": "Ada lives in Berlin."}}}
    assert [each["content"] for each in found["messages"]] == [
        each["text"] for each in CONVERSATION["session_1"]
    ]
    assert found["messages"][0]["created_at"] == "2023-05-08T13:56:00Z"
    assert (found["resource"], found["thread"], found["lag"]) == ("ada", "session_1", 0)


@pytest.mark.usefixtures("ingested")
def test_messages_come_oldest_first_all_or_the_last(data: Path) -> None:
    every = memfold("--data", data, "messages", "ada", "--json").json()
    assert [each["id"] for each in every["messages"]] == ["D1:1", "D1:2", "D2:1"]
    for last, ids in ((0, []), (2, ["D1:2", "D2:1"]), (9, ["D1:1", "D1:2", "D2:1"])):
        found = memfold("--data", data, "messages", "ada", "--last", str(last), "--json").json()
        assert [each["id"] for each in found["messages"]] == ids
    thread = memfold("--data", data, "messages", "ada", "--thread", "session_2", "--json").json()
    assert [each["id"] for each in thread["messages"]] == ["D2:1"]


@pytest.mark.usefixtures("ingested")
def test_lists_are_filtered_as_they_are_typed(data: Path) -> None:
    def listed(*arguments: str) -> list[str]:
        found = memfold("--data", data, *arguments, "--json").json()
        return [each["id"] for each in found.get("threads", found.get("messages"))]

    oldest = listed("threads", "ada", "--oldest-first", "--first", "1")
    assert oldest == ["session_1"]
    assert listed("threads", "ada", "--archived") == []
    assert set(listed("threads", "--no-archived", "--order", "last_message_at")) >= set(oldest)
    everything = listed("messages", "ada")
    speakers = memfold("--data", data, "messages", "ada", "--json").json()["messages"]
    name = speakers[0]["metadata"]["speaker"]
    said = [each["id"] for each in speakers if each["metadata"]["speaker"] == name]
    assert listed("messages", "ada", "--metadata", f"speaker={name}") == said
    assert listed("messages", "ada", "--metadata", "speaker=1") == []
    first = speakers[0]["created_at"]
    assert listed("messages", "ada", "--until", first)[0] == everything[0]
    assert listed("messages", "ada", "--since", "2100-01-01") == []
    for wrong in (("--since", "soon"), ("--metadata", "speaker")):
        assert memfold("--data", data, "messages", "ada", *wrong).code == 2


@pytest.mark.usefixtures("ingested")
def test_threads_and_parked_are_lists(data: Path) -> None:
    found = memfold("--data", data, "threads", "ada", "--json").json()
    assert [each["id"] for each in found["threads"]] == ["session_2", "session_1"]
    assert memfold("--data", data, "parked", "ada", "--json").json()["parked"] == []


@pytest.mark.usefixtures("ingested")
def test_log_prints_one_change_a_line_with_its_cause(data: Path) -> None:
    ran = memfold("--data", data, "log", "ada", "--json")
    changes = [json.loads(line) for line in ran.out.splitlines()]
    assert [each["type"] for each in changes] == [
        "MessageAppended",
        "MessageAppended",
        "WorkingMemoryUpdated",
        "MessageAppended",
    ]
    first = ["sequence", "index", "time", "actor", "type", "causation", "data"]
    assert list(changes[0])[:7] == first
    assert changes[2]["causation"] == changes[0]["id"]
    assert {each["actor"] for each in changes} == {"ingest"}
    places = [(each["sequence"], each["index"]) for each in changes]
    assert places == sorted(places)
    thread = memfold("--data", data, "log", "ada", "--thread", "session_2", "--json")
    assert len(thread.out.splitlines()) == 1


@pytest.mark.usefixtures("ingested")
def test_status_tells_stream_and_fold(data: Path) -> None:
    found = memfold("--data", data, "status", "--json").json()
    assert found["state"] == "folding"
    assert found["stream"]["sync"] == "always"
    assert found["stream"]["last_sequence"] == found["checkpoint"]
    assert {"lag", "parked", "generation", "counts", "versions"} <= found.keys()


@pytest.mark.usefixtures("ingested")
def test_a_sweep_deletes_what_no_event_refers_to(data: Path) -> None:
    sha256 = "ab" * 32

    async def store() -> None:
        async with local(data, actor="bot") as memory:
            await memory._client.connection.request(
                f"memfold.blob.sweep.{sha256}.bot.u1.2.0", b"abc"
            )

    asyncio.run(store())
    young = memfold("sweep", "--data", data, "--json").json()
    assert (young["orphans"], young["young"], young["chunks"]) == (1, 1, 0)
    tried = memfold("sweep", "--data", data, "--older-than", "0s", "--dry-run", "--json").json()
    assert tried == {
        "dry_run": True,
        "attachments": 1,
        "orphans": 1,
        "copies": 1,
        "chunks": 1,
        "bytes": 3,
        "young": 0,
        "foreign": 0,
        "damaged": [],
    }
    shown = memfold("sweep", "--data", data, "--older-than=0s")
    assert shown.code == 0, shown.err
    assert ["chunks", "1"] in [line.split() for line in shown.out.splitlines()]
    assert memfold("sweep", "--data", data, "--json").json()["attachments"] == 0
    assert memfold("sweep", "--data", data, "--older-than", "1x").code == 2


def test_text_of_others_cannot_reach_the_terminal_or_turn_into_markup(data: Path) -> None:
    for arguments in (("show", "ada"), ("messages", "ada"), ("log", "ada")):
        ran = memfold("--data", data, *arguments)
        assert ran.code == 0
        assert "[bold]" in ran.out
        assert "\x1b" not in ran.out


@pytest.mark.usefixtures("ingested")
@pytest.mark.parametrize("command", ["show", "messages", "threads", "log"])
def test_an_unknown_resource_is_not_found(data: Path, command: str) -> None:
    ran = memfold("--data", data, command, "nobody", "--json")
    assert ran.code == 3
    assert ran.error()["code"] == "not_found"
    plain = memfold("--data", data, command, "nobody")
    assert (plain.code, plain.out) == (3, "")
    assert plain.err == "memfold: nothing is known of resource 'nobody'\n"


@pytest.mark.usefixtures("ingested")
@pytest.mark.parametrize("command", ["show", "messages", "log"])
def test_an_unknown_thread_is_not_found(data: Path, command: str) -> None:
    ran = memfold("--data", data, command, "ada", "--thread", "none", "--json")
    assert ran.code == 3
    assert ran.error()["code"] == "not_found"
    plain = memfold("--data", data, command, "ada", "--thread", "none")
    assert (plain.code, plain.out) == (3, "")
    assert plain.err == "memfold: nothing is known of thread 'none' of resource 'ada'\n"


@pytest.mark.usefixtures("ingested")
@pytest.mark.parametrize("arguments", ["status", "status --json", "log ada --json", "--version"])
def test_a_closed_output_is_no_error(data: Path, arguments: str) -> None:
    """Closed by the shell, there is no stream at all; nothing else may get its number."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" {arguments} --data "$1" >&-', MEMFOLD, data],
        stderr=subprocess.PIPE,
        check=False,
        timeout=TIMEOUT_S,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.usefixtures("ingested")
def test_lines_are_ingested_around_the_bad_ones(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    rejected = {"scope": "resource", "mode": "append", "content": "over JSON"}
    file.write_text(event() + "{\n" + event(id="e1") + event(data=rejected), "utf-8")
    ran = memfold("--data", data, "ingest", "--format", "jsonl", file, "--json")
    assert ran.code == 4
    summary = json.loads(ran.out)
    assert (summary["events"], summary["added"], summary["failed"]) == (3, 3, 2)
    assert [line.split(": ")[2:4] for line in ran.err.splitlines()] == [
        ["line 2", "not_json"],
        ["line 4", "not_text"],
    ]
    again = memfold("--data", data, "ingest", "--format", "jsonl", file, "--json")
    assert again.code == 4
    assert json.loads(again.out)["added"] == 0
    assert again.err == ran.err


@pytest.mark.usefixtures("ingested")
def test_a_reused_id_is_told_and_not_published(data: Path) -> None:
    first = event(id="reused", resourceid="reuser")
    other = event(id="reused", resourceid="reuser", source="bot", time="2026-01-01T00:00:00Z")
    assert memfold("--data", data, "ingest", "--format=jsonl", "-", given=first).code == 0
    ran = memfold("--data", data, "ingest", "--format=jsonl", "-", "--json", given=other)
    assert ran.code == 4
    assert json.loads(ran.out)["added"] == 0
    assert "id_reused" in ran.err


@pytest.mark.usefixtures("ingested")
def test_a_dash_is_the_standard_input_of_an_ingest_only(data: Path) -> None:
    given = event(resourceid="-", data={"scope": "resource", "mode": "merge", "content": {}})
    assert memfold("--data", data, "ingest", "--format=jsonl", "-", given=given + given).code == 0
    assert memfold("--data", data, "show", "--json", "--", "-").json()["resource"] == "-"
    log = memfold("--data", data, "log", "--all", "--", "-").out
    assert "[unchanged]" in log
    assert "None" not in log


@pytest.mark.usefixtures("ingested")
@pytest.mark.parametrize(
    "arguments",
    [("schema", "--json"), ("log", "ada"), ("show", "ada"), ("--help",), ("show", "--help")],
)
def test_a_broken_pipe_ends_the_command_quietly(data: Path, arguments: tuple[str, ...]) -> None:
    command = [str(MEMFOLD), "--data", str(data), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(TIMEOUT_S) == 141


@pytest.mark.usefixtures("ingested")
def test_ctrl_c_ends_an_ingest_from_a_pipe(data: Path) -> None:
    command = [str(MEMFOLD), "--data", str(data), "ingest", "--format=jsonl", "-"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(event(resourceid="piped").encode())
        running.stdin.flush()
        give_up_at = time.monotonic() + TIMEOUT_S
        while memfold("--data", data, "show", "piped").code != 0:
            assert time.monotonic() < give_up_at
        running.send_signal(signal.SIGINT)
        assert running.wait(TIMEOUT_S) == 130
        assert running.stderr.read() == b"memfold: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nope",), 2),
        (("show",), 2),
        (("show", "a", "--lst", "3"), 2),
        (("show", "a", "--last", "-1"), 2),
        (("show", ""), 2),
        (("--data",), 2),
        (("ingest", "--format", "locomo"), 2),
        (("ingest", "--format", "locomo", "a/x.json", "b/x.json"), 2),
        (("ingest", "--format", "jsonl", "no-such-file"), 2),
        (("ingest", "--format", "jsonl", "/"), 2),
        (("--data", "", "status"), 2),
        (("status", "--data="), 2),
        (("status", "--data", __file__), 2),
        (("serve", "--data", __file__), 2),
        (("demo", "--nats", NOWHERE), 2),
        (("--nats", NOWHERE, "status"), 5),
        (("status", "--nats", NOWHERE), 5),
    ],
)
def test_exit_codes_tell_what_kind_of_failure(arguments: tuple[str, ...], code: int) -> None:
    plain = memfold(*arguments)
    assert (plain.code, plain.out) == (code, "")
    assert plain.err.startswith("memfold: ")
    assert plain.err.count("\n") == 1


def test_an_engine_without_its_server_can_be_stopped_and_gives_up(tmp_path: Path) -> None:
    command = [str(MEMFOLD), "serve", "--nats", NOWHERE, "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment()) as running:
        give_up_at = time.monotonic() + TIMEOUT_S
        try:
            while not engine_running(tmp_path / "data"):
                assert time.monotonic() < give_up_at
            running.send_signal(signal.SIGTERM)
            assert running.wait(TIMEOUT_S) == 0
        finally:
            running.kill()
    ran = memfold("serve", "--nats", NOWHERE, "--data", tmp_path / "data", "--json")
    assert ran.code == 5
    assert ran.error()["code"] == "broker_unavailable"


def test_serve_takes_over_from_an_engine_that_only_lingers(tmp_path: Path) -> None:
    """A command has just used the directory, and its engine would stay some seconds."""
    data = tmp_path / "data"
    assert memfold("status", "--data", data).code == 0
    lingering = engine_pid(data)
    assert lingering is not None
    command = [str(MEMFOLD), "serve", "--data", str(data)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment()) as running:
        watchdog = threading.Timer(TIMEOUT_S, running.kill)
        watchdog.start()
        try:
            assert running.stderr is not None
            assert any(b"memfold: ready" in line for line in running.stderr)
            assert engine_pid(data) == running.pid
            assert memfold("serve", "--data", data).code == 1
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.wait(TIMEOUT_S) == 0
            watchdog.cancel()


@contextmanager
def nats_server(*arguments: str) -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [str(find_nats_server()), "-a", HOST, "-p", str(port), *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        try:
            yield f"nats://{HOST}:{port}", running
        finally:
            running.kill()


def test_an_engine_at_a_server_without_jetstream_says_so(tmp_path: Path) -> None:
    with nats_server() as (url, _):
        ran = memfold("serve", "--nats", url, "--data", tmp_path)
    assert (ran.code, ran.out) == (5, "")
    assert "JetStream" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("seen", [False, True])
def test_an_engine_ends_when_asked_though_its_server_is_gone(tmp_path: Path, seen: bool) -> None:
    """Whether it has noticed or is told to end that very moment."""
    with nats_server("-js", "-sd", str(tmp_path / "nats")) as (url, server):
        command = [str(MEMFOLD), "serve", "--nats", url, "--data", str(tmp_path / "data")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment()) as running:
            # Reading its lines has no end of its own.
            watchdog = threading.Timer(TIMEOUT_S, running.kill)
            watchdog.start()
            try:
                assert running.stderr is not None
                lines = iter(running.stderr.readline, b"")
                assert any(b"ready" in line for line in lines)
                server.kill()
                if seen:
                    # It says so once.
                    assert any(b"broker_error" in line for line in lines)
                running.send_signal(signal.SIGTERM)
                assert not any(b"Traceback" in line for line in lines)
                assert running.wait(TIMEOUT_S) == 0
            finally:
                watchdog.cancel()
                running.kill()


def test_an_error_in_json_is_json() -> None:
    ran = memfold("--json", "--nats", NOWHERE, "status")
    assert ran.code == 5
    assert ran.error()["code"] == "broker_unavailable"
    assert memfold("show", "--json").error()["code"] == "usage"


def test_the_environment_names_the_server() -> None:
    assert memfold("status", env={"NATS_URL": NOWHERE}).code == 5
    assert memfold("status", env={"MEMFOLD_NATS_URL": NOWHERE, "NATS_URL": ""}).code == 5


def test_a_file_that_is_no_conversation_is_named(tmp_path: Path) -> None:
    file = tmp_path / "odd.json"
    file.write_text("{}", "utf-8")
    ran = memfold("--data", tmp_path / "data", "ingest", "--format", "locomo", file)
    assert (ran.code, ran.out) == (1, "")
    assert f"{file}: no session_1" in ran.err
    assert not (tmp_path / "data").exists()


def test_schema_needs_no_engine(tmp_path: Path) -> None:
    found = memfold("schema", "--json", "--nats", NOWHERE, "--data", tmp_path / "none").json()
    assert found.keys() == {"events", "envelope"}
    assert found["events"]["MessageAppended"].keys() == {"version", "facet", "schema"}
    assert found["events"].keys() == {"WorkingMemoryUpdated", *(cls.type for cls in DATA_TYPES)}
    assert not (tmp_path / "none").exists()


def test_version_is_printed() -> None:
    ran = memfold("--version")
    assert ran.out.startswith("memfold ")
    assert ran.code == 0


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_says_what_the_golden_file_says(command: str) -> None:
    """Write the files anew with UPDATE_GOLDEN=1."""
    began = time.monotonic()
    ran = memfold(*filter(None, (command,)), "--help")
    print(f"help took {time.monotonic() - began:.2f} s")  # noqa: T201 - for who looks with -s.
    assert (ran.code, ran.err) == (0, "")
    golden = HELP / f"{command or 'memfold'}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(ran.out, "utf-8")
    assert ran.out == golden.read_text("utf-8")
    assert "--data" in ran.out or not command


def test_the_parser_costs_neither_engine_nor_terminal() -> None:
    code = "import memfold_consumers.cli.main, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    loaded = set(done.stdout.split())
    assert "memfold_consumers.cli.main" in loaded
    assert loaded & {"duckdb", "faststream", "nats", "pydantic", "rich", "structlog"} == set()


def test_a_log_that_diverged_stops_reading_and_says_so(tmp_path: Path, conversation: Path) -> None:
    """The stream is lost behind the engine's back: nothing is answered as if nothing had been."""
    data = tmp_path / "data"
    try:
        assert memfold("--data", data, "ingest", "--format", "locomo", conversation).code == 0
        end_engine(data)
        shutil.rmtree(data / "nats")
        status = memfold("--data", data, "status", "--json")
        assert status.code == 6
        assert json.loads(status.out)["state"] == "halted"
        assert json.loads(status.err)["error"]["code"] == "log_diverged"
        assert memfold("--data", data, "show", "ada").code == 6
    finally:
        end_engine(data)


@pytest.mark.slow
def test_the_demonstration_proves_its_claims_and_leaves_nothing(tmp_path: Path) -> None:
    ran = memfold("demo", "--fast", "--json", env={"TMPDIR": str(tmp_path)})
    found = ran.json()
    assert found["proved"] is True
    assert len(found["checks"]) == 4
    assert list(tmp_path.iterdir()) == []
    assert "aisle" in ran.err
