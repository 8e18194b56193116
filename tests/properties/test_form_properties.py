"""Ids, canonical bytes, the gate and the reader hold for whatever they are given."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from memfold.canonical import encode, same
from memfold.errors import InvalidId
from memfold.fold import apply, evolve
from memfold.gate import GateError, check, parse
from memfold.ids import decode_token, encode_token
from memfold.state import State
from memfold.subjects import parse_stored
from memfold.wire import Event, Recorded, Unreadable, read_message
from support.log import NAMESPACE, dump, stored
from support.strategies import IDS, json_values, publishes

VALUES = json_values()


@given(IDS)
def test_an_id_comes_back_from_a_token_of_safe_characters(id_: str) -> None:
    token = encode_token(id_)
    assert decode_token(token) == id_
    assert re.fullmatch(r"[A-Za-z0-9_%-]+", token)
    assert token != "_"


@given(IDS, IDS)
def test_distinct_ids_have_distinct_tokens(left: str, right: str) -> None:
    assert (encode_token(left) == encode_token(right)) == (left == right)


@given(st.text(max_size=20) | st.from_regex(r"[a%2eE0F_]{1,8}", fullmatch=True))
@example("%2e")
def test_a_token_is_refused_unless_it_is_the_one_form_of_an_id(token: str) -> None:
    try:
        id_ = decode_token(token)
    except InvalidId:
        return
    assert encode_token(id_) == token


def shuffled(value: Any, seed: random.Random) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, dict):
        keys = list(value)
        seed.shuffle(keys)
        return {key: shuffled(value[key], seed) for key in keys}
    return [shuffled(item, seed) for item in value] if isinstance(value, list) else value


@given(VALUES, st.randoms(use_true_random=False))
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(
    value: Any,  # noqa: ANN401  # any JSON value
    seed: random.Random,
) -> None:
    assert encode(shuffled(value, seed)) == encode(value)


@given(VALUES)
def test_canonical_bytes_read_back_are_the_same_value(value: Any) -> None:  # noqa: ANN401  # JSON
    read_back = parse(encode(value))
    check(read_back)
    assert encode(read_back) == encode(value)
    assert same(read_back, value)
    assert json.loads(encode(value)) == value


@given(json_values(st.integers() | st.floats() | st.text(st.characters(), max_size=3)))
def test_the_gate_refuses_exactly_what_would_not_come_back(
    value: Any,  # noqa: ANN401  # nearly JSON
) -> None:
    """Python's own writer takes NaN, any integer and lone surrogates; the gate must not."""
    try:
        check(value)
    except GateError:
        text = json.dumps(value)
        assert re.search(r"NaN|Infinity|[0-9]{19}|\\ud[89a-f]", text), text
        return
    assert same(parse(json.dumps(value).encode()), value)


def read_and_fold(subject: str, payload: bytes) -> list[Event | Unreadable]:
    """Read and fold one message; whatever it holds, nothing is raised and something is told."""
    items = list(read_message(NAMESPACE, Recorded(1, 0, subject, payload), time_us=1))
    assert items
    assert [item.index for item in items] == list(range(len(items)))
    state = State()
    for item in items:
        step = evolve(state, item)
        assert step.outcome.kind in {"applied", "unchanged", "rejected", "parked", "duplicate"}
        assert (step.outcome.kind in {"rejected", "parked"}) == bool(step.outcome.reason)
        apply(state, step)
    dump(state)
    return items


SUBJECTS = st.sampled_from(
    [
        stored("memory"),
        stored("memory", thread="t1"),
        stored("memory", resource=None),
        stored("messages", thread="t1"),
        stored("thread", thread="t1"),
        stored("resource"),
        stored("erasure"),
        "memfold.events.3._.t1.memory.bot",
        "memfold.events.3.a%2eb._.memory.bot",
    ]
)


@given(SUBJECTS | st.text(max_size=30), st.binary(max_size=60))
@example(stored("memory"), b"")
@example(stored("memory"), b"[" * 3000)
def test_no_bytes_on_any_subject_raise(subject: str, payload: bytes) -> None:
    for item in read_and_fold(subject, payload):
        assert isinstance(item, Unreadable)


@given(SUBJECTS, VALUES)
def test_no_json_raises(subject: str, value: Any) -> None:  # noqa: ANN401  # any JSON value
    read_and_fold(subject, encode(value))


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401  # JSON
    found = [at]
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found += paths(item, (*at, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:  # noqa: ANN401  # any JSON values
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@given(publishes(), VALUES, st.data())
def test_no_event_with_one_part_exchanged_raises(
    published: tuple[str, dict[str, Any]],
    value: Any,  # noqa: ANN401  # any JSON value
    data: st.DataObject,
) -> None:
    subject, event = published
    event = {**event, "id": "e1"}
    path = data.draw(st.sampled_from(paths(event)))
    read_and_fold(subject, orjson.dumps(put(event, path, value)))


@given(publishes(), st.data())
def test_no_event_with_bytes_flipped_raises(
    published: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    payload = bytearray(orjson.dumps({**published[1], "id": "e1"}))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    read_and_fold(published[0], bytes(payload))


@given(IDS, IDS, IDS)
def test_no_id_leads_into_another_address(resource: str, thread: str, actor: str) -> None:
    subject = stored("messages", resource=resource, thread=thread, actor=actor)
    assert len(subject.split(".")) == 7
    address = parse_stored(NAMESPACE, subject)
    assert (address.resource, address.thread, address.actor) == (resource, thread, actor)
