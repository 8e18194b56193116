"""Stored messages as providers take them: calls with their results, in every spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from memfold.prompts.compose import PromptSettings, compose
from memfold.prompts.incoming import stored_messages
from memfold.prompts.pairing import steps_of
from memfold.prompts.processor import read_calls
from memfold.prompts.shapes import Provider
from memfold.prompts.texts import DENIED, EARLIER, FAILED, NO_RESULT
from support.dialogue import (
    Message,
    assistant,
    call,
    judge_anthropic,
    judge_openai,
    message,
    result,
    tool,
    user,
)

SAM = user("I am Sam.", "m1")
PICTURE = "data:image/jpeg;base64,AAAA"


def prompt(provider: Provider, messages: list[Message], **options: Any) -> list[Message]:  # noqa: ANN401
    settings = PromptSettings(provider=provider, **options)
    return compose(settings, None, messages).messages


def test_plain_words_are_what_they_are_everywhere() -> None:
    said = [SAM, assistant("Hello Sam."), user([{"type": "text", "text": "What now?"}])]
    expected = [
        {"role": "user", "content": "I am Sam."},
        {"role": "assistant", "content": "Hello Sam."},
        {"role": "user", "content": "What now?"},
    ]
    assert prompt("openai", said) == prompt("anthropic", said) == expected
    assert prompt("plain", said) == said


def test_calls_and_results_are_shown_as_each_provider_takes_them() -> None:
    """B121, B122, B190: kept, in their order, with the text around them."""
    parts = [{"type": "text", "text": "Let me see."}, call("c1", city="Oslo")]
    said = [SAM, assistant(parts), tool("c1", {"rain": True}), assistant("It rains.")]
    assert prompt("openai", said)[1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"city":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"rain":true}'},
        {"role": "assistant", "content": "It rains."},
    ]
    assert prompt("anthropic", said)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"city": "Oslo"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": '{"rain":true}'},
            ],
        },
        {"role": "assistant", "content": "It rains."},
    ]


def test_what_is_said_between_calls_stays_between_them() -> None:
    """B122: one stored message may hold call, result and text in any order."""
    parts = [call("c1"), result("c1", "a"), {"type": "text", "text": "So"}, call("c2")]
    said = [SAM, assistant([*parts, result("c2", "b"), {"type": "text", "text": "Done."}])]
    shown = prompt("openai", said)
    judge_openai(shown)
    assert [each.get("content") for each in shown] == ["I am Sam.", None, "a", "So", "b", "Done."]
    judge_anthropic(prompt("anthropic", said))


def test_a_prompt_never_begins_with_a_result_of_a_call_that_is_not_there() -> None:
    said = [tool("c0"), tool("c0b"), SAM, tool("c9"), assistant("Hi.")]
    for provider in ("openai", "anthropic"):
        shown = prompt(provider, said)
        assert [each["content"] for each in shown] == ["I am Sam.", "Hi."]
    assert [each["id"] for each in prompt("plain", said)] == ["m1", "assistant-Hi."]


def test_a_call_without_a_result_is_told_to_have_none() -> None:
    """Its agent may have died: providers refuse it bare, and hiding it could repeat its effect."""
    said = [SAM, assistant([call("c1"), call("c2")]), tool("c2"), user("And?")]
    shown = prompt("openai", said)
    judge_openai(shown)
    assert [each["content"] for each in shown[2:]] == [NO_RESULT, "found", "And?"]
    [missing, _, text] = prompt("anthropic", said)[2]["content"]
    assert missing == {
        "type": "tool_result",
        "tool_use_id": "c1",
        "content": NO_RESULT,
        "is_error": True,
    }
    assert text == {"type": "text", "text": "And?"}


def test_a_result_comes_to_its_call_past_what_others_said_between() -> None:
    """Several agents at one thread write at once."""
    said = [SAM, assistant([call("c1")]), user("Hurry!"), assistant("Wait."), tool("c1")]
    shown = prompt("openai", said)
    judge_openai(shown)
    assert [each["role"] for each in shown] == ["user", "assistant", "tool", "user", "assistant"]
    judge_anthropic(prompt("anthropic", said))
    assert prompt("plain", said) == said


def test_ids_of_calls_may_come_again_and_be_of_any_text() -> None:
    """Some models count their calls anew in each turn; each result still finds its own."""
    long = "x" * 60
    said = [
        SAM,
        assistant([call("call_0", n=1)], "a1"),
        tool("call_0", "one"),
        assistant([call("call_0", n=2), call("call_0", n=3), call(long), call("ö:1")], "a2"),
        *(tool("call_0", "two"), tool("call_0", "three"), tool(long, "four"), tool("ö:1", "five")),
    ]
    shown = prompt("openai", said)
    judge_openai(shown)
    judge_anthropic(prompt("anthropic", said))
    results = {each["tool_call_id"]: each["content"] for each in shown if each["role"] == "tool"}
    calls = [wish for each in shown for wish in each.get("tool_calls", [])]
    assert [results[wish["id"]] for wish in calls] == ["one", "two", "three", "four", "five"]
    assert prompt("openai", said) == shown


def test_ids_that_are_made_anew_meet_no_others() -> None:
    """A call's id comes again after its result, and a later call is named as if it were counted."""
    parts = [call("c"), result("c", "one"), call("c"), result("c", "two"), call("c")]
    said = [SAM, assistant([*parts, result("c", "three")], "a1"), assistant([call("call_2")], "a2")]
    shown = prompt("openai", said)
    judge_openai(shown)
    judge_anthropic(prompt("anthropic", said))
    ids = [wish["id"] for each in shown for wish in each.get("tool_calls", [])]
    assert len(set(ids)) == len(ids) == 4


