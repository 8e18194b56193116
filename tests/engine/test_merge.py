"""RFC 7396, exactly."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from memfold.canonical import same
from memfold.merge import merge, merge_patch
from memfold.provenance import Pointers
from support.shared import shared_dir

RFC_7396_APPENDIX_A: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_APPENDIX_A)
def test_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:  # noqa: ANN401  # JSON
    before = deepcopy((target, patch))
    assert same(merge_patch(target, patch), result)
    assert (target, patch) == before


def test_the_shared_merge_cases() -> None:
    """B164: every case of the list, level "merge"."""
    cases = json.loads((shared_dir() / "data" / "merge_cases.json").read_text("utf-8"))
    assert len(cases) == 43
    for case in cases:
        merged = merge_patch(case["existing"], case["patch"])
        assert same(merged, case["expected"]), case["note"]


@pytest.mark.parametrize(
    ("target", "patch", "changed"),
    [
        ({"a": 1}, {}, False),
        ({"a": 1}, {"a": 1}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, True),
        ({"a": {"b": 1}}, {"a": {"c": None}}, False),
        ({"a": {"b": 1}}, {"a": {"b": None}}, True),
        ({"a": [1, None]}, {"a": [1, None]}, False),
        ({}, {"a": {}}, True),
        ({"a": {}}, {"a": {}}, False),
        (None, {}, True),
        ("text", {}, True),
    ],
)
def test_a_merge_says_whether_it_changed_anything(
    target: Any,  # noqa: ANN401  # JSON
    patch: dict[str, Any],
    changed: bool,
) -> None:
    _, told = merge(target, patch, {}, (1, 0))
    assert told is changed


def test_unchanged_branches_are_shared_and_changed_ones_are_copies() -> None:
    target: dict[str, Any] = {"kept": {"x": 1}, "changed": {"y": {"z": 1}}}
    merged = merge_patch(target, {"changed": {"y": {"z": 2}}})
    assert merged["kept"] is target["kept"]
    assert target == {"kept": {"x": 1}, "changed": {"y": {"z": 1}}}


def test_a_merge_moves_the_provenance_of_what_it_changes_alone() -> None:
    known: Pointers = {"/a/x": (1, 0), "/a/y": (1, 0), "/b": (1, 0), "/c": (1, 0)}
    target = {"a": {"x": 1, "y": 2}, "b": [1], "c": {}}
    patch: dict[str, Any] = {"a": {"x": 1, "y": 3}, "b": None, "c": {"d": 1}, "e/~": {"f": {}}}
    merge(target, patch, known, (2, 5))
    assert known == {"/a/x": (1, 0), "/a/y": (2, 5), "/c/d": (2, 5), "/e~1~0/f": (2, 5)}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        (None, {}, {"": (2, 0)}),
        ({"a": 1}, {"a": None}, {"": (2, 0)}),
        ({"a": {"b": 1}}, {"a": {"b": None}}, {"/a": (2, 0)}),
        ({"a": {"b": 1}}, {"a": 5}, {"/a": (2, 0)}),
        ({"a": 5}, {"a": {"b": {"c": None}}}, {"/a/b": (2, 0)}),
    ],
)
def test_an_emptied_object_is_a_leaf_itself(
    target: Any,  # noqa: ANN401  # JSON
    patch: dict[str, Any],
    expected: Pointers,
) -> None:
    known: Pointers = {"/a/b" if isinstance((target or {}).get("a"), dict) else "/a": (1, 0)}
    if target is None:
        known = {}
    merge(target, patch, known, (2, 0))
    assert known == expected
