"""How an update changes a working memory: every mode on every kind of document, all or nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from memfold.limits import DOCUMENT_BYTES_MAX
from support.log import Log

EDIT = {"search": "old", "replacement": "new"}
TEXT = "an old line\nold too"
JSON = {"a": 1}


def filled(document: object) -> Log:
    log = Log()
    if document is not None:
        log.update("replace", document)
    return log


@pytest.mark.parametrize(
    ("document", "mode", "content", "expected"),
    [
        (None, "merge", {"a": None, "b": {"c": None}}, {"b": {}}),
        (None, "merge", {}, {}),
        (None, "replace", {"a": None}, {"a": None}),
        (None, "replace", "text", "text"),
        (None, "replace", "", ""),
        (None, "append", "line", "line"),
        (None, "edit", EDIT, "new"),
        (TEXT, "replace", "other", "other"),
        (TEXT, "replace", JSON, JSON),
        (TEXT, "append", "line", TEXT + "\nline"),
        (TEXT, "append", "two\nlines", TEXT + "\ntwo\nlines"),
        (TEXT, "edit", EDIT, "an new line\nold too"),
        (TEXT, "edit", {"search": "old too", "replacement": ""}, "an old line\n"),
        (TEXT, "edit", {"search": "absent", "replacement": "new"}, TEXT + "\nnew"),
        ("", "append", "line", "line"),
        (JSON, "merge", {"b": 2}, {"a": 1, "b": 2}),
        (JSON, "merge", {"a": None}, {}),
        (JSON, "replace", {"b": 2}, {"b": 2}),
        (JSON, "replace", "text", "text"),
    ],
)
def test_what_each_mode_makes_of_each_kind_of_document(
    document: object, mode: str, content: object, expected: object
) -> None:
    log = filled(document)
    assert log.update(mode, content).kind == "applied"
    assert log.content() == expected
    assert log.document().format == ("markdown" if isinstance(expected, str) else "json")


@pytest.mark.parametrize(
    ("document", "mode", "content", "reason"),
    [
        (TEXT, "merge", {"b": 2}, "not_mergeable"),
        ("", "merge", {}, "not_mergeable"),
        (JSON, "append", "line", "not_text"),
        (JSON, "edit", EDIT, "not_text"),
        ({}, "append", "line", "not_text"),
    ],
)
def test_a_mode_that_does_not_fit_the_document_is_rejected(
    document: object, mode: str, content: object, reason: str
) -> None:
    log = filled(document)
    before = log.document()
    outcome = log.update(mode, content)
    assert (outcome.kind, outcome.reason) == ("rejected", reason)
    assert log.document() == before


@pytest.mark.parametrize(
    ("document", "mode", "content"),
    [
        (JSON, "merge", {}),
        (JSON, "merge", {"a": 1, "b": None}),
        (JSON, "replace", {"a": 1}),
        (TEXT, "replace", TEXT),
        (TEXT, "edit", {"search": "old", "replacement": "old"}),
        ("", "append", ""),
    ],
)
def test_an_update_that_changes_nothing_is_unchanged_and_only_moves_the_revision(
    document: object, mode: str, content: object
) -> None:
    log = filled(document)
    before = log.document()
    assert log.update(mode, content).kind == "unchanged"
    assert log.document() == before
    assert before.changed_at_us == 1_000_000
    assert log.memory().revision == 2


def test_a_change_of_type_alone_is_a_change() -> None:
    log = filled({"a": 1})
    assert log.update("merge", {"a": True}).kind == "applied"
    assert log.update("replace", {"a": 1.0}).kind == "applied"
    assert log.document().changed == (3, 0)


def test_an_edit_records_whether_it_found_its_text() -> None:
    log = filled(TEXT)
    assert log.update("edit", EDIT).detail == "replaced"
    assert log.update("edit", {"search": "absent", "replacement": "x"}).detail == "appended"
    assert log.update("append", "x").detail == ""


@pytest.mark.parametrize(
    ("fits", "over"),
    [
        ("x" * DOCUMENT_BYTES_MAX, "x" * (DOCUMENT_BYTES_MAX + 1)),
        ("é" * (DOCUMENT_BYTES_MAX // 2), "é" * (DOCUMENT_BYTES_MAX // 2) + "x"),
        ({"a": "x" * (DOCUMENT_BYTES_MAX - 8)}, {"a": "x" * (DOCUMENT_BYTES_MAX - 7)}),
    ],
)
def test_the_size_limit_of_a_document_is_exact(fits: object, over: object) -> None:
    log = Log()
    assert log.update("replace", over).reason == "document_too_large"
    assert log.content() is None
    assert log.update("replace", fits).kind == "applied"
    assert log.content() == fits


def test_the_size_limit_is_exact_for_what_grows_by_parts() -> None:
    log = filled("x" * (DOCUMENT_BYTES_MAX - 3))
    assert log.update("append", "abc").reason == "document_too_large"
    assert log.update("append", "ab").kind == "applied"
    assert log.update("edit", {"search": "ab", "replacement": "abc"}).reason == (
        "document_too_large"
    )


def test_a_text_that_json_writes_much_longer_is_too_large() -> None:
    """Each control character takes six bytes in an answer, and two memories have to fit one."""
    log = filled("\x01" * 64_000)
    assert log.update("append", "\x01" * 3_000).reason == "document_too_large"
    assert log.update("append", "x" * 10_000).reason == "document_too_large"
    assert log.update("replace", "\n" * 131_000 + "x" * 100_000).kind == "applied"


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_long_keys_above_many_values_are_too_large(mode: str) -> None:
    """Each value has a path of its own: 256 KiB of JSON could take gigabytes of them."""
    log = Log()
    leaves = {f"{number:x}": 1 for number in range(10_000)}
    assert log.update(mode, {"k" * 130_000: leaves}).reason == "document_too_large"
    assert log.update(mode, {"k" * 600: leaves}).kind == "applied"


def test_paths_that_grow_by_parts_meet_the_limit() -> None:
    log = Log()
    kinds = [
        log.update("merge", {"k" * 130_000: {f"{part}.{number}": 1 for number in range(30)}}).kind
        for part in range(4)
    ]
    assert kinds == ["applied", "applied", "rejected", "rejected"]


def test_merges_that_replace_one_value_for_ever_never_meet_the_limit() -> None:
    """The bound that saves measuring grows with every merge; near the limit it is made exact."""
    log = Log()
    for number in range(40):
        assert log.update("merge", {"a": f"{number:02}" * 8000}).kind == "applied"
    assert log.document().size_max >= len(orjson.dumps(log.content()))
    assert log.document().size_max <= DOCUMENT_BYTES_MAX
    room = DOCUMENT_BYTES_MAX - len(orjson.dumps(log.content())) - len(',"b":""')
    assert log.update("merge", {"b": "x" * (room + 1)}).reason == "document_too_large"
    assert log.update("merge", {"b": "x" * room}).kind == "applied"
    assert len(orjson.dumps(log.content())) == DOCUMENT_BYTES_MAX


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "name": {"type": "string"}},
    "additionalProperties": False,
}


def test_an_update_that_breaks_the_schema_in_force_is_rejected_whole() -> None:
    log = Log()
    assert log.define(json_schema=SCHEMA).kind == "applied"
    assert log.update("merge", {"name": "Sam", "age": 3}).kind == "applied"
    before = log.document()
    for content in ({"name": "Ann", "age": "x"}, {"name": "Ann", "other": 1}):
        for mode in ("merge", "replace"):
            outcome = log.update(mode, content)
            assert (outcome.kind, outcome.reason) == ("rejected", "schema_violation")
    assert log.document() == before
    assert "Ann" not in outcome.detail
    assert "other" not in outcome.detail


@pytest.mark.parametrize(
    ("definition", "mode", "content"),
    [
        ({"json_schema": {}}, "replace", "text"),
        ({"json_schema": {}}, "append", "text"),
        ({"json_schema": {}}, "edit", EDIT),
        ({"template": "# Name"}, "replace", {"a": 1}),
        ({"template": "# Name"}, "merge", {"a": 1}),
    ],
)
def test_a_document_begins_in_the_form_its_definition_asks_for(
    definition: dict[str, Any], mode: str, content: object
) -> None:
    log = Log()
    log.define(**definition)
    assert log.update(mode, content).reason == "format_mismatch"
    assert log.content() is None


def test_a_document_that_broke_a_new_schema_may_stay_so_but_not_get_worse() -> None:
    log = filled({"age": "old", "more": 1})
    assert log.define(json_schema=SCHEMA).kind == "applied"
    assert log.content() == {"age": "old", "more": 1}
    assert log.update("merge", {"name": "Sam"}).kind == "applied"
    assert log.update("merge", {"age": "older"}).kind == "applied"
    assert log.update("merge", {"name": 5}).reason == "schema_violation"
    assert log.update("merge", {"age": 5}).kind == "applied"
    assert log.update("merge", {"age": "old"}).reason == "schema_violation"


@pytest.mark.parametrize(
    ("document", "definition", "mode", "content", "wrong"),
    [
        ({"a": 1}, {"template": "# Name"}, "merge", {"b": 2}, {"c": 3}),
        ("text", {"json_schema": SCHEMA}, "append", "more", "other text"),
        ("text", {"json_schema": SCHEMA}, "edit", EDIT, "other text"),
    ],
)
def test_a_document_of_the_wrong_form_can_be_changed_in_parts_but_not_replaced_by_its_like(
    document: object, definition: dict[str, Any], mode: str, content: object, wrong: object
) -> None:
    log = filled(document)
    log.define(**definition)
    assert log.update(mode, content).kind == "applied"
    assert log.update("replace", wrong).reason == "format_mismatch"
    right: object = {"name": "Sam"} if isinstance(document, str) else "# Sam"
    assert log.update("replace", right).kind == "applied"


def test_the_definition_in_force_is_the_threads_else_the_resources_else_the_namespaces() -> None:
    log = Log()

    def refused(thread: str | None) -> str:
        return log.update("merge", {"age": "x", "name": 5}, thread=thread).detail.rpartition("at ")[
            2
        ]

    def definition(key: str) -> dict[str, Any]:
        return {"scope": "resource", "json_schema": {"properties": {key: {"type": "boolean"}}}}

    log.publish("WorkingMemoryDefined", definition("age"), resource=None)
    assert refused(None) == refused("t1") == "/properties/age/type"
    log.publish("WorkingMemoryDefined", definition("name"))
    assert refused(None) == refused("t1") == "/properties/name/type"
    log.publish("WorkingMemoryDefined", {**definition("age"), "scope": "thread"}, thread="t1")
    assert refused("t1") == "/properties/age/type"
    assert refused(None) == refused("t2") == "/properties/name/type"
    assert log.define(thread="t1").kind == "applied"
    assert refused("t1") == "/properties/name/type"
