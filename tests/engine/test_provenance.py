"""Which event set each part of a document, as in ``git blame``."""

from __future__ import annotations

from typing import Any

import pytest

from memfold.provenance import leaves, pointer, replaced_json, replaced_text
from support.log import Log

NEW = (2, 0)


def test_pointers_escape_as_rfc_6901_says() -> None:
    assert pointer("", "a/b") == "/a~1b"
    assert pointer("/x", "m~n") == "/x/m~0n"
    assert pointer("", "~1") == "/~01"
    assert pointer("", "") == "/"


def test_leaves_are_scalars_arrays_and_empty_objects() -> None:
    value = {"a": {"b": 1, "c": {}}, "d": [{"x": 1}], "": None}
    assert dict(leaves(value)) == {"/a/b": 1, "/a/c": {}, "/d": [{"x": 1}], "/": None}
    assert dict(leaves({})) == {"": {}}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"/a": (1, 0), "/b": NEW}),
        ({"a": 1}, {"a": True}, {"/a": NEW}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 1}}, {"/a/b": (1, 0), "/a/c": NEW}),
        ({"a": 1}, {}, {"": NEW}),
        ({}, {}, {"": (1, 0)}),
    ],
)
def test_replacing_json_keeps_the_provenance_of_equal_leaves(
    old: dict[str, Any], new: dict[str, Any], expected: dict[str, tuple[int, int]]
) -> None:
    known = {at: (1, 0) for at, _ in leaves(old)}
    assert replaced_json(old, new, known, NEW) == expected


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("a b c", "a b c d", [1, 2, 3, 0]),
        ("a b c", "z a b c", [0, 1, 2, 3]),
        ("a b c", "a x c", [1, 0, 3]),
        ("a b c", "a c", [1, 3]),
        ("a b c", "x y", [0, 0]),
        ("a a", "a a a", [1, 2, 0]),
        ("a a a", "a a", [1, 2]),
        ("a", "a", [1]),
        ("a b c d", "a x y d", [1, 0, 0, 4]),
    ],
)
def test_replacing_text_keeps_the_provenance_of_lines_at_both_ends(
    old: str, new: str, kept: list[int]
) -> None:
    """Each number is the line of the old text a new line stands for, 0 where it is new."""
    before = old.split(" ")
    known = [(1, line) for line in range(1, len(before) + 1)]
    expected = [(1, line) if line else NEW for line in kept]
    assert replaced_text(before, new.split(" "), known, NEW) == expected


def test_every_mode_records_the_event_that_set_each_part() -> None:
    log = Log()
    log.update("merge", {"name": "Sam", "at": {"city": "Berlin"}})
    log.update("merge", {"at": {"zip": "10115"}})
    log.update("merge", {"name": "Sam"})
    log.update("replace", {"name": "Sam", "at": {"city": "Paris", "zip": "10115"}})
    assert log.document().provenance == {
        "/name": (1, 0),
        "/at/city": (4, 0),
        "/at/zip": (2, 0),
    }
    log.update("append", "- one", thread="t1")
    log.update("append", "- two\n- three", thread="t1")
    log.update("edit", {"search": "two", "replacement": "2"}, thread="t1")
    assert log.document("t1").provenance == [(5, 0), (7, 0), (6, 0)]


def test_a_document_that_changes_its_form_starts_its_provenance_anew() -> None:
    log = Log()
    log.update("merge", {"a": 1})
    log.update("replace", "a\nb")
    assert log.document().provenance == [(2, 0), (2, 0)]
    log.update("replace", {"a": 1})
    assert log.document().provenance == {"/a": (3, 0)}
