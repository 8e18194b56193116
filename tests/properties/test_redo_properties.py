"""Doing known changes again gives what the fold gave: content, provenance, and what went away."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from memfold import documents
from memfold.audit.differences import (
    Difference,
    differences,
    traced_differences,
    update_differences,
    within,
)
from memfold.audit.redo import Trace, redone, traced
from memfold.audit.restoring import restored
from memfold.canonical import encode, encode_text
from memfold.definitions import Content
from memfold.errors import Rejected
from memfold.events import Edit, MemoryAppended, MemoryEdited, MemoryMerged, MemoryReplaced
from memfold.gate import parse
from memfold.merge import merge_patch
from memfold.provenance import leaves
from memfold.state import Document

KEYS = st.sampled_from(["a", "b", "~/", ""])
SCALARS = st.sampled_from([None, 1, 1.0, True, "x", "y"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)
LINES = st.lists(st.sampled_from(["", "- a", "- b", "- c"]), max_size=5).map("\n".join)
UPDATES = st.one_of(
    OBJECTS.map(lambda content: MemoryMerged(scope="resource", content=content)),
    OBJECTS.map(lambda content: MemoryMerged(scope="resource", content=content)),
    (OBJECTS | LINES).map(lambda content: MemoryReplaced(scope="resource", content=content)),
    LINES.map(lambda content: MemoryAppended(scope="resource", content=content)),
    st.tuples(st.sampled_from(["- a", "\n", "- b\n", "b\n- ", "zz"]), LINES).map(
        lambda pair: MemoryEdited(
            scope="resource", content=Edit(search=pair[0], replacement=pair[1])
        )
    ),
)
Update = MemoryMerged | MemoryReplaced | MemoryAppended | MemoryEdited
Applied = list[tuple[Document, str, Any]]


def applied(updates: list[Update]) -> Applied:
    """Return those that the fold applies, each with the document behind it."""
    document: Document | None = None
    found: Applied = []
    for number, update in enumerate(updates, start=1):
        try:
            updated = documents.update(document, None, update, (number, 0), number).document
        except Rejected:
            continue
        if updated is not None:
            document = updated
            data = update.model_dump(mode="json")
            found.append((updated, data["mode"], data["content"]))
    return found


def copy(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return parse(encode(value))


@given(st.lists(UPDATES, max_size=12))
def test_what_is_done_again_is_what_was_folded(updates: list[Update]) -> None:
    content: Content | None = None
    trace = Trace(None, None)
    for document, mode, change in applied(updates):
        content = redone(content, mode, copy(change))
        trace.update(mode, copy(change), document.changed)
        assert encode(content) == encode(document.content) == encode(trace.content)
        assert trace.provenance == document.provenance


def put(content: Content | None, found: list[Difference]) -> Any:  # noqa: ANN401 - any JSON value
    """Return what the differences of one update make of a document, by an own account."""
    if found and found[0].path == "":
        return found[0].after
    if found and found[0].line is not None:
        [each] = found
        lines = str(content).split("\n")
        count = 0 if each.before is None else each.before.count("\n") + 1
        fresh = [] if each.after is None else each.after.split("\n")
        assert each.line is not None
        assert lines[each.line - 1 : each.line - 1 + count] == (
            [] if each.before is None else each.before.split("\n")
        )
        lines[each.line - 1 : each.line - 1 + count] = fresh
        return "\n".join(lines)
    result = copy({} if content is None else content)
    for each in found:
        assert each.path is not None
        *above, last = [
            key.replace("~1", "/").replace("~0", "~") for key in each.path[1:].split("/")
        ]
        place = result
        for key in above:
            place = place[key]
        if each.kind == "removed":
            assert encode(place.pop(last)) == encode(each.before)
        else:
            assert (last in place) == (each.kind == "changed")
            place[last] = each.after
    return result


@given(st.lists(UPDATES, max_size=8))
def test_what_an_update_touches_is_what_it_changes(updates: list[Update]) -> None:
    content: Content | None = None
    for document, mode, change in applied(updates):
        found = update_differences(content, mode, copy(change))
        assert encode(put(content, found)) == encode(document.content)
        whole = differences(content, document.content)
        assert encode(put(content, whole)) == encode(document.content)
        content = document.content


@given(st.lists(UPDATES, max_size=12), st.integers(0, 11))
def test_a_difference_names_the_last_event_that_made_it(updates: list[Update], first: int) -> None:
    """Held against the parts there were after each single event."""
    steps = applied(updates)
    first = min(first, len(steps))
    states: list[Content | None] = [None, *(document.content for document, _, _ in steps)]
    start = copy(states[first]) if first else None
    trace = traced(copy(start))
    for document, mode, change in steps[first:]:
        trace.update(mode, copy(change), document.changed)
    end = states[-1]
    found = traced_differences(start, trace)
    old, new = parts(start), parts(end)
    if isinstance(start, str) and isinstance(end, str):
        return
    assert {each.path for each in found if each.path is not None} == {
        at for at in old.keys() | new.keys() if old.get(at) != new.get(at)
    }
    positions = [document.changed for document, _, _ in steps]
    for each in found:
        if each.path is None:
            assert each.position in positions[first:]
            continue
        values = [parts(state).get(each.path) for state in states[first:]]
        assert each.position is not None
        # After it the part is never another one again.
        settled = positions.index(each.position) + 1 - first
        assert len({str(value) for value in values[settled:]}) == 1
        if each.kind == "removed":
            assert values[settled - 1] is not None or each.path in replaced_leaves(steps, settled)


TEXTS = st.sampled_from(["- a", "- a\n- b", "- b\n- a", "- a\n- b\n- a", "- c\n- a", ""])
TEXT_UPDATES = st.one_of(
    TEXTS.map(lambda content: MemoryReplaced(scope="resource", content=content)),
    TEXTS.map(lambda content: MemoryReplaced(scope="resource", content=content)),
    TEXTS.map(lambda content: MemoryAppended(scope="resource", content=content)),
    st.tuples(st.sampled_from(["- a", "\n", "- b\n", "b\n- ", "a\n"]), TEXTS).map(
        lambda pair: MemoryEdited(
            scope="resource", content=Edit(search=pair[0], replacement=pair[1])
        )
    ),
    st.just(MemoryReplaced(scope="resource", content={"a": 1})),
)


@given(TEXTS, st.lists(TEXT_UPDATES, min_size=1, max_size=8))
def test_the_differences_of_two_texts_are_exact(start: str, updates: list[Update]) -> None:
    """They make the one of the other, and each line names an event that touched it."""
    steps = applied([MemoryReplaced(scope="resource", content=start), *updates])
    trace = traced(start)
    for document, mode, change in steps[1:]:
        trace.update(mode, copy(change), document.changed)
        if isinstance(document.content, str):
            found = traced_differences(start, trace)
            check_lines(start, document.content, found, steps)


def check_lines(start: str, end: str, found: list[Difference], steps: Applied) -> None:
    """Check the differences of two texts against the texts there were after each single event."""
    old, new = start.split("\n"), end.split("\n")
    removed = {cast("int", each.line): each for each in found if each.kind == "removed"}
    added = {cast("int", each.line): each for each in found if each.kind == "added"}
    assert len(removed) + len(added) == len(found)
    left = [line for number, line in enumerate(old, start=1) if number not in removed]
    there = iter(left)
    made = [
        added[number].after if number in added else next(there)
        for number in range(1, len(left) + len(added) + 1)
    ]
    assert made == new
    assert bool(found) == (start != end)
    texts = [document.content for document, _, _ in steps]
    positions = [document.changed for document, _, _ in steps]
    for line, each in [*removed.items(), *added.items()]:
        assert each.position is not None
        step = positions.index(each.position)
        assert step > 0
        # The event changed the text, which had such a line before it, or has it since.
        before, after = (lines_of(texts[at]) for at in (step - 1, step))
        assert before != after
        if each.kind == "removed":
            assert each.before == old[line - 1]
            assert each.before in before
        else:
            assert each.after == new[line - 1]
            assert each.after in after


def lines_of(content: Content | None) -> list[str]:
    return content.split("\n") if isinstance(content, str) else []


def replaced_leaves(steps: Applied, number: int) -> set[str]:
    """Return the leaves of a step's document: one can go and come within a single event."""
    return set(parts(steps[number - 1][0].content))


