"""OpenAI: exports of ChatGPT and saved messages become events, each told apart and in order."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from memfold_consumers.formats.stable import InvalidInput
from support.exports import CODE, IMAGE, NOON, OUTPUT, Read, node, tree, trip

ID = "conversation 1 (conv-1)"


def openai(content: object, **options: Any) -> Read:  # noqa: ANN401 - passed on.
    return Read("openai", content, **options)


def changed(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field.
    return {**trip(), **more}


def test_the_branch_that_is_shown_becomes_the_thread() -> None:
    read = openai([trip()])
    assert [(each["id"], each["role"], each["content"]) for each in read.messages()] == [
        ("u1", "user", "Hi \u0000👋"),
        ("a2", "assistant", "Hello!"),
        ("u2", "user", [{"type": "text", "text": "What is this?"}, IMAGE]),
        ("c", "assistant", [CODE]),
        ("t", "tool", [OUTPUT]),
        ("a3", "assistant", [{"type": "text", "text": ""}, {"type": "text", "text": "42"}]),
    ]
    assert read.skipped == {"other_branch": 1, "empty": 1}
    assert read.faults == []


def test_times_are_kept_to_the_microsecond_and_a_missing_one_is_the_last() -> None:
    read = openai([trip()])
    times = {each["id"]: each["created_at"] for each in read.messages()}
    assert times["u1"] == "2025-05-11T21:46:41.123456Z"
    assert times["c"] == times["u2"] == "2025-05-11T21:46:44.123456Z"
    assert times["t"] == "2025-05-11T21:46:45.623456Z"
    assert read.events()[0]["time"] == times["u1"]


def test_what_has_no_place_of_its_own_is_kept_as_metadata() -> None:
    found = {each["id"]: each.get("metadata") for each in openai([trip()]).messages()}
    assert found["u1"] is None
    assert found["a2"] == {"imported": {"metadata": {"model": "m"}}}
    assert found["c"] == {"imported": {"recipient": "python"}}
    assert found["t"] == {"imported": {"author": {"name": "python"}}}


def test_the_title_comes_last_and_with_it_when_the_conversation_changed() -> None:
    last = openai([trip()]).events()[-1]
    assert (last["type"], last["threadid"], last["resourceid"]) == ("ThreadUpdated", "conv-1", "r1")
    assert last["time"] == "2025-05-11T21:47:40.123456Z"
    assert last["data"] == {
        "title": "Trip",
        "metadata": {
            "imported": {
                "format": "openai",
                "created_at": "2025-05-11T21:46:40.123456Z",
                "updated_at": "2025-05-11T21:47:40.123456Z",
                "is_archived": False,
            }
        },
    }


def test_a_conversation_without_messages_is_created() -> None:
    read = openai([tree(node("root", None), ends="root")])
    assert [event["type"] for event in read.events()] == ["ThreadCreated", "ThreadUpdated"]
    assert openai([changed(mapping={})]).skipped == {"empty": 1}


def test_a_later_export_has_the_same_ids_and_more() -> None:
    later = copy.deepcopy(trip())
    later["mapping"]["u3"] = node("u3", "a3", "user", ["Thanks"], create_time=NOON + 90)
    later |= {"current_node": "u3", "update_time": NOON + 90}
    before, after = openai([trip()]).ids, openai([later]).ids
    assert after[:-2] == before[:-1]
    assert len(set(after) - set(before)) == 2
    assert openai([trip()], file="other.json").ids == before
    assert openai([trip()], resource="r2").ids != before


def message(role: str, content: object = "Hello", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"role": role, "content": content, **more}


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SAVED = [
    message("developer", "Be brief."),
    message("user", [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]),
    message("assistant", None, tool_calls=[CALL]),
    message("tool", "42", tool_call_id="call_1"),
    message("assistant", "It is 42.", tool_calls=[CALL], refusal=None),
    message("assistant", "Old", function_call={"name": "f", "arguments": "{}"}, name="bot"),
    message("function", "43", name="f"),
    message("user", ""),
    message("user", ""),
]
CONTENT = [
    ("system", "Be brief.", {"role": "developer"}),
    ("user", SAVED[1]["content"], None),
    ("assistant", [CALL], None),
    ("tool", "42", {"tool_call_id": "call_1"}),
    ("assistant", [{"type": "text", "text": "It is 42."}, CALL], None),
    (
        "assistant",
        [
            {"type": "text", "text": "Old"},
            {"type": "function_call", "function_call": {"name": "f", "arguments": "{}"}},
        ],
        {"name": "bot"},
    ),
    ("tool", "43", {"role": "function", "name": "f"}),
    ("user", "", None),
    ("user", "", None),
]


@pytest.mark.parametrize(
    "content",
    [
        SAVED,
        {"messages": SAVED},
        [{"messages": SAVED}],
        json.dumps({"messages": SAVED}) + "\n\n",
        "\n".join(json.dumps(each) for each in SAVED),
    ],
    ids=["list", "object", "list-of-objects", "line", "lines-of-messages"],
)
def test_saved_messages_become_one_thread_in_whatever_form_they_are(content: object) -> None:
    read = openai(content)
    found = [
        (each["role"], each["content"], each.get("metadata", {}).get("imported"))
        for each in read.messages()
    ]
    assert found == CONTENT
    assert read.ids == openai(SAVED).ids
    assert len(set(read.ids)) == len(read.ids)


def test_each_line_is_a_conversation_of_its_own_even_twice() -> None:
    line = json.dumps({"messages": SAVED[:2]}) + "\n"
    other = json.dumps({"id": "mine", "title": "T", "messages": SAVED[:2], "tools": [1]}) + "\n"
    read = openai(line + line + other)
    threads = [each.thread for each in read.conversations]
    assert len(set(threads)) == 3
    assert threads[2] == "mine"
    last = read.events()[-1]["data"]
    assert last["title"] == "T"
    assert last["metadata"]["imported"]["tools"] == [1]


def test_a_thread_that_is_named_goes_on_as_its_list_grows() -> None:
    before, after = openai(SAVED[:3], thread="t").ids, openai(SAVED[:4], thread="t").ids
    assert len(set(after) - set(before)) == 1
    assert {event["threadid"] for event in openai(SAVED, thread="t").events()} == {"t"}
    # A list that was cut at its beginning adds nothing either.
    assert set(openai(SAVED[1:3], thread="t").ids) < set(before)
    with pytest.raises(InvalidInput, match=r"file\.json: --thread is for one conversation"):
        openai([trip(), trip()], thread="t")


def loop() -> dict[str, Any]:
    return tree(node("a", "b", "user", ["1"]), node("b", "a", "user", ["2"]), ends="a")


@pytest.mark.parametrize(
    ("conversation", "told"),
    [
        (changed(current_node="x"), f"{ID}: invalid_input: 'x', where it ends, is none of its"),
        (loop() | {"current_node": None}, "is its own ancestor"),
        (loop(), f"{ID}: invalid_input: the node 'a' is its own ancestor"),
        (changed(id=7), f"{ID}: invalid_input: id is not text"),
        (
            changed(id="", conversation_id=""),
            "conversation 1: invalid_input: a conversation has",
        ),
        (changed(id="x" * 300), "invalid_id: the thread is 300 bytes long, the limit is 256"),
        (
            changed(mapping={"a": 1}),
            f"{ID}: invalid_input: a conversation has an id, and a mapping",
        ),
        (changed(create_time="noon"), "invalid_input: create_time is 'noon', not a time"),
        (changed(update_time=1e300), "invalid_input: update_time is '1e+300', not a time"),
        ({"messages": ["x"]}, "conversation 1, message 1: invalid_input: not an object"),
        ({"messages": [message("critic")]}, "message 1: invalid_input: role 'critic' is none of"),
        ({"messages": [message("user", 3)]}, "invalid_input: content is neither text nor a list"),
        ({"messages": [message("user", created_at="2025-05-11T21:46:40")]}, "not a time"),
        ({"messages": [message("user", "\ud83d")]}, "message 1: lone_surrogate: "),
        ({"messages": [message("user", "x" * 600_000)]}, "message 1: event_too_large: "),
        ({"messages": [message("user", 1 << 70)]}, "message 1: number_out_of_range: "),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(conversation: Any, told: str) -> None:  # noqa: ANN401
    read = openai([conversation, trip() | {"id": "good"}])
    [fault] = read.told()
    assert fault.startswith("file.json: conversation 1")
    assert told in fault
    assert read.conversations[-1].thread == "good"


def test_a_bad_message_stops_none_of_its_neighbours() -> None:
    one = trip()
    one["mapping"]["t"]["message"]["create_time"] = "noon"
    one["mapping"]["u2"]["message"]["author"] = None
    read = openai([one])
    assert [each["id"] for each in read.messages()] == ["u1", "a2", "c", "a3"]
    assert read.told() == [
        f"file.json: {ID}, message 5 (u2): invalid_input: a message is an object with an author",
        f"file.json: {ID}, message 7 (t): invalid_input: create_time is 'noon', not a time",
    ]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("hello", r"^file\.json: not a conversation: it has neither mapping nor messages$"),
        ([1], "not a conversation"),
        ({"a": 1}, "not a conversation"),
        ([{"uuid": "x", "chat_messages": []}], r"\(it looks like --format anthropic\)$"),
        ({"threads": [], "resources": []}, r"\(it looks like --format mastra\)$"),
        ("]", r"not JSON at byte 0$"),
    ],
)
def test_a_file_of_something_else_is_refused(content: object, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        openai(content)


def test_a_file_that_is_cut_keeps_what_is_whole() -> None:
    text = json.dumps([trip(), trip() | {"id": "second"}])
    read = openai(text[:-100])
    assert [each.thread for each in read.conversations] == ["conv-1"]
    assert read.told() == ["file.json: conversation 2: invalid_input: the file ends within it"]


def test_fields_that_are_too_large_are_left_out_and_told() -> None:
    one = trip()
    one["mapping"]["u1"]["message"]["metadata"] = {"found": "x" * 70_000}
    one["plugin_ids"] = ["y" * 70_000]
    read = openai([one])
    assert read.skipped["fields_too_large"] == 2
    assert "metadata" not in read.messages()[0]
    assert read.events()[-1]["data"]["metadata"]["imported"]["format"] == "openai"


def test_two_messages_of_one_id_are_told_and_the_first_counts() -> None:
    twice = [node("b", "a", "user", ["1"], id="m"), node("c", "b", "user", ["2"], id="m")]
    read = openai([tree(node("a", None, "user", ["1"], id="m"), *twice, ends="c")])
    assert [(each["id"], each["content"]) for each in read.messages()] == [("m", "1")]
    assert read.skipped == {"duplicate_id": 1}
    [told] = read.told()
    assert told.startswith(f"file.json: {ID}, message 3 (c): invalid_input: a message before it ")


def test_saved_messages_of_one_id_are_told_and_a_bad_one_takes_no_id() -> None:
    bad, good = message("user", "x" * 600_000, id="m"), message("user", "2", id="m")
    read = openai([bad, good, good, message("user", "3", id="m")])
    assert [each["content"] for each in read.messages()] == ["2"]
    assert read.skipped == {"duplicate_id": 1}
    assert len(read.faults) == 2


@pytest.mark.parametrize("shown", [{"current_node": None}, {}], ids=["null", "missing"])
def test_without_the_branch_that_is_shown_the_newest_is_taken(shown: dict[str, None]) -> None:
    one = trip()
    del one["current_node"]
    assert openai([one | shown]).ids == openai([trip()]).ids
    one["mapping"]["a1"]["message"]["create_time"] = NOON + 9
    # What follows the newest message belongs to it, even without a time.
    one["mapping"]["x"] = node("x", "a1", "user", ["And?"], create_time=None)
    read = openai([one | shown])
    assert [each["id"] for each in read.messages()] == ["u1", "a1", "x"]
    assert (read.faults, read.skipped) == ([], {"other_branch": 5, "empty": 1})


def test_of_branches_without_any_time_the_last_one_is_taken() -> None:
    both = [node(id_, "r", "user", [id_], create_time=None) for id_ in ("a", "b")]
    read = openai([tree(node("r", None), *both, ends="") | {"current_node": None}])
    assert [each["id"] for each in read.messages()] == ["b"]


def test_a_message_of_an_attachment_alone_is_not_empty() -> None:
    attached = {"attachments": [{"id": "file-1", "name": "a.pdf"}]}
    read = openai([tree(node("a", None, "user", [""], metadata=attached), ends="a")])
    [found] = read.messages()
    assert (found["content"], found["metadata"]) == ("", {"imported": {"metadata": attached}})
    assert read.skipped == {}


def test_what_stands_beside_the_parts_of_a_content_is_kept() -> None:
    def kept(**content: object) -> dict[str, Any]:
        said = {"content_type": "text", **content}
        read = openai([tree(node("a", None, "user", content=said), ends="a")])
        [found] = read.messages()
        return found

    assert kept(parts=["x"], cited=[1])["metadata"] == {"imported": {"content": {"cited": [1]}}}
    assert kept(parts=["x"], cited=[1])["content"] == "x"
    assert kept(text="x")["content"] == [{"content_type": "text", "text": "x"}]
    assert kept(parts=3)["content"] == [{"content_type": "text", "parts": 3}]


def test_a_line_that_is_cut_stops_no_other_conversation() -> None:
    lines = [json.dumps(trip() | {"id": name}) for name in ("one", "two", "three")]
    for length in range(1, len(lines[1]), 7):
        read = openai("\n".join([lines[0], lines[1][:length], lines[2]]))
        assert [each.thread for each in read.conversations] == ["one", "three"]
        [told] = read.told()
        assert told.startswith("file.json: conversation 2: ")
        assert "line 2: " in told


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    "bad", ['{"role": "user", "content": "cu', "oops", "5", '{"content": "x"}', '{"role": "user"]']
)
def test_a_bad_line_does_not_split_a_conversation(bad: str, place: int) -> None:
    if place == 0 and not bad.startswith('{"role'):
        pytest.skip("what begins like this is a file of something else")
    lines = [json.dumps(message(role, role)) for role in ("system", "user", "assistant")]
    whole = openai("\n".join(lines))
    lines.insert(place, bad)
    read = openai("\n".join(lines))
    assert [each["content"] for each in read.messages()] == ["system", "user", "assistant"]
    assert [each.thread for each in read.conversations] == [whole.conversations[0].thread]
    [told] = read.told()
    assert told.startswith(f"file.json: conversation 1, message {place + 1}: ")
    assert bad.startswith("5") or "content" in bad or f"line {place + 1}: " in told


def test_a_bad_line_counts_as_no_second_conversation() -> None:
    lines = ['{"role": "user", "con', json.dumps(message("user", "hi"))]
    read = openai("\n".join(lines), thread="t")
    assert [each.thread for each in read.conversations] == ["t"]
    assert len(read.told()) == 1
