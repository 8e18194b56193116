"""Which lines of two texts are the same ones: held against all that is possible."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memfold.audit import lines
from memfold.audit.differences import Difference, traced_differences
from memfold.audit.lines import Pairs, same_lines
from memfold.audit.redo import traced

LINES = st.lists(st.sampled_from("abc"), max_size=7)


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[str], list[str], Pairs]:
    """Two texts with lines of the one that were kept in the other."""
    old, new, kept = draw(LINES), [], []
    for number in sorted(draw(st.sets(st.integers(0, 6)))):
        if number < len(old):
            new += draw(LINES)[:2]
            kept.append((number, len(new)))
            new.append(old[number])
    return old, new + draw(LINES)[:3], kept


def most(old: list[str], new: list[str], kept: Pairs) -> int:
    """Return how many lines can be paired if all kept ones are."""
    firm, firm_new = {pair[0] for pair in kept}, {pair[1] for pair in kept}
    never = -1000

    @cache
    def best(at: int, at_new: int) -> int:
        if at == len(old) and at_new == len(new):
            return 0
        found = never
        if at < len(old) and at not in firm:
            found = max(found, best(at + 1, at_new))
        if at_new < len(new) and at_new not in firm_new:
            found = max(found, best(at, at_new + 1))
        if at < len(old) and at_new < len(new) and old[at] == new[at_new]:
            found = max(found, 1 + best(at + 1, at_new + 1))
        return found

    return best(0, 0)


def check(old: list[str], new: list[str], kept: Pairs, found: Pairs) -> None:
    assert all(old[at] == new[at_new] for at, at_new in found)
    assert all(one[0] < two[0] and one[1] < two[1] for one, two in pairwise(found))
    assert {pair[0] for pair in kept} <= {pair[0] for pair in found}
    assert {pair[1] for pair in kept} <= {pair[1] for pair in found}
    if old == new:
        assert len(found) == len(old)


@given(texts())
@example((["a", "b", "a"], ["a", "b", "a"], [(0, 2)]))
@example((["a", "b", "a"], ["a", "b", "a", "c"], [(0, 2)]))
def test_as_many_lines_are_paired_as_can_be(case: tuple[list[str], list[str], Pairs]) -> None:
    old, new, kept = case
    found = same_lines(old, new, kept)
    check(old, new, kept, found)
    assert old == new or len(found) == most(old, new, kept)


@given(texts(), st.sampled_from([0, 4]))
def test_lines_of_long_texts_are_paired_where_it_is_quick(
    case: tuple[list[str], list[str], Pairs], gap: int
) -> None:
    """As if they were long: whatever is not compared, nothing of the promise is broken."""
    old, new, kept = case
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "WHOLE_CELLS_MAX", 0)
        patched.setattr(lines, "GAP_CELLS_MAX", gap)
        check(old, new, kept, same_lines(old, new, kept))


def test_each_line_of_a_long_text_that_was_changed_is_told() -> None:
    """Whole texts put in place of each other, of which every third line is another one."""
    old = [f"line {number}" for number in range(9_000)]
    new = [f"new {line}" if number % 3 == 1 else line for number, line in enumerate(old)]
    trace = traced("\n".join(old))
    trace.update("replace", "\n".join(new), (7, 0))
    found = traced_differences("\n".join(old), trace)
    assert found == [
        each
        for number in range(1, 9_000, 3)
        for each in (
            Difference("removed", line=number + 1, before=old[number], position=(7, 0)),
            Difference("added", line=number + 1, after=new[number], position=(7, 0)),
        )
    ]
    trace.update("replace", {"a": 1}, (8, 0))
    trace.update("replace", "\n".join(old), (9, 0))
    assert traced_differences("\n".join(old), trace) == []
