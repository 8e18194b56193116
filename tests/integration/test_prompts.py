"""The memory tool, prompts and processors as agents use them, with a real engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold import EngineUnavailable, InvalidRequest, Memory, Rejected, Thread, ToolAnswer
from memfold.requests import Queries
from support.broker import running_broker
from support.dialogue import assistant, call, judge_anthropic, judge_openai, result, tool, user
from support.engine import running_memory
from support.prompts import SCHEMA, TEMPLATE
from support.shared import shared_dir

pytestmark = pytest.mark.integration

NAME = "update_working_memory"
TASKS = 64


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    async with running_memory(tmp_path) as (opened, _):
        yield opened


@pytest.fixture
def thread(memory: Memory) -> Thread:
    return memory.resource("alice").thread("t")


async def last_sequence(memory: Memory) -> int:
    """Return the stream's last sequence: one that stays says that nothing was sent."""
    return int((await memory.status())["stream"]["last_sequence"])


async def content(working: memfold.WorkingMemory) -> Any:  # noqa: ANN401 - any JSON.
    state = await working.get()
    return None if state is None else state.content


def note(text: str, id_: str = "c1", mode: str = "append") -> dict[str, Any]:
    """Return a model's call of the memory tool, as OpenAI's models make it."""
    arguments = json.dumps({"mode": mode, "content": text})
    return {"id": id_, "type": "function", "function": {"name": NAME, "arguments": arguments}}


def says(text: str | None, *calls: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"role": "assistant", "content": text}
    return {**found, "tool_calls": list(calls)} if calls else found


def failing(*args: object) -> None:
    del args
    raise AssertionError


# The tool.


async def test_facts_told_over_several_turns_accumulate(memory: Memory) -> None:
    """B168: each call adds; what others keep beside it stays."""
    working = memory.resource("alice").working_memory
    await working.define(schema={"type": "object"})
    handle = working.tool().handle
    for patch in ({"about": {"name": "Sam"}}, {"about": {"city": "Oslo"}}, {"work": {"job": "x"}}):
        answer = await handle({"memory": patch})
        assert (answer.ok, answer.changed, answer.code) == (True, True, "applied")
    assert await content(working) == {
        "about": {"name": "Sam", "city": "Oslo"},
        "work": {"job": "x"},
    }


async def test_the_tool_is_that_of_the_definition_in_force(memory: Memory) -> None:
    """B180, B158, B162: of a thread's memory or a resource's, whichever the handle is of."""
    alice = memory.resource("alice")
    await alice.working_memory.define(schema=SCHEMA)
    definition = await alice.thread("t").working_memory.tool(name="note").definition("anthropic")
    assert definition["name"] == "note"
    assert "name" in definition["input_schema"]["properties"]["memory"]["properties"]
    answer = await alice.thread("t").working_memory.tool().handle('{"memory":{"name":"Sam"}}')
    assert answer.changed
    # The thread was begun by it, and the resource's own memory is another one.
    assert await alice.thread("t").get() is not None
    assert await content(alice.working_memory) is None
    assert await content(alice.thread("t").working_memory) == {"name": "Sam"}


async def test_a_handle_that_cannot_write_has_no_tool(memory: Memory) -> None:
    """B180."""
    with pytest.raises(memfold.ReadOnly):
        memory.resource("alice").working_memory.read_only().tool()


async def test_what_is_refused_is_not_written(memory: Memory) -> None:
    """B160, B161, B165, B169, B170: an answer for the model, and nothing in the log."""
    text, record = (memory.resource(name).working_memory for name in ("text", "record"))
    await text.define(template=TEMPLATE)
    await record.define(schema=SCHEMA)
    handle = text.tool().handle
    first = await handle({"mode": "replace", "content": TEMPLATE})
    assert (first.ok, first.changed, first.code) == (False, False, "empty_template")
    begun = await handle({"mode": "append", "content": "# Customer\n- Name: Sam"})
    assert begun.text == "Saved: this is the beginning of the working memory."
    assert (await record.tool().handle({"memory": {"name": "Sam"}})).changed
    sequence = await last_sequence(memory)
    refused: list[ToolAnswer] = [
        await handle({"mode": "replace", "content": f"\n {TEMPLATE} "}),
        await handle({"mode": "replace", "content": {"name": "Sam"}}),
        await handle("not JSON"),
        await record.tool().handle({"memory": {"name": None}}),
        await record.tool().handle({"memory": {"mood": "so so"}}),
    ]
    assert not any(answer.ok or answer.changed or answer.receipt for answer in refused)
    unchanged = [
        await handle({"mode": "append", "content": "- Name:  Sam"}),
        await record.tool().handle({"memory": {"name": "Sam"}}),
    ]
    assert [(answer.ok, answer.changed) for answer in unchanged] == [(True, False)] * 2
    assert unchanged[1].code == memfold.NO_CHANGE
    assert await last_sequence(memory) == sequence
    assert await content(text) == "# Customer\n- Name: Sam"


