"""Replay by the log's own rules: nothing left out changes nothing, everything leaves nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from memfold.audit.counterfactual import Exclusion, Fold, find_fallen, fold_without
from memfold.audit.shown import contents, served
from memfold.audit.states import differences
from memfold.canonical import encode_text
from support.log import dump, read
from support.strategies import logs

Published = list[tuple[str, dict[str, Any]]]


def folded(published: Published) -> Fold:
    fold = Fold()
    for sequence, (subject, payload) in enumerate(published, start=1):
        for event in read(subject, payload, sequence=sequence):
            fold.add(event)
    return fold


@given(logs())
def test_leaving_out_nothing_gives_the_same_state(published: Published) -> None:
    fold = folded(published)
    assert find_fallen(fold, Exclusion()) == []
    assert dump(fold_without(fold, [])) == dump(fold.state)


@given(logs())
def test_leaving_out_everyone_leaves_nothing(published: Published) -> None:
    fold = folded(published)
    state = fold_without(fold, find_fallen(fold, Exclusion(actors=frozenset({"bot"}))))
    for resource in ("u1", "u2"):
        assert contents(state, resource) == {}
        assert served(state, resource) == {}


@given(logs(), st.data())
def test_what_is_left_out_is_folded_nowhere_and_the_rest_as_it_was(
    published: Published, data: st.DataObject
) -> None:
    """With no consequences to follow, it is as if the others had been published alone."""
    for _, event in published:
        event["source"] = "bot"
        event.pop("incarnation", None)
    gone = frozenset(
        event["id"] for _, event in published if data.draw(st.booleans(), label="left out")
    )
    fold = folded(published)
    fallen = find_fallen(fold, Exclusion(events=gone))
    alone = Fold()
    for sequence, (subject, payload) in enumerate(published, start=1):
        if payload["id"] not in gone:
            for item in read(subject, payload, sequence=sequence):
                alone.add(item)
    state = fold_without(fold, fallen)
    for resource in ("u1", "u2"):
        assert contents(state, resource) == contents(alone.state, resource)


@given(logs(), logs())
def test_differences_lead_from_one_state_to_the_other(first: Published, second: Published) -> None:
    before, after = (contents(folded(each).state, "u1") for each in (first, second))
    found = differences(before, after)
    equal = {
        key: key in before and key in after and encode_text(before[key]) == encode_text(after[key])
        for key in before.keys() | after.keys()
    }
    differing = {(each.kind, each.thread or "", each.message or "") for each in found}
    assert differing == {key for key, same in equal.items() if not same}
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    for there, back in zip(found, differences(after, before), strict=True):
        forth = sorted(turned[part.change] + encode_text([part.after]) for part in there.parts)
        if there.kind != "working_memory":
            assert forth == sorted(part.change + encode_text([part.before]) for part in back.parts)
