"""Which messages go when a prompt is too long, and that the cut stays in place for a while."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memfold.errors import InvalidRequest
from memfold.prompts.budget import estimate_tokens, first_kept, last_turn, step_tokens
from memfold.prompts.compose import PromptSettings, compose
from memfold.prompts.pairing import steps_of
from support.dialogue import Message, assistant, call, judge_openai, tool, user


def count(text: str) -> int:
    return len(text.split())


def talk(turns: int) -> list[Message]:
    """Return turns of a question, a call, its result and an answer, 20 tokens each."""
    said: list[Message] = []
    for n in range(turns):
        said += [
            user("q", f"u{n}"),
            assistant([call(f"c{n}")], f"a{n}"),
            {**tool(f"c{n}"), "id": f"t{n}"},
            assistant("b", f"b{n}"),
        ]
    return said


def shown(said: list[Message], budget: int | None, **options: Any) -> list[Message]:  # noqa: ANN401
    settings = PromptSettings(token_budget=budget, count_tokens=count, **options)
    return compose(settings, None, said).messages


def test_the_oldest_go_first_and_calls_with_their_results() -> None:
    """B201: never half of a pair; the system text and the present turn stay."""
    said = talk(10)
    whole = shown(said, None)
    for budget in range(0, 230, 3):
        found = shown(said, budget, system="S")
        judge_openai(found)
        assert found[0] == {"role": "system", "content": "S"}
        assert found[1:] == whole[len(whole) - len(found) + 1 :]
        assert found[-4:] == whole[-4:]
    assert shown(said, 1000) == whole


def test_what_must_stay_is_sent_even_if_it_is_too_much() -> None:
    """B201: the caller sees it by the tokens."""
    settings = PromptSettings(token_budget=1, system="S " * 50, count_tokens=count)
    found = compose(settings, None, [user("long " * 100), assistant("x", "a"), user("now")])
    assert [each["role"] for each in found.messages] == ["system", "user"]
    assert found.tokens > 1


def test_a_thread_without_a_user_keeps_its_last_step() -> None:
    said = [assistant(f"step {n}", f"a{n}") for n in range(5)]
    assert [each["content"] for each in shown(said, 0)] == ["step 4"]


def test_the_budget_holds() -> None:
    said = talk(30)
    for budget in range(60, 400, 17):
        settings = PromptSettings(token_budget=budget, count_tokens=count, system="S")
        assert compose(settings, None, said).tokens <= budget


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(0, 300),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_the_cut_moves_forward_alone(sizes: list[int], room: int, users: list[bool]) -> None:
    """B202: without being stored: when messages are appended, nothing dropped comes back."""
    said = [
        user("w " * size, f"m{n}") if by_user else assistant("w " * size, f"m{n}")
        for n, (size, by_user) in enumerate(zip(sizes, users, strict=False))
    ]
    cuts: list[int] = []
    for end in range(1, len(said) + 1):
        steps = steps_of(said[:end])
        cuts.append(first_kept(steps, [step_tokens(step, count) for step in steps], room))
        assert cuts[-1] <= last_turn(steps)
    assert all(before <= after for before, after in pairwise(cuts))


def test_the_cut_stays_in_place_for_several_messages() -> None:
    """B202: so a prompt begins with the same bytes again, and a provider can reuse its work."""
    said = [user(f"word {n}", f"m{n}") for n in range(400)]
    cuts: list[int] = []
    for end in range(100, 400):
        steps = steps_of(said[:end])
        cuts.append(first_kept(steps, [step_tokens(step, count) for step in steps], 300))
    moves = sum(before != after for before, after in pairwise(cuts))
    assert 10 < moves < len(cuts) / 3
    # Reading less of the thread gives the same cut: it depends on the messages alone.
    steps = steps_of(said[250:])
    assert 250 + first_kept(steps, [step_tokens(step, count) for step in steps], 300) == cuts[-1]


def test_results_and_media_count() -> None:
    large = [user("q"), assistant([call("c")], "a"), tool("c", "w " * 500), user("now")]
    assert [each["content"] for each in shown(large, 100)] == ["now"]
    picture = [user([{"type": "image", "url": "data:image/png;base64,AAAA"}]), user("now")]
    assert [each["content"] for each in shown(picture, 900)] == ["now"]
    parts = tool("c", [{"type": "text", "text": "w " * 500}])
    assert [each["content"] for each in shown([large[0], large[1], parts, large[3]], 100)] == [
        "now"
    ]


def test_an_estimate_grows_with_the_text() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("four") == 1
    assert estimate_tokens("five!") == 2
    assert estimate_tokens("日本語") == 3


@pytest.mark.parametrize(
    "options",
    [
        {"last": -1},
        {"last": 2.0},
        {"last": True},
        {"last": "2"},
        {"token_budget": -1},
        {"token_budget": float("inf")},
        {"token_budget": float("nan")},
        {"provider": "other"},
        {"scope": "user"},
    ],
)
def test_arguments_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    """B204: numbers that are whole and not below 0; names that there are."""
    with pytest.raises(InvalidRequest):
        PromptSettings(**options)


def test_options_that_there_are_not_are_refused() -> None:
    """B205: there is nothing to be removed yet; a misspelt one is no option either."""
    with pytest.raises(TypeError):
        PromptSettings(threads=True)  # type: ignore[call-arg]


def test_data_can_stand_behind_what_stays() -> None:
    from memfold.prompts.system import system_message
    from support.prompts import read

    memory = system_message(read("- Sam"))
    said = [user("old"), assistant("a"), user("now")]
    settings = PromptSettings(system="S", stable=True)
    found = compose(settings, memory, said).messages
    assert [each["role"] for each in found] == ["system", "user", "assistant", "system", "user"]
    assert found[0]["content"] == f"S\n\n{memory.stable}"
    assert found[3]["content"] == memory.data
    blocks = compose(PromptSettings(provider="anthropic", stable=True), memory, said)
    assert [block["text"] for block in blocks.as_arguments()["system"]] == [
        memory.stable,
        memory.data,
    ]
