"""Anthropic: exports of Claude and saved messages become events, each told apart and in order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memfold_consumers.formats.stable import InvalidInput
from support.exports import Read, claude, said

FILE = {"file_name": "a.txt", "file_size": 3, "file_type": "txt", "extracted_content": "abc"}
RESULT = {
    "type": "tool_result",
    "tool_use_id": "toolu_1",
    "content": [{"type": "text", "text": ""}],
}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, None]}}


def anthropic(content: object, **options: Any) -> Read:  # noqa: ANN401 - passed on.
    return Read("anthropic", content, **options)


def linked(id_: str, parent: str, second: int) -> dict[str, Any]:
    return said(id_, "human", id_, second, parent_message_uuid=parent)


def test_an_exported_conversation_keeps_blocks_times_and_attachments() -> None:
    text = {"type": "text", "text": "Hi", "citations": []}
    picture = {"file_name": "p.png"}
    read = anthropic(
        [
            claude(
                said("m1", "human", "Hi", 1, attachments=[FILE]),
                said("m2", "assistant", "Hello", 2, content=[], stop_reason="end_turn"),
                said("m3", "human", "", 3, content=[], files=[picture], files_v2=[picture]),
                said("m4", "human", "", 4, content=[]),
                said(
                    "m5", "assistant", "", 5, content=[{"type": "thinking", "thinking": "?"}, USE]
                ),
            )
        ]
    )
    assert [(each["id"], each["role"], each["content"]) for each in read.messages()] == [
        ("m1", "user", [text, {"type": "attachment", "attachment": FILE}]),
        ("m2", "assistant", "Hello"),
        ("m3", "user", [{"type": "file", "file": picture}]),
        ("m5", "assistant", [{"type": "thinking", "thinking": "?"}, USE]),
    ]
    assert read.messages()[0]["created_at"] == "2025-05-11T21:47:01.000001Z"
    assert read.messages()[0]["metadata"] == {"imported": {"role": "human"}}
    assert read.messages()[1]["metadata"] == {"imported": {"stop_reason": "end_turn"}}
    assert read.skipped == {"empty": 1}
    last = read.events()[-1]
    assert last["data"]["title"] == "Garden"
    assert last["data"]["metadata"]["imported"] == {
        "format": "anthropic",
        "created_at": "2025-05-11T21:46:40.123456Z",
        "updated_at": "2025-05-11T22:00:00Z",
        "account": {"uuid": "account-1"},
    }


def test_messages_come_in_the_order_of_their_times_then_of_the_file() -> None:
    messages = [said("c", "human", "c", 2), said("b", "human", "b", 1), said("a", "human", "a", 1)]
    assert [each["id"] for each in anthropic([claude(*messages)]).messages()] == ["b", "a", "c"]


ROOT = "00000000-0000-4000-8000-000000000000"
FORKED = (linked("a", ROOT, 1), linked("b", "a", 2), linked("c", "b", 3), linked("d", "a", 4))


def test_of_branches_the_newest_or_the_one_that_is_named_is_taken() -> None:
    def taken(*messages: dict[str, Any], **more: Any) -> tuple[list[str], dict[str, int]]:  # noqa: ANN401
        read = anthropic([claude(*messages, **more)])
        return [each["id"] for each in read.messages()], read.skipped

    assert taken(*FORKED) == (["a", "d"], {"other_branch": 2})
    assert taken(*FORKED, current_leaf_message_uuid="c") == (
        ["a", "b", "c"],
        {"other_branch": 1},
    )
    edited_first = linked("e", ROOT, 5)
    assert taken(*FORKED, edited_first) == (["e"], {"other_branch": 4})
    # Where it is not said what answers what, nothing is left out.
    assert taken(*FORKED, said("x", "human", "x", 5))[1] == {}
    assert taken(said("x", "human", "x", 1), said("y", "human", "y", 2)) == (["x", "y"], {})
    assert taken(*FORKED, linked("x", "lost", 5))[1] == {}


def test_a_changed_text_is_another_event_of_the_same_message() -> None:
    before = anthropic([claude(said("m", "human", "one", 1))])
    changed = said("m", "human", "two", 1, updated_at="2025-05-11T21:48:00Z")
    back = said("m", "human", "one", 1, updated_at="2025-05-11T21:49:00Z")
    reads = [before, anthropic([claude(changed)]), anthropic([claude(back)])]
    assert {read.messages()[0]["id"] for read in reads} == {"m"}
    assert len({read.ids[0] for read in reads}) == 3


SAVED: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"id": "msg_1", "type": "message", "role": "assistant", "content": [USE], "model": "m"},
    {"role": "user", "content": [RESULT]},
    {"role": "user", "content": [RESULT, {"type": "text", "text": "And?"}]},
]


@pytest.mark.parametrize(
    "content",
    [
        {"system": "Be brief.", "messages": SAVED},
        [{"system": "Be brief.", "messages": SAVED}],
        json.dumps({"system": "Be brief.", "messages": SAVED}) + "\n",
    ],
    ids=["object", "list", "line"],
)
def test_saved_messages_keep_their_blocks_and_tool_results_are_of_a_tool(content: object) -> None:
    read = anthropic(content)
    found = [
        (each["role"], each["content"], each.get("metadata", {}).get("imported"))
        for each in read.messages()
    ]
    assert found == [
        ("system", "Be brief.", None),
        ("user", "Hi", None),
        ("assistant", [USE], {"type": "message", "model": "m"}),
        ("tool", [RESULT], {"role": "user"}),
        ("user", [RESULT, {"type": "text", "text": "And?"}], None),
    ]
    assert [each["id"] for each in read.messages()][:3:2] == ["system", "msg_1"]


def test_a_list_of_messages_is_one_conversation() -> None:
    read = anthropic(SAVED)
    assert len(read.conversations) == 1
    assert len(read.messages()) == 4


@pytest.mark.parametrize(
    ("conversation", "told"),
    [
        (
            claude(uuid=""),
            "conversation 1: invalid_input: a conversation has a uuid, and a list",
        ),
        (claude(chat_messages={}), "(conv-1): invalid_input: a conversation has a uuid, and a"),
        (claude(created_at="today"), "invalid_input: created_at is 'today', not a time"),
        (claude({"text": "x"}), "message 1: invalid_input: a message is an object with a uuid"),
        (claude(said("m", "robot", "x", 1)), "message 1: invalid_input: role 'robot' is none of"),
        (claude(said("m", "human", "x", 1) | {"created_at": "1"}), "created_at is '1', not a time"),
        (claude(said("m", "human", "x", 1, parent_message_uuid=[])), "message_uuid is not text"),
        (claude(said("m", "human", "x", 1) | {"content": "x"}), ""),
        (claude(said("m", "human", "x", 1) | {"content": ["x"]}), "neither text nor a list of bl"),
        ({"messages": [{"role": "user"}]}, "content is neither text nor a list of blocks"),
        ({"system": 3, "messages": []}, "content is neither text nor a list of blocks"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(conversation: Any, told: str) -> None:  # noqa: ANN401
    read = anthropic([conversation, claude(said("m", "human", "x", 1), uuid="good")])
    assert len(read.told()) == bool(told)
    assert told in "".join(read.told())
    assert read.conversations[-1].thread == "good"


def test_an_export_of_something_else_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"chat_messages nor messages \(it looks like --format o"
    ):
        anthropic([{"mapping": {}}])


def test_two_messages_of_one_id_are_told_and_the_first_counts() -> None:
    first = said("m", "human", "1", 1)
    read = anthropic([claude(first, first, said("m", "human", "2", 2))])
    assert len(read.messages()) == 1
    assert read.skipped == {"duplicate_id": 1}
    assert "message 3: invalid_input: a message before it has the id 'm'" in read.told()[0]


def test_the_system_prompt_stands_beside_a_message_of_its_id() -> None:
    messages = [{"id": "system", "role": "user", "content": "Hi"}]
    read = anthropic({"system": "Be brief.", "messages": messages})
    shown = [(each["id"], each["content"]) for each in read.messages()]
    assert shown == [("system_", "Be brief."), ("system", "Hi")]
    assert (read.faults, read.skipped) == ([], {})


def test_attachments_that_are_no_list_are_one() -> None:
    read = anthropic([claude(said("m", "human", "", 1, content=[], attachments=FILE))])
    assert read.messages()[0]["content"] == [{"type": "attachment", "attachment": FILE}]
    assert read.skipped == {}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One\n\nTwo ", None),
        ("One```\nThis block is not supported on your current device yet.\n```\nTwo", None),
        ("One Two and more", "One Two and more"),
        ("Two", None),
    ],
)
def test_a_text_that_says_more_than_the_content_is_kept(text: str, kept: str | None) -> None:
    blocks = [{"type": "text", "text": "One "}, USE, {"type": "text", "text": "\nTwo"}]
    [found] = anthropic([claude(said("m", "assistant", text, 1, content=blocks))]).messages()
    assert found["content"] == blocks
    assert found.get("metadata", {}).get("imported", {}).get("text") == kept