async def test_an_edit_replaces_the_first_occurrence_or_appends(memory: Memory) -> None:
    """B172: and says which; the fold decides it, so concurrent edits are told right, too."""
    working = memory.resource("alice").working_memory
    await working.replace("tea, tea")
    handle = working.tool(modes=["edit"]).handle
    found = await handle({"mode": "edit", "search": "tea", "content": "milk"})
    assert "now has content instead" in found.text
    absent = await handle({"mode": "edit", "search": "juice", "content": "- water"})
    assert "was added at its end" in absent.text
    assert await content(working) == "milk, tea\n- water"


async def test_a_call_names_what_it_rests_on(memory: Memory, thread: Thread) -> None:
    said = await thread.append({"id": "m1", "role": "user", "content": "Call me Al."})
    answer = (
        await memory.resource("alice")
        .working_memory.tool()
        .handle({"mode": "append", "content": "- Al"}, because=said, correlation="run-1")
    )
    assert answer.receipt is not None
    change = (await memory.resource("alice").history())[-1]
    assert change.causation == said.event_ids[0]
    assert change.correlation == "run-1"
    assert change.data["evidence"] == [{"thread": "t", "message": "m1"}]


@pytest.mark.parametrize("form", ["json", "text"])
async def test_calls_of_many_models_at_once_lose_nothing(memory: Memory, form: str) -> None:
    """B176, B177: merges and added lines are deltas, so all of them are there."""
    working = memory.resource("alice").working_memory
    if form == "json":
        await working.define(schema={"type": "object"})
        calls: list[dict[str, Any]] = [{"memory": {f"k{n}": n}} for n in range(TASKS)]
    else:
        calls = [{"mode": "append", "content": f"- k{n}"} for n in range(TASKS)]
    answers = await asyncio.gather(*(working.tool().handle(each) for each in calls))
    assert all(answer.changed for answer in answers)
    found = await content(working)
    if form == "json":
        assert found == {f"k{n}": n for n in range(TASKS)}
    else:
        assert sorted(found.split("\n")) == sorted(f"- k{n}" for n in range(TASKS))


async def test_whole_documents_of_two_models_do_not_undo_each_other(memory: Memory) -> None:
    """B177: the second is shown what the first wrote, and asked again."""
    working = memory.resource("alice").working_memory
    await working.replace("- old")
    seen = (await working.system_message()).revision
    handle = working.tool().handle
    one, two = await asyncio.gather(
        *(handle({"mode": "replace", "content": f"- {n}"}, seen=seen) for n in (1, 2))
    )
    won, lost = (one, two) if one.ok else (two, one)
    assert (won.changed, lost.changed, lost.code) == (True, False, "conflict")
    now = await content(working)
    assert f"<working_memory>\n{now}\n</working_memory>" in lost.text
    again = await handle({"mode": "replace", "content": f"{now}\n- both"}, seen=lost.revision)
    assert again.changed
    # It is allowed to know its own change, and replaces that.
    assert (await handle({"mode": "replace", "content": "- own"}, seen=again.revision)).changed


async def test_all_merge_cases_pass_through_the_tool(memory: Memory) -> None:
    """B164, B165: each case of the shared list; what changes nothing is not written."""
    cases = json.loads((shared_dir() / "data" / "merge_cases.json").read_text())
    for number, case in enumerate(cases):
        working = memory.resource(f"case{number}").working_memory
        await working.define(schema={"type": "object"})
        if case["existing"] is not None:
            await working.replace(case["existing"])
        answer = await working.tool().handle(json.dumps({"memory": case["patch"]}))
        assert answer.ok, case["note"]
        found = await content(working)
        assert (found or {}) == case["expected"], case["note"]
        assert answer.changed is (case["expected"] != (case["existing"] or {})), case["note"]


