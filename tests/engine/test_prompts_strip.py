"""What is the memory's own is not stored as a message: its calls, their results, its tags."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import memfold
from memfold.errors import InvalidRequest
from memfold.prompts.strip import strip_memory, strip_tags
from memfold.prompts.titles import clean_title
from memfold.prompts.turns import only_new, with_ids
from support.dialogue import Message, assistant, call, message, result, tool, user

MEMORY = "update_working_memory"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Hello <working_memory>secret</working_memory> world", "Hello  world"),
        ("a<working_memory>1</working_memory>b<working_memory>2</working_memory>c", "abc"),
        ("<working_memory>\n- Sam\n</working_memory>", ""),
        ("Hello <working_memory>still open", "Hello <working_memory>still open"),
        ("a<working_memory>1</working_memory>b<working_memory>c", "ab<working_memory>c"),
        ("no tags, </working_memory> only an end", "no tags, </working_memory> only an end"),
        ("", ""),
    ],
)
def test_tags_are_cut_out_of_text(text: str, kept: str) -> None:
    """B65: what is between them goes, what follows one that is never closed stays."""
    assert strip_tags(text) == kept
    [stored] = strip_memory(assistant([{"type": "text", "text": f"x{text}"}]))
    assert stored["content"] == [{"type": "text", "text": f"x{kept}"}]
    assert [each["content"] for each in strip_memory(assistant(text))] == (
        [kept] if kept else []
    ) or (text == kept)


def test_what_a_user_says_stays_whole() -> None:
    """Somebody who asks about the tags is not the memory."""
    text = "What does <working_memory>x</working_memory> mean?"
    said = [user(text), user([{"type": "text", "text": text}])]
    assert strip_memory(said) == said


def test_tags_are_cut_out_in_linear_time() -> None:
    """Were the end looked up anew for each tag, this would run into the test's timeout."""
    text = "<working_memory>" * 1_000_000
    assert strip_tags(text) == text


def test_memory_calls_go_and_other_parts_stay() -> None:
    """B66: and with a call its result, in any spelling."""
    text = {"type": "text", "text": "Noted."}
    said = [
        assistant([text, call("c1", MEMORY), call("c2")]),
        message("tool", [result("c1", "Saved."), result("c2", "rain")]),
        assistant([call("c3", MEMORY)]),
        tool("c3"),
        {
            "role": "assistant",
            "content": "Hm",
            "tool_calls": [
                {"id": "c4", "type": "function", "function": {"name": MEMORY, "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c4", "content": "Saved."},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c5", "name": MEMORY, "input": {}}, text],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c5", "content": "Saved."}],
        },
    ]
    before = copy.deepcopy(said)
    assert [each["content"] for each in strip_memory(said)] == [
        [text, call("c2")],
        [result("c2", "rain")],
        [{"type": "text", "text": "Hm"}],
        [text],
    ]
    assert said == before


def test_ids_of_calls_may_come_again_in_another_turn() -> None:
    said = [assistant([call("call_0", MEMORY)]), tool("call_0", "Saved.")]
    other = [assistant([call("call_0")]), tool("call_0", "rain")]
    assert strip_memory([*said, *other]) == other


def test_calls_that_were_cut_off_go() -> None:
    """B192: a partial call is neither run nor stored."""
    cut = {**call("c1"), "state": "partial"}
    assert strip_memory(assistant([cut, call("c2")]))[0]["content"] == [call("c2")]


