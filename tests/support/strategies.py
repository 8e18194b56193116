"""Hypothesis strategies: JSON values, ids, and whole logs of events that meet one another."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.log import FACETS, envelope, stored

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
KEYS = st.sampled_from(["a", "b", "c", "", "a/b", "~", "é"])


def json_values(scalars: st.SearchStrategy[Any] = SCALARS) -> st.SearchStrategy[Any]:
    """Return JSON values whose keys often meet."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    )


SMALL: st.SearchStrategy[Any] = st.sampled_from([None, 0, 1, 1.0, True, "x", "y", [], [None], {}])
"""Few values, so that changes back and changes of type alone are frequent."""

PATCHES = st.dictionaries(KEYS, json_values(SMALL), max_size=3)
LINES = st.lists(st.sampled_from(["one", "two", "", "three"]), max_size=4).map("\n".join)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)


def _data(  # noqa: PLR0911  # one strategy for each type
    type_: str, thread: str | None
) -> st.SearchStrategy[dict[str, Any]]:
    scope = "resource" if thread is None else "thread"
    ids = st.sampled_from(["m1", "m2", "m3"])
    roles = st.sampled_from(["user", "assistant"])
    titles = st.sampled_from(["", "x", "y"])
    match type_:
        case "WorkingMemoryUpdated":
            edit = {"search": st.sampled_from(["one", "two\n", "z"]), "replacement": LINES}
            return st.one_of(
                st.fixed_dictionaries({"mode": st.just("merge"), "content": PATCHES}),
                st.fixed_dictionaries({"mode": st.just("replace"), "content": PATCHES | LINES}),
                st.fixed_dictionaries({"mode": st.just("append"), "content": LINES}),
                st.fixed_dictionaries(
                    {"mode": st.just("edit"), "content": st.fixed_dictionaries(edit)}
                ),
            ).map(lambda data: {**data, "scope": scope})
        case "WorkingMemoryDefined":
            definitions: list[dict[str, Any]] = [
                {},
                {"template": "# A"},
                {"json_schema": {"properties": {"a": {"type": "integer"}}}},
                {"json_schema": {"additionalProperties": {"type": ["string", "null"]}}},
                {"json_schema": {"type": "wrong"}},
            ]
            return st.sampled_from(definitions).map(lambda data: {**data, "scope": scope})
        case "MessageAppended":
            body = {"id": ids, "role": roles, "content": LINES, "metadata": PATCHES}
            return st.fixed_dictionaries({"message": st.fixed_dictionaries(body)})
        case "MessageUpdated":
            patch = {"content": LINES | st.none(), "metadata": PATCHES | st.none()}
            return st.fixed_dictionaries({"id": ids, "patch": st.fixed_dictionaries(patch)})
        case "MessageDeleted":
            return st.fixed_dictionaries({"id": ids})
        case "ThreadCreated" | "ThreadUpdated":
            return st.fixed_dictionaries({"title": titles, "metadata": PATCHES})
        case "ResourceUpdated":
            return st.fixed_dictionaries({"metadata": PATCHES})
        case "Erased":
            targets: list[dict[str, Any]] = [
                {"target": "event", "position": [1, 0]},
                *([{"target": "resource"}] if thread is None else []),
                *([{"target": "thread"}, {"target": "message", "message": "m1"}] if thread else []),
            ]
            return st.sampled_from(targets)
        case "ParkedDiscarded":
            given = {"sequence": st.integers(1, 25), "index": st.just(0), "reason": st.just("x")}
            return st.fixed_dictionaries({**given, "fold_version": st.integers(1, 9)})
        case _:
            return st.just({})


@st.composite
def publishes(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Return (subject, event without id): of two resources and threads, now and then a bad one."""
    type_ = draw(st.sampled_from(sorted(FACETS)))
    facet = FACETS[type_]
    resource = draw(st.sampled_from(["u1", "u2"]))
    thread = draw(st.sampled_from(["t1", "t2"]))
    scoped = facet == "resource" or (facet in {"memory", "erasure"} and draw(st.booleans()))
    place = None if scoped else thread
    event = envelope(type_, draw(_data(type_, place)))
    if not scoped:
        incarnation = draw(st.sampled_from([None, None, None, 1, 2]))
        event["incarnation"] = incarnation
    if draw(st.integers(0, 19)) == 0:
        event["type"] = "Unheard"
    return stored(facet, resource=resource, thread=place), event


@st.composite
def logs(draw: st.DrawFn, *, size_max: int = 25) -> list[tuple[str, dict[str, Any]]]:
    """Return (subject, event) in the log's order, each with an id of its own."""
    drawn = draw(st.lists(publishes(), max_size=size_max))
    return [(subject, {**event, "id": f"e{n}"}) for n, (subject, event) in enumerate(drawn)]