def test_the_last_of_two_results_of_a_call_counts() -> None:
    said = [SAM, assistant([call("c1")]), tool("c1", "old"), tool("c1", "new")]
    assert prompt("openai", said)[2]["content"] == "new"


def test_calls_that_were_cut_off_are_not_shown() -> None:
    cut = {**call("c1"), "state": "partial"}
    assert prompt("openai", [SAM, assistant([cut])]) == [{"role": "user", "content": "I am Sam."}]


def test_system_messages_of_a_thread_keep_their_authority() -> None:
    """In their place for OpenAI; for Anthropic, who has no such messages, in the system text."""
    said = [message("system", "Be brief."), SAM, message("system", "Be kind."), user("Hm?")]
    assert [each["role"] for each in prompt("openai", said)] == ["system", "user", "system", "user"]
    settings = PromptSettings(provider="anthropic", system="You help.")
    found = compose(settings, None, said)
    assert found.messages == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "I am Sam."}, {"type": "text", "text": "Hm?"}],
        }
    ]
    assert found.system == "You help.\n\nBe brief.\n\nBe kind."
    blocks = found.as_arguments()["system"]
    assert [block["text"] for block in blocks] == ["You help.", "Be brief.", "Be kind."]


def test_a_prompt_for_anthropic_begins_with_a_user() -> None:
    shown = prompt("anthropic", [assistant("Welcome!"), SAM])
    assert shown[0] == {"role": "user", "content": EARLIER}
    judge_anthropic(shown)


def test_images_and_files_are_shown_where_a_provider_takes_them() -> None:
    picture = {"type": "image", "url": PICTURE}
    linked = {"type": "image", "url": "https://x.example/a.png"}
    file = {"type": "file", "data": "QUJD", "media_type": "application/pdf", "name": "a.pdf"}
    said = [user([{"type": "text", "text": "See:"}, picture, linked, file]), assistant([picture])]
    assert prompt("openai", said)[0]["content"] == [
        {"type": "text", "text": "See:"},
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
        },
    ]
    source = {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}
    assert prompt("anthropic", said)[0]["content"] == [
        {"type": "text", "text": "See:"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
        },
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        {"type": "document", "source": source},
    ]
    for provider in ("openai", "anthropic"):
        assert prompt(provider, said)[1]["content"] == "[image: image/jpeg]"