async def test_what_fails_on_our_side_is_raised(tmp_path: Path) -> None:
    """A program has to know; a model could do nothing about it."""
    async with running_broker(tmp_path) as broker, memfold.connect(broker.url, actor="a") as memory:
        await memory.ensure_streams()
        with pytest.raises(EngineUnavailable):
            await memory.resource("alice").working_memory.tool().handle({"memory": {"a": 1}})


# The system message.


async def test_the_system_message_shows_what_is_there(memory: Memory, thread: Thread) -> None:
    """B182: of the thread's own memory here, in one read."""
    working = thread.working_memory
    await working.append("- Sam")
    message = await working.system_message()
    assert message.data.endswith("<working_memory>\n- Sam\n</working_memory>")
    state = await working.get()
    assert state is not None
    assert message.revision == state.revision
    read_only = await working.read_only().system_message()
    assert "cannot change it" in read_only.text
    assert (await memory.resource("alice").working_memory.system_message()).data != message.data


async def test_only_changes_are_shown_again(memory: Memory) -> None:
    working = memory.resource("alice").working_memory
    first = await working.system_message()
    assert await working.system_message(since=first) == memfold.NO_CHANGE
    assert await working.system_message(since=first.revision) == memfold.NO_CHANGE
    await working.append("- Sam")
    second = await working.system_message(since=first.revision)
    assert isinstance(second, memfold.SystemMessage)
    assert "- Sam" in second.data
    await working.append("")
    await working.edit("nowhere", "")
    assert await working.system_message(since=await working.system_message()) == memfold.NO_CHANGE


# Prompts.


async def test_a_prompt_is_the_system_message_and_the_last_messages(thread: Thread) -> None:
    await thread.append([user("one", "m1"), assistant("two", "m2"), user("three", "m3")])
    await thread.working_memory.append("- Sam")
    prompt = await thread.prompt(last=2, system="You help.", scope="thread")
    judge_openai(prompt.messages)
    assert [each["role"] for each in prompt.messages] == ["system", "assistant", "user"]
    assert prompt.messages[0]["content"] == prompt.system
    assert prompt.system.startswith("You help.\n\n# Working memory")
    assert prompt.as_arguments() == {"messages": prompt.messages}
    other = await thread.prompt(provider="anthropic", scope=None)
    assert other.as_arguments() == {
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
    }
    assert (await thread.prompt(last=0, scope=None)).messages == []


async def test_a_prompt_reads_back_as_far_as_its_budget_goes(thread: Thread) -> None:
    """B201: many pages, if need be, and calls never without their results."""
    said: list[dict[str, Any]] = []
    for n in range(120):
        said += [user(f"q{n}", f"u{n}"), assistant([call(f"c{n}")], f"a{n}"), tool(f"c{n}", n)]
    await thread.append(said)

    def count(text: str) -> int:
        return len(text)

    whole = await thread.prompt(token_budget=1_000_000, scope=None, count_tokens=count)
    judge_openai(whole.messages)
    assert len(whole.messages) == len(said)
    short = await thread.prompt(token_budget=3000, scope=None, count_tokens=count)
    judge_openai(short.messages)
    assert short.tokens <= 3000
    assert short.messages == whole.messages[-len(short.messages) :]
    assert len(short.messages) > 100
    window = await thread.prompt(last=2, scope=None)
    assert [each["role"] for each in window.messages] == ["assistant", "tool"]
    assert (await thread.prompt(last=1, scope=None)).messages == []


@pytest.mark.parametrize("options", [{"last": -1}, {"token_budget": -1}, {"provider": "x"}])
async def test_a_prompt_of_nonsense_is_refused(thread: Thread, options: dict[str, Any]) -> None:
    """B204."""
    with pytest.raises(InvalidRequest):
        await thread.prompt(**options)


