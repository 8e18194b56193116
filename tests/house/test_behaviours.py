"""Each behaviour that users expect is shown by a test, or the page says why ours differs."""

from __future__ import annotations

import re

import pytest

from support.shared import ROOT, shared_dir

PAGE = ROOT / "docs" / "reference" / "behaviours.md"
GOLDEN = ROOT / "tests" / "golden" / "behaviours.txt"
NUMBER = re.compile(r"\bB[1-9][0-9]*\b")


def expected() -> set[str]:
    """Return the numbers of all behaviours; the list itself is kept elsewhere."""
    return set(GOLDEN.read_text("utf-8").split())


def differing() -> set[str]:
    rows = re.findall(r"^\| (B[^|]*) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {number for row in rows for number in NUMBER.findall(row)}


def shown() -> set[str]:
    """Return the numbers that stand in the docstrings of tests."""
    found: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for docstring in re.findall(r'"""(.*?)"""', path.read_text("utf-8"), re.DOTALL):
            found |= set(NUMBER.findall(docstring))
    return found


def test_every_behaviour_is_shown_by_a_test_or_differs_for_a_reason() -> None:
    missing = expected() - shown() - differing()
    assert sorted(missing, key=lambda number: int(number[1:])) == []


def test_no_number_is_made_up() -> None:
    assert (shown() | differing()) - expected() == set()


def test_the_numbers_are_those_of_the_list() -> None:
    listed = (shared_dir() / "design" / "behaviours.md").read_text("utf-8")
    assert set(re.findall(r"^- (B[0-9]+)\.", listed, re.MULTILINE)) == expected()


@pytest.mark.parametrize("row", re.findall(r"^\| (?=B).*$", PAGE.read_text("utf-8"), re.MULTILINE))
def test_every_difference_says_what_is_ours(row: str) -> None:
    _, numbers, ours, _, _ = row.split("|")
    assert NUMBER.search(numbers)
    assert len(ours.split()) > 4
