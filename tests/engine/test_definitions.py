"""Definitions: what a working memory must look like, from hands that are not trusted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from memfold.definitions import Definition, added_violation, conforms, make_definition
from memfold.errors import InvalidEvent
from memfold.limits import SCHEMA_BYTES_MAX, SCHEMA_PATTERNS_MAX, SCHEMA_VALUES_MAX


def schema(value: dict[str, Any]) -> Definition:
    definition = make_definition(None, value)
    assert definition is not None
    return definition


def refused(value: dict[str, Any]) -> str:
    with pytest.raises(InvalidEvent) as caught:
        make_definition(None, value)
    return caught.value.reason


def test_a_template_asks_for_text_a_schema_for_json_and_neither_for_nothing() -> None:
    template = make_definition("# Name", None)
    assert template is not None
    assert template == Definition("template", "# Name")
    assert template.format == "markdown"
    assert schema({"type": "object"}).format == "json"
    assert make_definition(None, None) is None


def test_equal_schemas_are_equal_definitions_whatever_the_order_of_their_keys() -> None:
    assert schema({"type": "object", "title": "x"}) == schema({"title": "x", "type": "object"})


@pytest.mark.parametrize(
    "reference",
    [
        "http://127.0.0.1:9/schema.json",
        "https://example.com/schema.json",
        "file:///etc/passwd",
        "//example.com/x",
        "other.json",
        "urn:x:y",
        "",
        "#anchor",
    ],
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$recursiveRef"])
def test_a_reference_outside_the_schema_is_refused_and_never_fetched(
    keyword: str, reference: str
) -> None:
    assert refused({keyword: reference}) == "schema_invalid"
    assert refused({"properties": {"a": {"items": [{keyword: reference}]}}}) == "schema_invalid"
    assert refused({"$id": "http://127.0.0.1:9/", "$ref": reference}) == "schema_invalid"


@pytest.mark.parametrize(
    "value",
    [
        {"type": "wrong"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#/allOf/7", "allOf": [{}]},
        {"pattern": "["},
        {"pattern": "(?=look)ahead"},
        {"pattern": r"(a)\1"},
        {"minimum": "x"},
        {"$schema": "http://127.0.0.1:9/own-dialect"},
        {"$defs": {"a": {"$id": "http://example.com/inner"}}},
        {"$anchor": "here"},
    ],
)
def test_a_schema_that_is_none_is_refused(value: dict[str, Any]) -> None:
    assert refused(value) == "schema_invalid"


def test_local_references_are_followed() -> None:
    definition = schema(
        {
            "$id": "https://example.com/memory",
            "properties": {"a": {"$ref": "#/$defs/n~1a~0me%20x"}, "$ref": {"type": "string"}},
            "$defs": {"n/a~me x": {"type": "integer"}},
        }
    )
    assert conforms(definition, {"a": 1, "$ref": "x"})
    assert not conforms(definition, {"a": "1"})
    assert not conforms(definition, {"$ref": 1})


def test_the_size_limit_of_definitions_is_exact() -> None:
    assert make_definition("é" * (SCHEMA_BYTES_MAX // 2), None) is not None
    body = {"title": "x" * (SCHEMA_BYTES_MAX - len('{"title":""}'))}
    assert schema(body).kind == "schema"
    for template, value in [
        ("é" * (SCHEMA_BYTES_MAX // 2) + "x", None),
        (None, {"title": body["title"] + "x"}),
    ]:
        with pytest.raises(InvalidEvent) as caught:
            make_definition(template, value)
        assert caught.value.reason == "definition_too_large"


def doubling(levels: int) -> dict[str, Any]:
    parts: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        parts[f"d{level}"] = {"allOf": [below, below]}
    return {"$ref": f"#/$defs/d{levels - 1}", "$defs": parts}


@pytest.mark.parametrize(
    "bomb",
    [
        doubling(60),
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
        {"const": [0] * SCHEMA_VALUES_MAX},
        {"allOf": [{"pattern": f"x{number}"} for number in range(SCHEMA_PATTERNS_MAX + 1)]},
        {"patternProperties": {f"x{n}": {} for n in range(SCHEMA_PATTERNS_MAX + 1)}},
        {"pattern": r"((\w{100}){100}){100}"},
    ],
    ids=["doubling", "self", "inplace", "recursive", "values", "patterns", "properties", "huge"],
)
def test_a_schema_that_would_keep_the_fold_busy_is_refused_at_once(bomb: dict[str, Any]) -> None:
    """Sixty doublings take a kilobyte, and 2^60 checks of every later update."""
    started = time.perf_counter()
    assert refused(bomb) == "schema_invalid"
    assert time.perf_counter() - started < 5


def test_shared_parts_are_fine_while_they_stay_small() -> None:
    assert conforms(schema(doubling(8)), {}) is False


def test_no_definition_and_a_template_break_on_nothing_but_form() -> None:
    assert conforms(None, "text")
    assert conforms(None, {})
    template = make_definition("# Name", None)
    assert conforms(template, "anything")
    assert not conforms(template, {})
    assert added_violation(template, None, {}) is None
    assert added_violation(None, None, {}) is None


def test_a_violation_is_named_by_its_place_in_the_schema() -> None:
    """Not by its place in the document, whose keys are contents of a memory."""
    definition = schema({"additionalProperties": {"type": "string"}})
    assert added_violation(definition, None, {"S3CRET": 1}) == "/additionalProperties/type"
    assert added_violation(definition, None, {"S3CRET": "text"}) is None


def test_what_was_broken_may_stay_so_but_nothing_may_be_broken_anew() -> None:
    definition = schema({"additionalProperties": {"type": "string"}, "required": ["name"]})
    old = {"a": 1}
    assert added_violation(definition, old, {"a": 2}) is None
    assert added_violation(definition, old, {"a": 1, "name": "x"}) is None
    assert added_violation(definition, old, {"a": 1, "b": 1}) == "/additionalProperties/type"
    assert added_violation(definition, {"name": "x"}, {"a": 1}) is not None
    assert added_violation(definition, {"a/b": 1}, {"a": {"b": 1}}) is not None


def test_an_update_that_mends_a_document_with_many_violations_passes() -> None:
    """All of them are told apart: those left must not look as if they were new."""
    definition = schema({"additionalProperties": {"type": "string"}})
    old: dict[str, Any] = {f"k{number}": number for number in range(3000)}
    assert added_violation(definition, old, {**old, "k0": "mended"}) is None
    assert added_violation(definition, old, {**old, "more": 0}) is not None
    assert added_violation(definition, None, old) is not None


def test_too_much_to_compare_is_bounded() -> None:
    definition = schema({"additionalProperties": {"allOf": [{"type": "string"}] * 1000}})
    document = {f"k{number}": number for number in range(20_000)}
    started = time.perf_counter()
    assert added_violation(definition, None, document) is not None
    assert added_violation(definition, document, {**document, "more": 1}) is None
    assert time.perf_counter() - started < 10


def test_the_largest_integers_can_be_checked() -> None:
    definition = schema({"properties": {"n": {"type": "integer", "minimum": 2**64 - 1}}})
    assert conforms(definition, {"n": 2**64 - 1})
    assert not conforms(definition, {"n": 2**64 - 2})
