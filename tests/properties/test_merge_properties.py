"""The laws of merge, and provenance against an oracle that knows nothing of how it is kept."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from memfold.canonical import encode, same
from memfold.merge import merge, merge_patch
from support.log import Log
from support.strategies import KEYS, LINES, PATCHES, SMALL, json_values

VALUES = json_values()
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def reference(target: Any, patch: Any) -> Any:  # noqa: ANN401  # any JSON values
    """Merge as the pseudocode of RFC 7396, section 2, does."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = reference(result.get(name), value)
    return result


def has_null_member(value: Any) -> bool:  # noqa: ANN401  # any JSON value
    return isinstance(value, dict) and any(
        item is None or has_null_member(item) for item in value.values()
    )


@given(VALUES, VALUES)
def test_a_merge_is_that_of_the_rfc_and_leaves_its_arguments_alone(
    target: Any,  # noqa: ANN401  # any JSON value
    patch: Any,  # noqa: ANN401  # any JSON values
) -> None:
    before = deepcopy((target, patch))
    merged, changed = merge(target, patch, {}, (1, 0))
    assert same(merged, reference(target, patch))
    assert changed == (not same(merged, target))
    assert encode([target, patch]) == encode(list(before))


@given(OBJECTS)
def test_an_empty_patch_changes_nothing(target: dict[str, Any]) -> None:
    assert merge_patch(target, {}) is target


@given(OBJECTS, OBJECTS)
def test_a_merge_twice_is_a_merge_once(target: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(target, patch)
    again, changed = merge(once, patch, {}, (1, 0))
    assert same(again, once)
    assert not changed


@given(OBJECTS)
def test_nothing_that_a_patch_deletes_is_left(patch: dict[str, Any]) -> None:
    assert not has_null_member(merge_patch(None, patch))


@given(OBJECTS, OBJECTS)
def test_disjoint_patches_commute(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Why concurrent agents that write different keys never lose each other's values."""
    right = {key: value for key, value in right.items() if key not in left}
    base = {"a": 1, "b": {"c": 2}}
    assert same(
        merge_patch(merge_patch(base, left), right), merge_patch(merge_patch(base, right), left)
    )


def flat(value: Any, at: str = "") -> dict[str, Any]:  # noqa: ANN401  # any JSON value
    if not isinstance(value, dict) or not value:
        return {at: value}
    return {
        place: leaf
        for key, item in value.items()
        for place, leaf in flat(item, at + "/" + key.replace("~", "~0").replace("/", "~1")).items()
    }


UPDATES = st.lists(
    st.tuples(st.just("merge"), PATCHES)
    | st.tuples(st.just("replace"), st.dictionaries(KEYS, json_values(SMALL), max_size=3)),
    max_size=12,
)


@given(UPDATES)
def test_each_leaf_of_a_document_names_the_event_that_last_changed_it(
    updates: list[tuple[str, dict[str, Any]]],
) -> None:
    log = Log()
    expected: dict[str, tuple[int, int]] = {}
    before: dict[str, Any] = {}
    for mode, content in updates:
        log.update(mode, content)
        after = flat(log.content())
        expected = {
            at: expected[at] if at in before and same(before[at], value) else (log.sequence, 0)
            for at, value in after.items()
        }
        before = after
        assert log.document().provenance == expected


TEXT_UPDATES = st.lists(
    st.tuples(st.just("append"), LINES)
    | st.tuples(st.just("replace"), LINES)
    | st.tuples(
        st.just("edit"),
        st.fixed_dictionaries(
            {"search": st.sampled_from(["one", "o", "two\n", "z"]), "replacement": LINES}
        ),
    ),
    max_size=12,
)


@given(TEXT_UPDATES)
def test_each_line_of_a_text_names_an_event_that_wrote_it(
    updates: list[tuple[str, Any]],
) -> None:
    """A line keeps its event only as the same text, in its order; what was written is the rest."""
    log = Log()
    before: list[str] = []
    known: list[tuple[int, int]] = []
    for mode, content in updates:
        log.update(mode, content)
        if log.memory().document is None:
            assert mode == "edit", "only removing what is not there writes nothing"
            continue
        text, provenance = log.content(), log.document().provenance
        assert isinstance(text, str)
        assert isinstance(provenance, list)
        lines = text.split("\n")
        assert len(provenance) == len(lines)
        kept = [
            (line, position)
            for line, position in zip(lines, provenance, strict=True)
            if position != (log.sequence, 0)
        ]
        rest = iter(zip(before, known, strict=True))
        assert all(pair in rest for pair in kept), "kept lines are a subsequence of the old ones"
        if lines == before:
            assert provenance == known
        elif mode == "append" and before not in ([], [""]):
            assert provenance[: len(known)] == known
            assert provenance[len(known) :] == [(log.sequence, 0)] * (len(lines) - len(known))
        before, known = lines, provenance