async def test_attachments_are_shown_to_the_model(memory: Memory, thread: Thread) -> None:
    """Kept beside the event, and put back for the messages that a prompt shows."""
    data = b"\xff\xd8\xff" + bytes(range(256)) * 200
    photo = memfold.Attachment(data, "image/jpeg")
    await thread.append(user([{"type": "image", "url": photo}], "m1"))
    [shown] = (await thread.prompt(scope=None)).messages
    assert shown["content"] == [{"type": "image_url", "image_url": {"url": photo.data_uri()}}]
    [plain] = (await thread.prompt(scope=None, provider="plain")).messages
    assert plain["content"] == (await thread.messages())[0].content
    # A reference that leads nowhere is named: here one that was copied to another resource.
    other = memory.resource("bob").thread("t")
    await other.append(user(plain["content"], "m1"))
    [named] = (await other.prompt(scope=None)).messages
    assert named["content"] == [{"type": "text", "text": "[image: image/jpeg]"}]

    processor = thread.processor(scope=None, last=0, provider="anthropic")
    request = await processor.before(
        {"role": "user", "content": [{"type": "image", "url": data}, {"type": "text", "text": "?"}]}
    )
    assert request.messages[0]["content"][0]["source"]["type"] == "base64"
    await processor.after(says("Nice."))
    stored = (await thread.messages(last=2))[0].content
    assert isinstance(stored, list)
    assert stored[0]["url"]["attachment"]["size"] == len(data)


# Processors.


async def test_a_turn_in_two_lines(memory: Memory, thread: Thread) -> None:
    """B189, B192: before the model its prompt; after it the turn without memory calls is stored."""
    await thread.append([user("one", "m1"), assistant("two", "m2"), user("three", "m3")])
    processor = thread.processor(last=2, system="You help.")
    request = await processor.before(user("I am Sam.", "m4"))
    judge_openai(request.messages)
    assert [each["content"] for each in request.messages[1:]] == ["two", "three", "I am Sam."]
    assert [each["function"]["name"] for each in request.tools] == [NAME]
    assert request.as_arguments().keys() == {"messages", "tools"}
    assert [message.id for message in await thread.messages()] == ["m1", "m2", "m3"]

    first = says(None, note("- Sam"), note("x", "c2") | {"function": {"name": "other"}})
    answers = await processor.answer(first["tool_calls"])
    assert answers == [
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": "Saved: this is the beginning of the working memory.",
        }
    ]
    last = says("Hello <working_memory>Sam</working_memory>Sam.")
    receipt = await processor.after([first, *answers, last])
    assert receipt is not None
    messages = await thread.messages(last=3)
    assert [(each.role, each.content) for each in messages] == [
        ("user", "I am Sam."),
        ("assistant", [{"type": "tool_call", "id": "c2", "name": "other", "arguments": {}}]),
        ("assistant", "Hello Sam."),
    ]
    assert await content(memory.resource("alice").working_memory) == "- Sam"
    change = [each for each in await memory.resource("alice").history() if each.thread is None][-1]
    assert change.data["evidence"] == [{"thread": "t", "message": "m4"}]
    assert change.causation is not None


async def test_calls_of_other_tools_are_stored_with_their_results(thread: Thread) -> None:
    """B190, B192: they are part of the conversation; a call that was cut off is not."""
    processor = thread.processor(provider="anthropic")
    request = await processor.before({"role": "user", "content": "Weather?"})
    judge_anthropic(request.messages)
    assert request.tools[0].keys() == {"name", "description", "input_schema"}
    look = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
    keep = {
        "type": "tool_use",
        "id": "c2",
        "name": NAME,
        "input": {"mode": "append", "content": "- asks for the weather"},
    }
    said = {"id": "msg_1", "role": "assistant", "content": [look, keep]}
    blocks = await processor.answer(said)
    assert [block["tool_use_id"] for block in blocks] == ["c2"]
    rain = {"type": "tool_result", "tool_use_id": "c1", "content": "rain"}
    cut = assistant([{**call("c3"), "state": "partial"}], "cut")
    await processor.after([said, {"role": "user", "content": [rain, *blocks]}, cut, says("Rain.")])
    stored = await thread.messages()
    assert [each.role for each in stored] == ["user", "assistant", "tool", "assistant"]
    assert [each.content for each in stored[1:3]] == [[look], [rain]]
    assert stored[1].id == "msg_1"
    again = await thread.prompt(provider="anthropic")
    judge_anthropic(again.messages)


