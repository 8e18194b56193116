"""Mastra: rows of its database, or an export of them, become events; both forms the same ones."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from memfold_consumers.formats.conversations import Conversation
from memfold_consumers.formats.exports import Asked
from memfold_consumers.formats.mastra import MastraReader
from memfold_consumers.formats.stable import Fault, InvalidInput
from memfold_consumers.formats.values import Bytes
from support.exports import (
    Read,
    mastra_database,
    mastra_message,
    mastra_resource,
    mastra_thread,
)

CALL = {"state": "result", "toolCallId": "c1", "toolName": "f", "args": {"a": 1}, "result": [2]}
PARTS = [
    {"type": "step-start"},
    {"type": "reasoning", "reasoning": "hm", "details": []},
    {"type": "tool-invocation", "toolInvocation": CALL},
    {"type": "text", "text": "It is 2."},
]
WHOLE: dict[str, list[dict[str, Any]]] = {
    "threads": [
        mastra_thread(metadata={"channel": "web", "workingMemory": '{"goal": "refund"}'}),
        mastra_thread("empty", title="", metadata=None),
    ],
    "messages": [
        mastra_message("m2", "assistant", "", "2025-05-11T21:46:41.000Z")
        | {
            "content": {
                "format": 2,
                "parts": PARTS,
                "content": "It is 2.",
                "toolInvocations": [CALL],
                "reasoning": "hm",
                "metadata": {"score": 1},
            }
        },
        mastra_message("m1", "user", "Hi \u0000👋"),
    ],
    "resources": [mastra_resource()],
}


def mastra(content: object, **options: Any) -> Read:  # noqa: ANN401 - passed on.
    return Read("mastra", content, **{"resource": None, **options})


def only(*messages: dict[str, Any], **thread: Any) -> Read:  # noqa: ANN401 - any field.
    return mastra({"threads": [mastra_thread(**thread)], "messages": messages})


def content_of(content: object) -> dict[str, Any]:
    [message] = only(mastra_message("m", "user", "") | {"content": content}).messages()
    return message


def database(path: Path, **asked: Any) -> list[str]:  # noqa: ANN401 - passed on.
    with path.open("rb") as stream:
        reader = MastraReader(Asked(str(path), lambda: "c2FsdA==", **asked))
        found = list(reader.read(Bytes(stream)))
    assert all(isinstance(each, Conversation) for each in found)
    return [
        item.event.id for each in found if isinstance(each, Conversation) for item in each.items
    ]


def test_rows_become_memories_messages_titles_and_metadata() -> None:
    read = mastra(WHOLE)
    shown = [(event["type"], event["resourceid"], event.get("threadid")) for event in read.events()]
    assert shown == [
        ("WorkingMemoryUpdated", "r1", None),
        ("ResourceUpdated", "r1", None),
        ("WorkingMemoryUpdated", "r1", "t1"),
        ("MessageAppended", "r1", "t1"),
        ("MessageAppended", "r1", "t1"),
        ("ThreadUpdated", "r1", "t1"),
        ("ThreadCreated", "r1", "empty"),
        ("ThreadUpdated", "r1", "empty"),
    ]
    memory, metadata, own, first, second, titled, _, _ = (each["data"] for each in read.events())
    assert memory == {
        "scope": "resource",
        "mode": "replace",
        "content": "# User\n- **Name**: Sam",
    }
    assert metadata["metadata"]["plan"] == "pro"
    assert metadata["metadata"]["imported"]["updated_at"] == "2025-05-11T21:59:00Z"
    assert own == {"scope": "thread", "mode": "replace", "content": {"goal": "refund"}}
    assert first["message"] == {
        "id": "m1",
        "role": "user",
        "content": [{"type": "text", "text": "Hi \u0000👋"}],
        "created_at": "2025-05-11T21:46:40.123000Z",
    }
    assert second["message"]["content"] == PARTS
    assert second["message"]["metadata"] == {"score": 1}
    assert titled["title"] == "Support"
    assert titled["metadata"]["channel"] == "web"
    assert "workingMemory" not in titled["metadata"]


def test_the_database_and_rows_in_any_order_and_form_are_the_same_events(tmp_path: Path) -> None:
    wanted = mastra(WHOLE).ids
    file = tmp_path / "mastra.db"
    mastra_database(file, WHOLE["threads"], WHOLE["messages"], WHOLE["resources"])
    assert sorted(database(file)) == sorted(wanted)
    rows = [row for name in ("messages", "resources", "threads") for row in WHOLE[name]]
    assert sorted(mastra("\n".join(map(json.dumps, rows))).ids) == sorted(wanted)
    assert sorted(mastra(rows).ids) == sorted(wanted)
    named = {"uiMessages": [{"x": [1]}], **{name: WHOLE[name] for name in reversed(WHOLE)}}
    assert sorted(mastra(json.dumps(named, indent=2)).ids) == sorted(wanted)
    snake = json.dumps(WHOLE["messages"]).replace("threadId", "thread_id")
    snake = snake.replace("resourceId", "resource_id").replace("createdAt", "created_at")
    assert set(mastra(snake).ids) < set(wanted)
    assert len(mastra(snake).ids) == len(WHOLE["messages"])


def test_binary_json_of_a_newer_library_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mastra.db"
    blob = b"\x9c\x47plan" + b"\x37pro"
    mastra_database(file, [], [], [mastra_resource(metadata=blob)])
    assert database(file) == mastra({"resources": [mastra_resource()]}).ids


def test_messages_are_sorted_by_time_then_by_place() -> None:
    times = ["2025-05-11T23:00:00+02:00", "2025-05-11T21:00:00Z", "2025-05-11 20:59:59", 1]
    messages = [
        mastra_message(f"m{n}", "user", "x") | {"createdAt": time} for n, time in enumerate(times)
    ]
    read = only(*messages)
    assert [each["id"] for each in read.messages()] == ["m3", "m2", "m0", "m1"]
    assert read.messages()[0]["created_at"] == "1970-01-01T00:00:00.001000Z"


def test_content_of_all_ages_is_kept_as_it_is() -> None:
    text = '{"userInput": "B61"}'
    parts = [{"type": "tool-call", "toolCallId": "c", "args": {}}]
    attached = {"name": "a", "contentType": "text/plain", "url": "data:,abc"}
    other = {"format": 2, "parts": [{"type": "text", "text": "a"}], "content": "b"}
    assert content_of("plain")["content"] == "plain"
    assert content_of(text)["content"] == text
    assert content_of("[1, 2]")["content"] == "[1, 2]"
    assert content_of(parts)["content"] == content_of(json.dumps(parts))["content"] == parts
    assert content_of(json.dumps(other))["content"] == other["parts"]
    assert content_of(other)["metadata"] == {"imported": {"content": "b"}}
    assert content_of({"content": "old"})["content"] == "old"
    assert content_of({"parts": [], "experimental_attachments": [attached]})["content"] == [
        {"type": "experimental_attachment", "experimental_attachment": attached}
    ]
    kept = {"toolInvocations": [CALL], "annotations": [1], "metadata": {"imported": "theirs"}}
    assert content_of({"format": 2, "parts": [], **kept})["metadata"]["imported"] == {
        "toolInvocations": [CALL],
        "annotations": [1],
        "metadata": {"imported": "theirs"},
    }


def test_the_owner_is_the_threads_else_that_of_a_message() -> None:
    other = mastra_message("m", "user", "x") | {"resourceId": "r2"}
    read = only(other)
    assert {each.resource for each in read.conversations} == {"r1"}
    assert read.messages()[0]["metadata"] == {"imported": {"resourceId": "r2"}}
    assert mastra([other]).conversations[0].resource == "r2"


def test_only_what_is_of_the_resource_is_taken() -> None:
    read = mastra(WHOLE, resource="r2")
    assert (read.conversations, read.skipped) == ([], {"other_resource": 4})
    assert mastra(WHOLE, resource="r1").ids == mastra(WHOLE).ids


@pytest.mark.parametrize("memory", [None, "", "  \n"])
def test_an_empty_working_memory_is_none(memory: str | None) -> None:
    read = mastra({"resources": [mastra_resource(workingMemory=memory)]})
    assert [event["type"] for event in read.events()] == ["ResourceUpdated"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (mastra_message("m", "user", "x", "soon"), "createdAt is 'soon', not a time"),
        (mastra_message("", "user", "x"), "a message has an id"),
        (mastra_message("m", "critic", "x"), "role 'critic' is none of"),
        (mastra_message("m", "user", "x") | {"content": 3}, "content is neither text nor parts"),
        (mastra_message("m", "user", "x") | {"content": {"parts": 3}}, "content has no list of p"),
        (mastra_message("m", "user", "x") | {"threadId": None}, "a message has a threadId"),
        (mastra_message("m", "user", "\ud83d"), "lone_surrogate: "),
        (mastra_message("m\ud83d", "user", "x"), "row 2 (m\\ud83d): lone_surrogate: "),
        (mastra_message("m", "user", "x", threadId="\ud83d"), "the id \\ud83d holds a lone surr"),
        (mastra_thread("\ud83d"), "the id \\ud83d holds a lone surrogate"),
        (mastra_resource(id="\ud83d"), "the id \\ud83d holds a lone surrogate"),
        (mastra_message("m", "user", "x" * 600_000), "event_too_large: "),
        ({"a": 1}, "not rows of Mastra: neither threads, messages nor resources"),
        (mastra_resource(id=""), "invalid_id: the resource must not be empty"),
        (mastra_resource(metadata="x"), "metadata is not an object"),
        (mastra_thread("t2", resourceId=None), "neither the thread nor its messages have a res"),
        (mastra_thread("t2", updatedAt="x"), "updatedAt is 'x', not a time"),
        (3, "a row is an object"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(row: Any, told: str) -> None:  # noqa: ANN401
    read = mastra([mastra_message("good", "user", "x"), row])
    [fault] = read.told()
    assert fault.startswith("file.json: row 2")
    assert told in fault
    assert [each["id"] for each in read.messages()] == ["good"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("hello", r"^file\.json: not rows of Mastra: not acceptable JSON \(not_json\)$"),
        ([{"uuid": "x"}], r"^file\.json: not rows of Mastra: neither threads, messages nor resou"),
    ],
)
def test_a_file_of_something_else_is_refused(content: object, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        mastra(content)


def test_a_database_of_something_else_or_broken_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mastra.db"
    mastra_database(file, WHOLE["threads"], WHOLE["messages"])
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(InvalidInput, match=r"mastra\.db: it cannot be read as a database: "):
        database(file)
    file.write_bytes(content.replace(b"mastra_threads", b"mystra_threads"))
    with pytest.raises(InvalidInput, match="it has no table mastra_threads"):
        database(file)


def test_a_cut_export_keeps_what_is_whole() -> None:
    whole = json.dumps(
        {"messages": [mastra_message("a", "user", "x"), mastra_message("b", "user", "y")]}
    )
    read = mastra(whole[:-40])
    assert [each["id"] for each in read.messages()] == ["a"]
    assert read.told()[0] == "file.json: messages 2: invalid_input: the file ends within it"


def test_rows_of_one_id_are_told_and_the_first_counts() -> None:
    message, thread, resource = mastra_message("m", "user", "1"), mastra_thread(), mastra_resource()
    others = [
        mastra_message("m", "user", "2"),
        mastra_thread(title="Other"),
        mastra_resource(workingMemory="Other"),
    ]
    read = mastra([message, thread, resource, message, thread, resource, *others])
    assert sorted(read.ids) == sorted(mastra([message, thread, resource]).ids)
    assert read.skipped == {"duplicate_id": 3}
    assert [fault.origin for fault in read.faults] == [
        "file.json: row 8",
        "file.json: row 9",
        "file.json: row 7 (m)",
    ]


def test_a_member_that_should_be_a_list_is_told() -> None:
    row = mastra_message("m", "user", "x")
    read = mastra({"threads": mastra_thread(), "resources": None, "messages": [row]})
    assert [each["id"] for each in read.messages()] == ["m"]
    assert read.told() == ["file.json: threads 1: invalid_input: threads is not a list"]
    cut = json.dumps({"messages": [row], "other": {"a": 1}, "threads": [mastra_thread()]})
    for end in ('{"a"', '"oth'):
        read = mastra(cut[: cut.index(end) + 2])
        assert [each["id"] for each in read.messages()] == ["m"]
        assert read.told() == ["file.json: row 1: invalid_input: the file ends within it"]


def test_a_row_of_a_database_whose_thread_is_no_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mastra.db"
    mastra_database(file, [mastra_thread()], [])
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(
            "DROP TABLE mastra_messages; CREATE TABLE mastra_messages"
            " (id, thread_id, content, role, type, createdAt, resourceId);"
            "DROP TABLE mastra_threads; CREATE TABLE mastra_threads (id, resourceId, createdAt);"
            "INSERT INTO mastra_threads VALUES (NULL, 'r1', NULL), (8, 'r1', NULL);"
        )
        for id_, thread in (("a", None), ("b", 7), ("c", b"x"), ("d", "t1")):
            cells = (id_, thread, "x", "user", "v2", 1, "r1")
            connection.execute("INSERT INTO mastra_messages VALUES (?, ?, ?, ?, ?, ?, ?)", cells)
        connection.execute(
            "INSERT INTO mastra_messages SELECT 'e', CAST(x'ff' AS TEXT), content, role, type,"
            " createdAt, resourceId FROM mastra_messages WHERE id = 'd'"
        )
        connection.commit()
    with file.open("rb") as stream:
        found = list(MastraReader(Asked(str(file), lambda: "c2FsdA==")).read(Bytes(stream)))
    threads = [each.thread for each in found if isinstance(each, Conversation)]
    faults = {
        each.origin.removeprefix(f"{file}: "): each.message
        for each in found
        if isinstance(each, Fault)
    }
    assert threads == ["t1"]
    assert faults == {
        "mastra_messages, a": "thread_id is None, not a text",
        "mastra_messages, b": "thread_id is 7, not a text",
        "mastra_messages, c": "thread_id is b'x', not a text",
        "mastra_messages, e": "thread_id is \\udcff, not a text",
        "mastra_threads, None": "id is None, not a text",
        "mastra_threads, 8": "id is 8, not a text",
    }