def test_bytes_are_shown_under_the_type_that_their_part_names() -> None:
    data = {"type": "image", "media_type": "image/gif", "data": b"GIF"}
    said = stored_messages({"role": "user", "content": [data]})
    [block] = prompt("anthropic", [{**said[0], "id": "m"}])[0]["content"]
    assert block["source"] == {"type": "base64", "media_type": "image/gif", "data": "R0lG"}
    [part] = prompt("openai", [{**said[0], "id": "m"}])[0]["content"]
    assert part["image_url"] == {"url": "data:image/gif;base64,R0lG"}


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (
            {"type": "image", "image": "https://x.example/a.png", "mediaType": "image/png"},
            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
        ),
        (
            {"type": "image", "image": "AAAA", "mimeType": "image/webp"},
            {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AAAA"}},
        ),
        (
            {"type": "image", "image": PICTURE},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ),
        (
            {"type": "file", "data": "AAAA", "mediaType": "image/jpeg"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ),
        (
            {"type": "file", "data": "QUJD", "mediaType": "text/csv", "filename": "a.csv"},
            {
                "type": "file",
                "file": {"filename": "a.csv", "file_data": "data:text/csv;base64,QUJD"},
            },
        ),
    ],
)
def test_images_and_files_of_the_ai_sdk_are_shown(part: Message, shown: Message) -> None:
    assert prompt("openai", [user([part])])[0]["content"] == [shown]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("", FAILED),
        (" \n", FAILED),
        ("no such city", "no such city"),
        ([{"type": "text", "text": ""}], FAILED),
        (
            [{"type": "text", "text": "a"}, {"type": "image", "url": PICTURE}],
            "a\n[image: image/jpeg]",
        ),
    ],
)
def test_an_error_is_text_that_says_something(content: object, shown: str) -> None:
    """Anthropic refuses an error with nothing in it, and one with an image."""
    failed = message("tool", [{**result("c", content), "is_error": True}])
    said = prompt("anthropic", [SAM, assistant([call("c")]), failed])
    assert said[2]["content"][0]["content"] == shown


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "Hello"},
            },
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "Hello"},
            },
        ),
        (
            {"type": "file", "data": "aSxq", "media_type": "text/csv", "name": "a.csv"},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "i,j"},
            },
        ),
        (
            {"type": "file", "url": "data:,i%2Cj"},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "i,j"},
            },
        ),
        (
            {"type": "file", "data": "/w==", "media_type": "text/plain", "name": "a.txt"},
            {"type": "text", "text": "[file: a.txt]"},
        ),
        (
            {"type": "file", "data": "UEsD", "media_type": "application/zip", "name": "a.zip"},
            {"type": "text", "text": "[file: a.zip]"},
        ),
        (
            {"type": "file", "url": "https://x.example/a.zip", "media_type": "application/zip"},
            {"type": "text", "text": "[file: https://x.example/a.zip]"},
        ),
        (
            {"type": "image", "data": "PHN2Zz4=", "media_type": "image/svg+xml"},
            {"type": "text", "text": "[image: image/svg+xml]"},
        ),
        (
            {"type": "image", "data": "AAAA", "media_type": "image/jpg"},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
            },
        ),
        (
            {"type": "image", "data": "R0lGODlh"},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGODlh"},
            },
        ),
    ],
)
def test_anthropic_is_shown_what_it_takes_and_told_of_the_rest(
    part: Message, block: Message
) -> None:
    [shown] = prompt("anthropic", [user([{"type": "text", "text": "?"}, part])])
    assert shown["content"][1] == block


def test_a_document_of_text_is_text_for_others_too() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Hello"}
    part = {"type": "document", "source": source}
    assert prompt("openai", [user([part])]) == [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
    ]
    assert prompt("openai", [assistant([part])]) == [{"role": "assistant", "content": "Hello"}]


def test_a_system_message_of_an_image_alone_is_named() -> None:
    said = [
        message("system", [{"type": "image", "url": PICTURE}]),
        message("system", [{"type": "odd"}]),
        SAM,
    ]
    found = compose(PromptSettings(provider="anthropic", system=" "), None, said)
    assert found.blocks == ("[image: image/jpeg]",)
    assert prompt("openai", said)[0] == {"role": "system", "content": "[image: image/jpeg]"}