def test_another_name_and_another_tag_can_be_given() -> None:
    said = assistant([call("c1", "note"), {"type": "text", "text": "<t>a</t>b"}])
    [stored] = strip_memory(said, tool_name="note", tag="t")
    assert stored["content"] == [{"type": "text", "text": "b"}]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (None, ""),
        ("plain", "plain"),
        ([], []),
        ([None, {"type": "text", "text": "a"}, None], [{"type": "text", "text": "a"}]),
        ([{"type": "text"}], [{"type": "text"}]),
        ([{"type": "tool_call"}], [{"type": "tool_call"}]),
        ([{}], [{}]),
    ],
)
def test_odd_contents_do_no_harm(content: Any, kept: Any) -> None:  # noqa: ANN401 - any JSON.
    """B68: no content, plain text, a list, and nothing among the parts."""
    [stored] = strip_memory({"role": "assistant", "content": content, "id": "m"})
    assert stored["content"] == kept


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_no_part_is_an_error(content: Any) -> None:  # noqa: ANN401 - any JSON.
    """B68: whatever parts there are; storing them is another matter."""
    strip_memory({"role": "assistant", "content": [content]})
    strip_memory({"role": "assistant", "content": [{"type": "tool_call", "id": content}]})


@pytest.mark.parametrize("content", [{"type": "text", "text": "hi"}, 5, math.nan, True, {}])
def test_content_that_would_be_lost_is_refused(content: object) -> None:
    with pytest.raises(InvalidRequest, match="text or a list of parts"):
        strip_memory({"role": "user", "content": content})


def test_calls_of_other_kinds_are_kept_as_they_are() -> None:
    custom = {"type": "custom", "id": "c1", "custom": {"name": "sql", "input": "SELECT 1"}}
    older = {"name": "look", "arguments": "{}"}
    said: list[Message] = [
        {"role": "assistant", "content": None, "tool_calls": [custom]},
        {"role": "assistant", "content": "Hm", "function_call": older},
    ]
    assert [each["content"] for each in strip_memory(said)] == [
        [custom],
        [{"type": "text", "text": "Hm"}, {"type": "function_call", **older}],
    ]


def test_messages_of_ours_keep_their_fields() -> None:
    given_ = memfold.Message(id="m", role="user", content="hi", metadata={"a": 1})
    assert strip_memory(given_) == [
        {"id": "m", "role": "user", "content": "hi", "metadata": {"a": 1}}
    ]


@pytest.mark.parametrize("given_", [{"content": "x"}, {"role": "nobody"}, "text", [7], 5, None])
def test_what_is_no_message_is_refused(given_: Any) -> None:  # noqa: ANN401 - wrong on purpose.
    with pytest.raises(InvalidRequest):
        strip_memory(given_)


def conversation(roles: str) -> list[Message]:
    names = {"u": "user", "a": "assistant", "t": "tool", "s": "system"}
    return [message(names[role], f"{role}{n}") for n, role in enumerate(roles)]


@pytest.mark.parametrize(
    ("roles", "kept"),
    [("uau", "u"), ("uuauu", "uu"), ("u", "u"), ("uu", "uu"), ("uat", "t"), ("ua", ""), ("", "")],
)
def test_of_a_conversation_handed_in_whole_the_end_is_new(roles: str, kept: str) -> None:
    """B194: on a thread with history only what follows the last thing the assistant said."""
    said = conversation(roles)
    assert only_new(said, begun=True) == said[len(said) - len(kept) :]
    # B196: on a thread without history all of it is.
    assert only_new(said, begun=False) == said


def test_ids_are_the_same_for_the_same_run_and_words() -> None:
    said: list[Message] = [{"role": "user", "content": text} for text in ("a", "b", "a")]
    first = with_ids(said, "run-1")
    assert with_ids(said, "run-1") == first
    assert len({each["id"] for each in first}) == 3
    assert with_ids(said, "run-2")[0]["id"] != first[0]["id"]
    assert with_ids([{**said[0], "id": "mine"}], "run-1")[0]["id"] == "mine"


def test_a_title_is_one_line_without_the_thinking() -> None:
    """B206."""
    assert clean_title("<think>hm\nwhat?</think>\n Moving to\nBerlin ") == "Moving to Berlin"
    assert clean_title("<think>only that</think>") == ""
    assert len(clean_title("x" * 1000)) == 200
