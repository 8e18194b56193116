"""What counts as an empty template, and when laying it over a memory would lose data."""

from __future__ import annotations

import pytest

from memfold.templates import is_empty_template, loses_data

TEMPLATE = "# User\n- Name:\n- City:\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEMPLATE, True),
        ("# User - Name: - City:", True),
        ("\n\n  # User\n\n- Name:\t\n- City:  ", True),
        ("# User\n- Name: Sam\n- City:", False),
        ("# User\n- Name:", False),
        ("# user\n- name:\n- city:", False),
        ("#User - Name: - City:", False),
        ("", False),
    ],
)
def test_the_empty_template_is_told_by_its_words_alone(text: str, expected: bool) -> None:
    """B170: other white space makes it no other text."""
    assert is_empty_template(text, TEMPLATE) is expected


@pytest.mark.parametrize("template", ["", "  \n"])
def test_a_blank_template_makes_no_text_an_empty_one(template: str) -> None:
    assert not is_empty_template("", template)
    assert not loses_data("data", "", template)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("# User\n- Name: Sam", TEMPLATE, True),
        ({"name": "Sam"}, TEMPLATE, True),
        ({}, TEMPLATE, True),
        (None, TEMPLATE, False),
        ("", TEMPLATE, False),
        (" \n", TEMPLATE, False),
        ("# User - Name: - City:", TEMPLATE, False),
        ("# User\n- Name: Sam", "# User\n- Name: Ann", False),
        ("# User\n- Name: Sam", {}, False),
    ],
)
def test_only_the_empty_template_over_something_loses_data(
    old: str | dict[str, object] | None, new: str | dict[str, object], expected: bool
) -> None:
    assert loses_data(old, new, TEMPLATE) is expected