UI_CALLS = [
    {"state": "output-available", "input": {"city": "Oslo"}, "output": {"rain": True}},
    {"state": "output-error", "input": {}, "errorText": "no such city"},
    {"state": "output-denied", "input": {}, "approval": {"id": "a", "approved": False}},
    {"state": "input-available", "input": {}},
    {"state": "input-streaming", "input": {"ci": ""}},
]


def test_messages_that_the_ai_sdk_has_for_a_screen_are_shown_and_kept() -> None:
    """Their parts stand in ``parts``, and a call has its result within it."""
    calls = [
        {"type": f"tool-look{n}", "toolCallId": f"c{n}", **each} for n, each in enumerate(UI_CALLS)
    ]
    dynamic = {"type": "dynamic-tool", "toolName": "find", "toolCallId": "d", **UI_CALLS[0]}
    parts = [
        {"type": "step-start"},
        *calls,
        dynamic,
        {"type": "text", "text": "Rain.", "state": "done"},
    ]
    asked = {"type": "file", "mediaType": "image/png", "filename": "a.png", "url": PICTURE}
    stored = stored_messages(
        [
            {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "See"}, asked]},
            {"id": "m2", "role": "assistant", "parts": parts, "metadata": {"a": 1}},
        ]
    )
    assert [each["content"] for each in stored] == [[{"type": "text", "text": "See"}, asked], parts]
    assert (stored[1]["id"], stored[1]["metadata"]) == ("m2", {"a": 1})
    shown = prompt("openai", stored)
    judge_openai(shown)
    judge_anthropic(prompt("anthropic", stored))
    assert shown[0]["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE}}
    wishes = [wish["function"] for each in shown for wish in each.get("tool_calls", [])]
    assert [wish["name"] for wish in wishes] == ["look0", "look1", "look2", "look3", "find"]
    assert wishes[0]["arguments"] == '{"city":"Oslo"}'
    results = [each["content"] for each in shown if each["role"] == "tool"]
    assert results == ['{"rain":true}', "no such city", DENIED, NO_RESULT, '{"rain":true}']
    assert shown[-1] == {"role": "assistant", "content": "Rain."}


def test_older_messages_of_the_ai_sdk_keep_what_stands_beside_their_content() -> None:
    done = {"state": "result", "toolCallId": "c", "toolName": "f", "args": {}, "result": "ok"}
    attached = {"name": "a.png", "contentType": "image/png", "url": PICTURE}
    text = {"type": "text", "text": "Hi"}
    for given_, content in (
        (
            {"role": "assistant", "content": "Hi", "toolInvocations": [done]},
            [text, {"type": "tool-invocation", "toolInvocation": done}],
        ),
        (
            {"role": "user", "content": "Hi", "experimental_attachments": [attached]},
            [text, {"type": "experimental_attachment", "experimental_attachment": attached}],
        ),
        ({"role": "user", "content": "Hi", "parts": [text]}, [text]),
        ({"role": "user", "content": "Ho", "parts": [text]}, [{**text, "text": "Ho"}, text]),
        ({"role": "user", "content": "Hi", "parts": []}, "Hi"),
    ):
        assert stored_messages(given_)[0]["content"] == content
    [shown] = prompt(
        "openai", [user([{"type": "experimental_attachment", "experimental_attachment": attached}])]
    )
    assert shown["content"][0]["type"] == "image_url"


@pytest.mark.parametrize(
    ("output", "shown", "failed"),
    [
        ({"type": "text", "value": "rain"}, "rain", False),
        ({"type": "json", "value": {"rain": True}}, '{"rain":true}', False),
        ({"type": "error-text", "value": "no"}, "no", True),
        ({"type": "error-json", "value": {"no": 1}}, '{"no":1}', True),
        ({"type": "execution-denied"}, DENIED, True),
        ({"type": "content", "value": [{"type": "text", "text": "a"}]}, "a", False),
        ({"type": "json"}, '{"type":"json"}', False),
        ({"rain": True}, '{"rain":true}', False),
    ],
)
def test_a_result_of_the_ai_sdk_is_shown_by_its_value(
    output: object, shown: str, *, failed: bool
) -> None:
    wish = {"type": "tool-call", "toolCallId": "c", "toolName": "f", "input": {}}
    answer = {"type": "tool-result", "toolCallId": "c", "toolName": "f", "output": output}
    said = [SAM, assistant([wish]), message("tool", [answer])]
    assert prompt("openai", said)[2]["content"] == shown
    [block] = prompt("anthropic", said)[2]["content"]
    assert block.get("is_error", False) == failed


def test_a_result_that_is_a_list_of_data_is_shown_whole() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    for content, shown in (
        (["Berlin", 42, {"t": 1}], '["Berlin",42,{"t":1}]'),
        (["Berlin"], '["Berlin"]'),
        ([*parts, None], '[{"text":"a","type":"text"},{"text":"b","type":"text"},null]'),
        (parts, "a\nb"),
        ([], "[]"),
    ):
        said = prompt("openai", [SAM, assistant([call("c")]), tool("c", content)])
        assert said[2]["content"] == shown


def test_a_message_with_nothing_to_show_is_left_out() -> None:
    blank = user([{"type": "text", "text": ""}, {"type": "odd"}], "m2")
    for provider in ("openai", "anthropic"):
        assert prompt(provider, [SAM, blank]) == prompt(provider, [SAM])


def test_parts_of_unknown_types_are_for_plain_prompts_alone() -> None:
    strange = {"type": "thinking", "thinking": "hm", "signature": "x"}
    said = [assistant([strange]), user([strange, {"type": "text", "text": "Hi"}])]
    assert prompt("plain", said) == said
    assert prompt("openai", said) == [{"role": "user", "content": "Hi"}]
    assert prompt("anthropic", said) == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("given_", "parts"),
    [
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            [{"type": "tool_call", "id": "c", "name": "f", "arguments": {}}],
        ),
        (
            {
                "role": "assistant",
                "content": "Hm",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{x"}}
                ],
            },
            [
                {"type": "text", "text": "Hm"},
                {"type": "tool_call", "id": "c", "name": "f", "arguments": "{x"},
            ],
        ),
        (
            {"role": "tool", "tool_call_id": "c", "content": "ok"},
            [{"type": "tool_result", "id": "c", "content": "ok"}],
        ),
        ({"role": "developer", "content": "Be."}, "Be."),
        ({"role": "assistant", "content": None, "refusal": "No."}, "No."),
    ],
)
def test_messages_of_openai_are_stored_with_their_calls_as_parts(
    given_: Message, parts: object
) -> None:
    [stored] = stored_messages(given_)
    assert stored["content"] == parts