async def test_nothing_is_stored_of_a_turn_that_did_nothing(memory: Memory) -> None:
    """B193: a run that failed without output, a read-only handle, a process that died."""
    thread = memory.resource("alice").thread("t")
    processor = thread.processor()
    await processor.before(user("hi"))
    assert await processor.after([], failed=True) is None
    sealed = thread.read_only().processor()
    request = await sealed.before(user("hi"))
    assert request.tools == []
    assert "cannot change it" in request.system
    refused = await sealed.answer([note("- x")])
    assert refused[0]["content"] == "You cannot change the working memory here."
    assert await sealed.after(says("ho")) is None
    assert await thread.get() is None
    assert await last_sequence(memory) == 0
    await processor.before(user("hi"))
    assert await processor.after(says("Oh."), failed=True) is not None
    assert len(await thread.messages()) == 2


async def test_a_model_can_see_the_memory_without_a_tool(memory: Memory, thread: Thread) -> None:
    """B180, B188: the turn is stored all the same."""
    await memory.resource("alice").working_memory.append("- Sam")
    processor = thread.processor(tool=False)
    request = await processor.before(user("hi"))
    assert request.tools == []
    assert "cannot change it" in request.system
    assert "- Sam" in request.system
    assert await processor.after(says("Hello.")) is not None
    without = await thread.processor(scope=None).before()
    assert (without.system, without.tools) == ("", [])