def parts(content: Content | None) -> dict[str, str]:
    if content is None or isinstance(content, str):
        return {}
    return {at: encode_text(value) for at, value in leaves(content)}


@given(OBJECTS, OBJECTS, st.sampled_from(["", "/a", "/b", "/a/b", "/~0~1/a"]))
def test_a_restored_part_is_what_it_was_and_the_rest_is_what_it_is(
    now: dict[str, Any], then: dict[str, Any], path: str
) -> None:
    from memfold.errors import InvalidRequest

    try:
        found = restored(now, then, path or None)
    except InvalidRequest:
        return
    result: Any = now
    if found is not None:
        result = found.content if found.mode == "replace" else merge_patch(now, found.content)
        assert encode(result) != encode(now)
    if not path:
        assert encode(result) == encode(then)
        return
    assert part(result, path) == part(then, path)
    outside = {at: value for at, value in parts(now).items() if not at.startswith(path)}
    kept = {at: value for at, value in parts(result).items() if not at.startswith(path)}
    above = {at for at in outside | kept if path.startswith(at)}
    # A parent that was empty, or is empty now, is a leaf on one side only.
    assert {at: value for at, value in outside.items() if at not in above} == {
        at: value for at, value in kept.items() if at not in above
    }


def part(content: Any, path: str) -> str | None:  # noqa: ANN401 - any JSON value
    for key in path[1:].split("/"):
        name = key.replace("~1", "/").replace("~0", "~")
        if not isinstance(content, dict) or name not in content:
            return None
        content = content[name]
    return encode_text(content)


MISSING = "nothing is there"


def all_parts(value: object, at: str = "") -> dict[str, Any]:
    """Return every part of a JSON document by its pointer, objects and what is in them."""
    found = {at: value}
    for key, item in value.items() if isinstance(value, dict) else ():
        found |= all_parts(item, f"{at}/{key.replace('~', '~0').replace('/', '~1')}")
    return found


def part_of(content: Content | None, path: str) -> object:
    return all_parts(content).get(path, MISSING) if isinstance(content, dict) else MISSING


@given(
    st.lists(UPDATES, max_size=8),
    st.lists(st.sampled_from(["a", "b", "~0~1", ""]), min_size=1, max_size=3),
)
def test_a_part_is_told_of_exactly_when_it_changes(updates: list[Update], keys: list[str]) -> None:
    path = "".join(f"/{key}" for key in keys)
    content: Content | None = None
    for document, mode, change in applied(updates):
        told = list(within(update_differences(content, mode, copy(change)), path))
        before, after = part_of(content, path), part_of(document.content, path)
        assert bool(told) == (encode(before) != encode(after))
        assert all(f"{each.path}/".startswith(f"{path}/") for each in told)
        own = [each for each in told if each.path == path]
        if own and before is not MISSING and after is not MISSING:
            assert [encode(own[0].before), encode(own[0].after)] == [encode(before), encode(after)]
        content = document.content
