"""What a model may send for a JSON memory: a schema's fields, none of them required."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from memfold.prompts.patches import patch_schema
from support.prompts import SCHEMA


def fits(schema: dict[str, Any], value: Any) -> bool:  # noqa: ANN401 - any JSON.
    return jsonschema_rs.validator_for(patch_schema(schema)).is_valid(value)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "Sam"},
        {"address": {"zip": "1"}},
        {"address": None, "mood": None, "tags": None, "nick": None},
        {"address": {"zip": None}, "tags": ["a"], "mood": "good"},
    ],
)
def test_a_part_of_a_document_is_a_change(change: dict[str, Any]) -> None:
    """B158: also what deletes, and what lacks the fields that the whole needs."""
    assert fits(SCHEMA, change)


@pytest.mark.parametrize(
    "change",
    [{"name": 1}, {"name": None}, {"other": 1}, {"mood": "so"}, {"tags": [None]}, {"tags": "a"}],
)
def test_what_the_whole_could_never_have_is_no_change(change: dict[str, Any]) -> None:
    """A required field is not deleted, for instance: the result would not fit."""
    assert not fits(SCHEMA, change)


def test_entries_of_a_list_are_whole() -> None:
    """A list replaces the old one, so what is in it is no change but the thing itself."""
    entry = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    schema = {"type": "object", "properties": {"list": {"type": "array", "items": entry}}}
    assert fits(schema, {"list": [{"id": "a"}]})
    assert not fits(schema, {"list": [{}]})


def test_fields_may_have_the_names_of_keywords() -> None:
    names = ("id", "definitions", "$defs", "required", "enum", "default", "properties", "$ref")
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    assert set(patch_schema(schema)["properties"]) == set(names)


def test_forms_to_choose_from_may_mix_in_a_change() -> None:
    one = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    two = {"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}
    schema = {"type": "object", "oneOf": [one, two]}
    assert fits(schema, {"a": "x"})
    assert fits(schema, {})


def test_a_model_class_gives_a_schema_without_references() -> None:
    class Pet(BaseModel):
        name: str
        age: int | None = None

    class User(BaseModel):
        id: str
        pets: list[Pet] = []
        first: Pet | None = None

    patch = patch_schema(User.model_json_schema())
    assert "$ref" not in str(patch)
    assert "$defs" not in str(patch)
    assert fits(User.model_json_schema(), {"first": {"age": 3}, "pets": [{"name": "Bo"}]})
    assert not fits(User.model_json_schema(), {"pets": [{"age": 3}]})


def test_a_schema_that_would_be_too_long_or_too_deep_is_not_shown() -> None:
    long = {"$defs": {"a": {"description": "x" * 60_000, "type": "string"}}}
    fields = {f"f{n}": {"$ref": "#/$defs/a"} for n in range(100)}
    assert patch_schema({"type": "object", "properties": fields, **long}) == {"type": "object"}
    chain: dict[str, Any] = {
        f"d{n}": {"type": "object", "properties": {"x": {"$ref": f"#/$defs/d{n + 1}"}}}
        for n in range(500)
    }
    deep = {"type": "object", "$ref": "#/$defs/d0", "$defs": {**chain, "d500": True}}
    assert patch_schema(deep) == {"type": "object"}


def test_anything_goes_without_a_schema() -> None:
    assert patch_schema(None) == {"type": "object"}
    assert patch_schema({}) == {"type": "object"}