async def test_a_turn_begins_with_two_questions(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the thread is and holds, and the memory; also where the thread is a new one."""
    asked: list[str] = []
    ask = Queries.ask

    async def noting(self: Queries, operation: str, *given: Any, **more: Any) -> Any:  # noqa: ANN401
        asked.append(operation)
        return await ask(self, operation, *given, **more)

    processor = thread.processor()
    monkeypatch.setattr(Queries, "ask", noting)
    await processor.before(user("hi"))
    assert asked == ["snapshot", "working_memory"]
    await processor.after(says("hello"))
    asked.clear()
    request = await processor.before(user("and now?"))
    assert asked == ["snapshot", "working_memory"]
    assert [each["content"] for each in request.messages[1:]] == ["hi", "hello", "and now?"]


async def test_a_turn_saved_twice_is_stored_once(memory: Memory, thread: Thread) -> None:
    """Also by another process that runs the same run again, and piece by piece."""
    said = [says("a"), says("b"), says("a")]
    for _ in range(2):
        processor = thread.processor()
        await processor.before({"role": "user", "content": "hi"}, run="run-1")
        for end in (1, 3, 3):
            await processor.after(said[:end])
    assert [each.content for each in await thread.messages()] == ["hi", "a", "b", "a"]
    assert {each.correlation for each in await thread.history()} == {"run-1"}


async def test_results_of_memory_calls_are_left_out_step_by_step(thread: Thread) -> None:
    processor = thread.processor()
    await processor.before(user("hi"))
    first = says("Noting.", note("- Sam"))
    answers = await processor.answer(first)
    for step in ([first], answers, [says("Done.")]):
        await processor.after(step)
    assert [each.content for each in await thread.messages()] == [
        "hi",
        [{"type": "text", "text": "Noting."}],
        "Done.",
    ]


async def test_equal_messages_of_several_steps_are_each_stored(thread: Thread) -> None:
    """A list that is handed over once more, or once more with more behind, is not said again."""
    steps = [[says("a")], [says("b")], [says("a")], [says("a"), says("b")], [says("b")]]
    for _ in range(2):
        processor = thread.processor()
        await processor.before(user("hi"), run="run-1")
        for step in steps:
            await processor.after(step)
            await processor.after(step)
        await processor.after([says(text) for text in "ababb"])
        await processor.after([says(text) for text in "ababba"])
    assert [each.content for each in await thread.messages()] == ["hi", *"ababba"]


async def test_what_could_not_be_stored_is_refused_before_the_model_is_asked(
    memory: Memory, thread: Thread
) -> None:
    """Each message has to fit an event, its metadata 64 KiB; attachments do not count."""
    processor = thread.processor()
    large = user("x" * 600_000, "m2")
    with pytest.raises(
        memfold.TooLarge, match=r"the message 'm2' \(user\): .* 524288 bytes"
    ) as caught:
        await processor.before([user("one", "m1"), large])
    assert caught.value.reason == "event_too_large"
    with pytest.raises(memfold.TooLarge) as caught:
        await processor.before({**user("one"), "metadata": {"a": "x" * 70_000}})
    assert caught.value.reason == "metadata_too_large"
    with pytest.raises(InvalidRequest, match="'m1': give each its own"):
        await processor.before([user("one", "m1"), user("two", "m1")])
    photo = memfold.Attachment(b"\xff\xd8\xff" + bytes(600_000))
    await processor.before([user("one", "m1"), user([{"type": "image", "url": photo}], "m3")])
    # What was said, too, is looked at before the first message of it is stored.
    for said in ([says("y" * 400_000), says("z" * 600_000)], assistant("two", "m1")):
        with pytest.raises((memfold.TooLarge, InvalidRequest)):
            await processor.after(said)
    assert await last_sequence(memory) == 0
    await processor.after(says("fine"))
    assert len(await thread.messages()) == 3


async def test_an_option_that_does_not_fit_is_refused_at_once(thread: Thread) -> None:
    odd: Any = {"tools": 1}
    with pytest.raises(TypeError, match=r"^processor\(\) has no option 'tools'$"):
        thread.processor(**odd)
    for name in ("", "a b", "ä", "x" * 65, None):
        odd = {"tool_name": name}
        with pytest.raises(InvalidRequest, match="the name of a tool"):
            thread.processor(**odd)


async def test_a_question_before_a_prefilled_answer_is_not_dropped(thread: Thread) -> None:
    await thread.append([user("one", "m1"), assistant("two", "m2")])
    said = [user("three", "m3"), assistant("Sure:", "m4")]
    with pytest.raises(InvalidRequest, match="retain_input=True"):
        await thread.processor().before(said)
    request = await thread.processor(retain_input=True, scope=None).before(said)
    assert len(request.messages) == 4


async def test_a_call_is_carried_out_once(memory: Memory, thread: Thread) -> None:
    processor = thread.processor()
    await processor.before(user("hi"))
    first = await processor.answer(says(None, note("- Sam")))
    sequence = await last_sequence(memory)
    assert await processor.answer(says(None, note("- Sam"))) == first
    assert await last_sequence(memory) == sequence


async def test_an_id_used_again_is_another_call(memory: Memory, thread: Thread) -> None:
    """Some models count their calls anew in each message, and some give them no id."""
    processor = thread.processor()
    await processor.before(user("hi"))
    await processor.answer([note("- A", "call_0")])
    await processor.answer([note("- B", "call_0")])
    await processor.answer([note("- C", ""), note("- D", "")])
    nameless = note("- E")
    del nameless["id"]
    answers = await processor.answer([nameless])
    assert [each["tool_call_id"] for each in answers] == [""]
    assert await content(memory.resource("alice").working_memory) == "- A\n- B\n- C\n- D\n- E"
    await processor.after([says(None, nameless), *answers, says("Noted.")])
    assert [each.content for each in await thread.messages()] == ["hi", "Noted."]


async def test_calls_handed_over_at_the_same_time_are_carried_out_once(
    memory: Memory, thread: Thread
) -> None:
    await memory.resource("alice").working_memory.append("x")
    processor = thread.processor()
    await processor.before(user("hi"))
    edit = {"mode": "edit", "search": "x", "content": "xx"}
    grow = {"id": "g1", "type": "tool_use", "name": NAME, "input": edit}
    other = {**grow, "id": "g2"}
    await asyncio.gather(*(processor.answer([each]) for each in (grow, grow, other)))
    assert await content(memory.resource("alice").working_memory) == "xxx"


async def test_a_turn_that_did_not_begin_leaves_the_one_before_alone(thread: Thread) -> None:
    processor = thread.processor()
    await processor.before(user("one"))
    await processor.after(says("1"))
    with pytest.raises(InvalidRequest):
        await processor.before({"role": "robot", "content": "two"})
    with pytest.raises(InvalidRequest):
        await processor.after(says("2"))
    assert [each.content for each in await thread.messages()] == ["one", "1"]


async def test_a_turn_whose_process_died_can_be_run_again(memory: Memory, thread: Thread) -> None:
    """Before anything was done nothing is there; after a memory call the turn's input is."""
    await thread.processor().before(user("I am Sam.", "m1"), run="run-1")
    assert await last_sequence(memory) == 0
    died = thread.processor()
    await died.before(user("I am Sam.", "m1"), run="run-1")
    await died.answer([note("- Sam")])
    assert [each.id for each in await thread.messages()] == ["m1"]
    again = thread.processor()
    request = await again.before(user("I am Sam.", "m1"), run="run-1")
    assert [each["content"] for each in request.messages[1:]] == ["I am Sam."]
    assert "- Sam" in request.system
    [answer] = await again.answer([note("- Sam")])
    assert "holds this already" in answer["content"]
    await again.after(says("Hello."))
    assert [each.content for each in await thread.messages()] == ["I am Sam.", "Hello."]


async def test_a_conversation_handed_in_whole_is_stored_once(thread: Thread) -> None:
    """B194, B196, B197: all of it on a new thread, then only what is new."""
    whole = [user("u1", "x1"), assistant("a1", "x2"), user("u2", "x3")]
    processor = thread.processor()
    await processor.before(whole)
    await processor.after(says("a2"))
    assert [each.content for each in await thread.messages()] == ["u1", "a1", "u2", "a2"]
    for message in (*whole, assistant("a2", "y4")):
        message["id"] = f"other-{message['id']}"
    request = await processor.before([*whole, assistant("a2"), user("u3")])
    texts = [each["content"] for each in request.messages[1:]]
    assert texts == ["u1", "a1", "u2", "a2", "u3"]
    await processor.after(says("a3"))
    assert [each.content for each in await thread.messages(last=3)] == ["a2", "u3", "a3"]
    everything = thread.processor(retain_input=True, scope=None, last=0)
    assert len((await everything.before(whole)).messages) == 3


async def test_a_stored_message_that_is_handed_in_again_is_shown_once(thread: Thread) -> None:
    """B190: as it is now, and in its old place when it is stored."""
    await thread.append([user("one", "m1"), user("two", "m2")])
    processor = thread.processor(scope=None)
    request = await processor.before(user("one, corrected", "m1"))
    assert [each["content"] for each in request.messages] == ["two", "one, corrected"]
    await processor.after()
    assert [each.content for each in await thread.messages()] == ["one, corrected", "two"]


async def test_storage_errors_reach_the_caller(thread: Thread) -> None:
    """B190: and messages that could not be stored are refused before the model is asked."""
    processor = thread.processor()
    with pytest.raises(InvalidRequest):
        await processor.after(says("too early"))
    with pytest.raises(InvalidRequest):
        await processor.answer([note("- x")])
    with pytest.raises(memfold.InvalidEvent):
        await processor.before(user("\ud800"))
    for odd in ({"content": "\ud800"}, {"content": "hi", "id": 7}, {"content": ["hi"]}):
        with pytest.raises(memfold.InvalidEvent):
            await processor.before({"role": "user", **odd})
    with pytest.raises(InvalidRequest):
        await processor.before({"role": "robot", "content": "hi"})


async def test_a_turn_of_a_thread_deleted_meanwhile_does_not_bring_it_back(
    memory: Memory, thread: Thread
) -> None:
    await thread.append(user("one"))
    assert await thread.get() is not None
    processor = thread.processor()
    await processor.before(user("two"))
    await memory.resource("alice").thread("t").delete()
    with pytest.raises(Rejected) as caught:
        await processor.after(says("late"))
    assert caught.value.reason == "incarnation_ended"
    assert await memory.resource("alice").thread("t").get() is None


async def test_a_turn_belongs_to_the_life_of_the_thread_that_it_began_in(
    memory: Memory, thread: Thread
) -> None:
    """No read by the caller's own handle is needed, and none of its writes disturbs."""
    await thread.append(user("one"))
    await thread.working_memory.append("- own")
    processor = thread.processor(scope="thread")
    other = memory.resource("alice").thread("t")

    async def refused(turn: Awaitable[object]) -> None:
        with pytest.raises(Rejected) as caught:
            await turn
        assert caught.value.reason == "incarnation_ended"
        assert await other.get() is None

    await processor.before(user("two"))
    await (await other.delete()).applied()
    await refused(processor.after(says("late")))
    await refused(processor.answer([note("- late")]))
    # A thread that the turn itself has begun.
    await processor.before(user("three"))
    await processor.answer([note("- new")])
    await (await thread.delete()).applied()
    await refused(processor.after(says("late")))
    await processor.before(user("four"))
    await processor.after(says("4"))
    assert [each.content for each in await other.messages()] == ["four", "4"]


async def test_a_deleted_thread_is_begun_anew_by_the_next_turn(
    memory: Memory, thread: Thread
) -> None:
    async def make(messages: list[dict[str, Any]]) -> str:
        return f"{len(messages)} messages"

    processor = thread.processor(title=make)
    for text in ("one", "two"):
        await processor.before(user(text))
        await processor.after(says("yes"))
        assert [each.content for each in await thread.messages()] == [text, "yes"]
        assert await title_of(memory.resource("alice").thread("t")) == "2 messages"
        await (await memory.resource("alice").thread("t").delete()).applied()


async def test_what_is_too_large_for_one_batch_is_stored_one_by_one(
    memory: Memory, thread: Thread
) -> None:
    processor = thread.processor()
    await processor.before(user("x" * 400_000, "m1"))
    await processor.after([says("y" * 400_000), says("z" * 400_000)])
    assert [str(each.content)[0] for each in await thread.messages()] == ["x", "y", "z"]
    many = memory.resource("bob").thread("t").processor(last=0)
    await many.before([user("hi", f"m{n}") for n in range(600)])
    await many.answer([note("- greets")])
    await many.after([says(f"{n}") for n in range(1001)])
    assert len(await memory.resource("bob").thread("t").messages()) == 1601


async def test_several_agents_share_a_thread(memory: Memory, thread: Thread) -> None:
    """B72: each has a processor; whatever way their turns overlap, all is there."""

    async def turn(n: int) -> None:
        processor = memory.resource("alice").thread("t").processor(last=5)
        await processor.before(user(f"q{n}", f"u{n}"))
        await processor.answer([note(f"- fact {n}")])
        await processor.after(says(f"answer {n}"))

    await asyncio.gather(*(turn(n) for n in range(16)))
    stored = [str(each.content) for each in await thread.messages()]
    assert sorted(stored) == sorted(
        [f"q{n}" for n in range(16)] + [f"answer {n}" for n in range(16)]
    )
    facts = str(await content(memory.resource("alice").working_memory)).split("\n")
    assert sorted(facts) == sorted(f"- fact {n}" for n in range(16))
    judge_openai((await thread.prompt(last=100)).messages)


async def title_of(thread: Thread) -> str:
    state = await thread.get()
    assert state is not None
    return state.title


async def test_a_thread_without_a_title_is_given_one(thread: Thread) -> None:
    """B206: once, without the model's thinking."""
    asked: list[list[dict[str, Any]]] = []

    async def make(messages: list[dict[str, Any]]) -> str:
        asked.append(messages)
        return "<think>short</think> Greetings "

    processor = thread.processor(title=make)
    await processor.before(user("hi"))
    await processor.after(says("ho"))
    assert await title_of(thread) == "Greetings"
    assert [each["content"] for each in asked[0]] == ["hi", "ho"]
    await processor.before(user("again"))
    await processor.after(says("yes"))
    assert len(asked) == 1


async def test_a_title_that_fails_or_is_pinned_leaves_all_as_it_was(thread: Thread) -> None:
    """B206: an error, nothing but thoughts, a pinned title, one that somebody set meanwhile."""

    async def fails(messages: list[dict[str, Any]]) -> str:
        raise ConnectionError(len(messages))

    async def thinks(messages: list[dict[str, Any]]) -> str:
        return f"<think>{len(messages)}</think>"

    async def works(messages: list[dict[str, Any]]) -> str:
        return f"{len(messages)} messages"

    async def is_late(messages: list[dict[str, Any]]) -> str:
        await (await thread.update(title="theirs")).applied()
        return f"{len(messages)} messages"

    async def turn(make: Any) -> str:  # noqa: ANN401 - one of the above.
        processor = thread.processor(title=make)
        await processor.before({"role": "user", "content": "hi"})
        await processor.after(says("ho"))
        return await title_of(thread)

    assert await turn(fails) == ""
    assert await turn(thinks) == ""
    await thread.update(metadata={"titlePinned": True})
    assert await turn(works) == ""
    await thread.update(metadata={"titlePinned": False})
    assert await turn(is_late) == "theirs"


async def test_results_are_spelled_for_plain_prompts_too(thread: Thread) -> None:
    processor = thread.processor(provider="plain")
    request = await processor.before(user("hi"))
    assert request.tools[0].keys() == {"name", "description", "parameters"}
    answers = await processor.answer(call("c1", NAME, mode="append", content="- Sam"))
    assert answers == [result("c1", "Saved: this is the beginning of the working memory.")]
    wrong = await processor.answer(call("c2", NAME, mode="append"))
    assert wrong[0]["is_error"] is True
    assert request.as_arguments().keys() == {"system", "messages", "tools"}
