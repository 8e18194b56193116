"""What a model sends to the memory tool: read strictly, and refused where it would cost data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memfold.prompts.answers import ToolAnswer
from memfold.prompts.calls import BadCallError, read_arguments, read_call
from memfold.prompts.form import memory_form
from memfold.prompts.planning import Plan, holds, plan
from memfold.reads import MemoryRead
from support.prompts import SCHEMA, TEMPLATE, read

FILLED = "# Customer\n\n- Name: Sam\n- Plan:\n"


def planned(arguments: object, memory: MemoryRead, seen: int | None = None) -> Plan | ToolAnswer:
    form = memory_form(memory)
    return plan(read_call(read_arguments(arguments), form), memory, form, seen)


def refusal(arguments: object, memory: MemoryRead) -> BadCallError:
    with pytest.raises(BadCallError) as caught:
        planned(arguments, memory)
    return caught.value


def text(mode: str, content: object, **more: object) -> dict[str, Any]:
    return {"mode": mode, "content": content, **more}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("", "invalid_json"),
        ("not JSON", "invalid_json"),
        ('{"mode":"append"', "invalid_json"),
        ('{"mode":"append","mode":"edit","content":"x"}', "invalid_json"),
        ('{"mode":"append","content":"\\ud800"}', "invalid_json"),
        ("\ud800", "invalid_json"),
        ('{"n":NaN}', "invalid_json"),
        ({"n": float("inf")}, "invalid_json"),
        ({"n": object()}, "invalid_json"),
        ({1: "x"}, "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"a":' * 70 + "1" + "}" * 70, "invalid_json"),
        ("[]", "invalid_arguments"),
        ('"text"', "invalid_arguments"),
        (None, "invalid_arguments"),
        ({}, "invalid_arguments"),
        ({"mode": "append"}, "invalid_arguments"),
        ({"memory": "x"}, "invalid_arguments"),
        (text("append", "x", extra=1), "invalid_arguments"),
        (text("append", None), "invalid_arguments"),
        (text("merge", "x"), "invalid_arguments"),
        (text("append", "x", search="y"), "invalid_arguments"),
        ('{"mode":"append","content":"' + "x" * 600_000 + '"}', "too_large"),
        (text("append", "x" * 600_000), "too_large"),
    ],
)
def test_what_is_no_call_is_told_so(arguments: object, code: str) -> None:
    error = refusal(arguments, read(FILLED, template=TEMPLATE))
    assert error.code == code
    assert 10 < len(error.text) < 200


def test_a_nesting_without_end_is_no_call() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert refusal({"memory": {"a": endless}}, read(schema=SCHEMA)).code == "invalid_json"


def test_text_memories_take_text() -> None:
    """B161: an object where text belongs is refused, naming the argument."""
    error = refusal(text("replace", {"a": 1}), read(FILLED))
    assert error.text == "content must be text, not an object."


@pytest.mark.parametrize("memory", ["text", None, [1], 7])
def test_json_memories_take_an_object(memory: object) -> None:
    assert refusal({"memory": memory}, read(schema=SCHEMA)).code == "invalid_arguments"
    assert refusal({"memory": {}, "mode": "append"}, read(schema=SCHEMA)).code == (
        "invalid_arguments"
    )


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.binary())
def test_nothing_that_a_model_can_send_is_an_error_of_ours(arguments: object) -> None:
    with pytest.raises(BadCallError):
        planned(arguments, read(FILLED, template=TEMPLATE))
    with pytest.raises(BadCallError):
        planned(json.dumps({"memory": str(arguments)}), read(schema=SCHEMA))


@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize("empty", [TEMPLATE, "#  Customer - Name:\n\n\n- Plan:"])
@pytest.mark.parametrize("stored", [FILLED, None, TEMPLATE])
def test_the_empty_template_is_refused(mode: str, empty: str, stored: str | None) -> None:
    """B160, B169, B170: over data, as the first write, and in any white space."""
    error = refusal(text(mode, empty), read(stored, template=TEMPLATE))
    assert error.code == "empty_template"
    assert "empty template" in error.text
    assert "Call again when there is something to keep" in error.text


def test_the_empty_template_is_refused_instead_of_a_text_that_is_not_there() -> None:
    """B170: with a search that does not occur, too."""
    call = text("edit", TEMPLATE, search="nowhere")
    assert refusal(call, read(FILLED, template=TEMPLATE)).code == "empty_template"


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_a_blank_text_is_no_document(mode: str) -> None:
    assert refusal(text(mode, " \n"), read(FILLED)).code == "empty_content"
    assert refusal(text(mode, ""), read()).code == "empty_content"


@pytest.mark.parametrize(
    ("document", "lines", "held"),
    [
        ("- tea\n- milk", "- tea", True),
        ("- tea\n- milk", "-  tea\n\n  - milk ", True),
        ("no tea, please", "tea", False),
        ("# Cats\n- yes\n# Dogs\n- no", "# Dogs\n- yes", False),
        ("", "- tea", False),
    ],
)
def test_lines_are_held_together_and_whole(document: str, lines: str, held: bool) -> None:
    """B170: what is stored already is not stored twice; what only looks like it is new."""
    assert holds(document, lines) is held
    found = planned(text("append", lines), read(document or None))
    assert isinstance(found, ToolAnswer) is held
    if isinstance(found, ToolAnswer):
        assert (found.ok, found.changed, found.code) == (True, False, "duplicate")


@pytest.mark.parametrize("mode", ["edit"])
def test_an_edit_needs_a_search(mode: str) -> None:
    """B173, B174: nothing is replaced or removed that is not named; then it may be removed."""
    assert refusal(text(mode, "x"), read(FILLED)).code == "invalid_arguments"
    assert refusal(text(mode, "x", search=""), read(FILLED)).code == "invalid_arguments"
    assert refusal(text(mode, "", search="nowhere"), read(FILLED)).code == "not_found"
    assert isinstance(planned(text(mode, "", search="- Name: Sam"), read(FILLED)), Plan)


def test_what_changes_nothing_is_not_written() -> None:
    same = text("edit", "- Plan:", search="- Plan:")
    for call in (same, text("replace", FILLED)):
        found = planned(call, read(FILLED, template=TEMPLATE))
        assert isinstance(found, ToolAnswer)
        assert (found.ok, found.changed, found.code) == (True, False, "unchanged")
    for patch in ({}, {"name": "Sam"}, {"nobody": None}, {"address": None}):
        found = planned({"memory": patch}, read({"name": "Sam"}, schema=SCHEMA))
        assert isinstance(found, ToolAnswer)
        assert found.code == "unchanged"
    assert isinstance(planned({"memory": {"a": None}}, read(schema={})), ToolAnswer)


def test_a_result_that_breaks_the_schema_is_refused_with_what_it_breaks() -> None:
    """B165, B166: checked before anything is written, by a validator that compiles no code."""
    error = refusal({"memory": {"name": 7, "x": 1}}, read({"name": "Sam"}, schema=SCHEMA))
    assert error.code == "schema_violation"
    assert "/name: 7 is not of type" in error.text
    assert "'x' was unexpected" in error.text
    assert refusal({"memory": {"name": None}}, read({"name": "Sam"}, schema=SCHEMA)).code == (
        "schema_violation"
    )


def test_null_deletes() -> None:
    """B165: also an optional field, and that is how a model forgets."""
    found = planned({"memory": {"tags": None}}, read({"name": "S", "tags": []}, schema=SCHEMA))
    assert isinstance(found, Plan)


def test_a_document_that_would_be_too_large_is_refused() -> None:
    error = refusal(text("append", "x" * 200_000), read("y" * 100_000))
    assert error.code == "document_too_large"


def test_a_whole_document_made_from_an_old_one_is_refused() -> None:
    """What another agent wrote meanwhile is shown, and not undone."""
    found = planned(text("replace", "- new"), read("- theirs", revision=9), seen=8)
    assert isinstance(found, ToolAnswer)
    assert (found.ok, found.changed, found.code, found.revision) == (False, False, "conflict", 9)
    assert "<working_memory>\n- theirs\n</working_memory>" in found.text


def test_only_a_whole_document_has_to_come_after_what_was_read() -> None:
    whole = planned(text("replace", "- new"), read("- old", revision=9), seen=9)
    assert isinstance(whole, Plan)
    assert (whole.expected, whole.needed) == (9, True)
    added = planned(text("append", "- new"), read("- old", revision=9), seen=8)
    assert isinstance(added, Plan)
    assert (added.expected, added.needed) == (None, False)
