"""What callers give as a definition: mappings, pydantic models, and what is neither."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel, Field

from memfold.defining import definition_fields
from memfold.definitions import conforms, make_definition
from memfold.errors import InvalidEvent, InvalidRequest, Rejected
from memfold.limits import SCHEMA_BYTES_MAX
from support.log import Log


class Address(BaseModel):
    """Where somebody lives."""

    city: str
    zip: str | None = None


class Profile(BaseModel):
    """What we know of a user."""

    name: str | None = None
    age: int | None = Field(default=None, ge=0)
    home: Address | None = None
    work: Address | None = None


class Person(BaseModel):
    """Somebody with somebody's children."""

    children: list[Person] = []


class Opaque(BaseModel):
    """A model that no JSON Schema describes."""

    call: Callable[[int], int]


def test_a_model_class_stands_for_its_json_schema() -> None:
    """B158: a JSON Schema object and a model class are taken alike."""
    from_model = definition_fields(None, Profile)
    assert from_model == {"json_schema": Profile.model_json_schema()}
    assert definition_fields(None, Profile.model_json_schema()) == from_model
    assert definition_fields(None, MappingProxyType(Profile.model_json_schema())) == from_model
    log = Log()
    assert log.define(json_schema=from_model["json_schema"]).kind == "applied"
    assert log.update("merge", {"name": "Sam", "home": {"city": "Berlin"}}).kind == "applied"
    assert log.update("merge", {"home": {"zip": "10115"}, "age": 7}).kind == "applied"
    assert log.update("merge", {"age": -1}).reason == "schema_violation"
    assert log.update("merge", {"work": {"zip": "10115"}}).reason == "schema_violation"
    assert log.content() == {"name": "Sam", "age": 7, "home": {"city": "Berlin", "zip": "10115"}}


def test_a_template_is_taken_as_it_is_and_nothing_is_no_definition() -> None:
    assert definition_fields(" # Name\n", None) == {"template": " # Name\n"}
    assert definition_fields("", None) == {"template": ""}
    assert definition_fields(None, {}) == {"json_schema": {}}
    assert definition_fields(None, None) == {}


@pytest.mark.parametrize(
    ("template", "schema"),
    [
        ("# Name", {"type": "object"}),
        ("", {}),
        (5, None),
        (None, "{}"),
        (None, []),
        (None, Profile()),
        (None, int),
    ],
)
def test_both_or_something_else_altogether_is_no_request(template: object, schema: object) -> None:
    with pytest.raises(InvalidRequest):
        definition_fields(template, schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "wrong"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"properties": {"a": {"$ref": "#"}}},
        {"$ref": "#/$defs/missing"},
        {"description": "x" * SCHEMA_BYTES_MAX},
        Person.model_json_schema(),
    ],
)
def test_what_the_fold_would_reject_is_refused_under_the_same_reason(
    schema: dict[str, Any],
) -> None:
    outcome = Log().define(json_schema=schema)
    assert outcome.kind == "rejected"
    with pytest.raises(Rejected) as caught:
        definition_fields(None, schema)
    assert (caught.value.reason, caught.value.message) == (outcome.reason, outcome.detail)


def test_a_template_that_is_too_large_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        definition_fields("é" * (SCHEMA_BYTES_MAX // 2 + 1), None)
    assert caught.value.reason == "definition_too_large"


def test_a_model_that_refers_to_itself_or_has_no_schema_is_refused() -> None:
    for model in (Person, Opaque):
        with pytest.raises(Rejected) as caught:
            definition_fields(None, model)
        assert caught.value.reason == "schema_invalid"
    assert "Opaque" in caught.value.message


@pytest.mark.parametrize(
    ("template", "schema"),
    [
        ("\ud800", None),
        (None, {"default": float("nan")}),
        (None, {"default": {1, 2}}),
        (None, {1: 2}),
    ],
)
def test_what_is_no_json_is_refused_before_anything_looks_at_it(
    template: object, schema: object
) -> None:
    with pytest.raises(InvalidEvent):
        definition_fields(template, schema)


def test_validation_generates_no_code() -> None:
    """B166: neither making a schema's validator nor running it compiles or executes any code."""
    heard: list[str] = []
    listening = False

    def hook(event: str, _: tuple[object, ...]) -> None:
        if listening and event in {"compile", "exec"}:
            heard.append(event)

    sys.addaudithook(hook)
    schema = Profile.model_json_schema()
    conforms(make_definition(None, {"type": "object"}), {})
    listening = True
    try:
        definition = make_definition(None, {**schema, "title": "never met before"})
        verdicts = [conforms(definition, each) for each in ({"age": 1}, {"age": "1"})]
        eval("1")  # noqa: S307 - shows that the hook hears it.
    finally:
        listening = False
    assert verdicts == [True, False]
    assert heard == ["compile", "exec"]