def test_messages_of_anthropic_are_stored_as_they_are() -> None:
    """A user's message of nothing but results is a tool's; blocks stay what they were."""
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    answer = {"type": "tool_result", "tool_use_id": "c", "content": "ok", "is_error": True}
    stored = stored_messages(
        [{"role": "assistant", "content": [use]}, {"role": "user", "content": [answer]}]
    )
    assert [each["role"] for each in stored] == ["assistant", "tool"]
    assert [each["content"] for each in stored] == [[use], [answer]]
    assert prompt("anthropic", [SAM, *stored])[1:] == [
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [answer]},
    ]


def test_objects_of_an_sdk_are_messages_too() -> None:
    class Function(BaseModel):
        name: str
        arguments: str

    class Call(BaseModel):
        id: str
        type: str = "function"
        function: Function

    class Reply(BaseModel):
        role: str = "assistant"
        content: str | None = None
        refusal: str | None = None
        tool_calls: list[Call] = []

    wish = Call(id="c1", function=Function(name="f", arguments='{"a":1}'))
    [stored] = stored_messages(Reply(tool_calls=[wish]))
    part = {"type": "tool_call", "id": "c1", "name": "f", "arguments": {"a": 1}}
    assert stored == {"role": "assistant", "content": [part]}
    [expected] = read_calls(stored)
    assert read_calls(Reply(tool_calls=[wish])) == read_calls([wish]) == [expected]
    assert read_calls(wish) == read_calls({**stored, "content": [part]}) == [expected]
    assert read_calls(None) == read_calls([]) == read_calls(Reply(content="hi")) == []


def test_imported_spellings_are_understood() -> None:
    """What an import keeps as it was: OpenAI's calls as parts, the AI SDK's invocations."""
    done = {"state": "result", "toolCallId": "c1", "toolName": "f", "args": {}, "result": {"n": 1}}
    cut = {"state": "partial-call", "toolCallId": "c2", "toolName": "f", "args": {}}
    asked = {"id": "c3", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = [
        SAM,
        assistant(
            [
                {"type": "tool-invocation", "toolInvocation": done},
                {"type": "text", "text": "One."},
                {"type": "tool-invocation", "toolInvocation": cut},
                asked,
            ]
        ),
        {**message("tool", "two"), "metadata": {"imported": {"tool_call_id": "c3"}}},
    ]
    shown = prompt("openai", said)
    judge_openai(shown)
    assert [each["content"] for each in shown] == ["I am Sam.", None, '{"n":1}', "One.", "two"]


TEXTS = st.sampled_from(["", " ", "hi", "so"]).map(lambda text: {"type": "text", "text": text})
IDS = st.sampled_from(["a", "b", "call_0", "ä", "x" * 50])
MEDIA = st.fixed_dictionaries(
    {"type": st.sampled_from(["image", "file", "document"])},
    optional={
        "url": st.sampled_from([PICTURE, "https://x.example/a", "data:,hi", "data:;base64,%", "a"]),
        "data": st.sampled_from(["AAAA", "aGk=", "ICA=", "/w==", ""]),
        "media_type": st.sampled_from(
            ["image/svg+xml", "image/jpg", "application/pdf", "text/csv; charset=utf-8", "a/b"]
        ),
        "name": st.just("a name"),
    },
)
PARTS = st.lists(
    TEXTS
    | IDS.map(call)
    | IDS.map(result)
    | IDS.map(lambda id_: {**call(id_), "state": "partial"})
    | IDS.map(lambda id_: result(id_, [{"type": "text", "text": "ok"}, {"type": "image"}]))
    | MEDIA
    | st.tuples(IDS, st.just({"type": "text", "text": ""}), MEDIA).map(
        lambda given: {**result(given[0], [given[1], given[2]]), "is_error": True}
    )
    | IDS.map(lambda id_: {**result(id_, ""), "is_error": True})
    | st.just({"type": "odd"}),
    max_size=4,
)
CONTENT = st.sampled_from(["", "hi"]) | PARTS
MESSAGES = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "tool", "system"]), CONTENT), max_size=12
).map(lambda said: [message(role, content, f"m{n}") for n, (role, content) in enumerate(said)])


@given(MESSAGES, st.none() | st.integers(0, 60))
def test_no_thread_makes_a_prompt_that_a_provider_refuses(
    said: list[Message], budget: int | None
) -> None:
    judge_openai(prompt("openai", said, token_budget=budget))
    judge_anthropic(prompt("anthropic", said, token_budget=budget))


@given(MESSAGES)
def test_nothing_that_is_said_is_lost_between_the_spellings(said: list[Message]) -> None:
    """Each call is shown once, and each non-blank text of a user, an assistant or the system."""
    steps = steps_of(said)
    shown = prompt("openai", said)
    calls = sum(
        part["type"] == "tool_call" and "state" not in part
        for each in said
        if each["role"] == "assistant" and isinstance(each["content"], list)
        for part in each["content"]
    )
    assert sum(len(each.get("tool_calls", [])) for each in shown) == calls
    assert sum(len(step.results) for step in steps) == calls
    texts = json.dumps([each["content"] for each in said if each["role"] != "tool"]).count('"so"')
    assert json.dumps([each["content"] for each in shown]).count("so") == texts
