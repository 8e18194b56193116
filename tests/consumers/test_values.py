"""Large JSON is split into its values, in whatever pieces it is read."""

from __future__ import annotations

import json
import random
from io import BytesIO
from typing import Any

import pytest

from memfold.errors import InvalidEvent
from memfold_consumers.formats.stable import InvalidInput
from memfold_consumers.formats.values import Bytes, Value, parse_value, values

LISTS = ("threads", "messages")


class Slow(BytesIO):
    """A file that gives a few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        del size
        return super().read(random.randrange(1, 4))


def split(text: str | bytes, **options: Any) -> list[Value]:  # noqa: ANN401 - passed on.
    content = text.encode() if isinstance(text, str) else text
    return list(values(Bytes(Slow(content)), **options))


def made_up(depth: int) -> Any:  # noqa: ANN401 - any JSON value.
    kind = random.random()
    if depth == 0 or kind < 0.3:
        return random.choice([1, -2.5, True, None, "", 'x"[]{}\\é,:\n', "b" * random.randrange(9)])
    if kind < 0.65:
        return [made_up(depth - 1) for _ in range(random.randrange(4))]
    names = ["messages", "a", 'b"[', "}"]
    return {f"{random.choice(names)}{n}": made_up(depth - 1) for n in range(random.randrange(4))}


@pytest.mark.parametrize("seed", range(200))
def test_values_come_out_as_they_went_in(seed: int) -> None:
    random.seed(seed)
    items = [made_up(4) for _ in range(random.randrange(5))]
    objects = [item for item in items if isinstance(item, dict)]
    indent = random.choice([None, 1])
    whole = {"x": made_up(3), "messages": items, "y": made_up(3), "threads": [1]}

    def read(text: str, **options: Any) -> list[Any]:  # noqa: ANN401 - as above.
        return [json.loads(value.payload) for value in split(text, **options)]

    assert read(json.dumps(items, indent=indent)) == items
    assert read("\n".join(json.dumps(item, indent=indent) for item in objects)) == objects
    assert read(json.dumps(whole, indent=indent), lists=LISTS) == [*items, 1]
    assert read(json.dumps(objects[:1]) if objects else "", lists=LISTS) == objects[:1]


def test_values_say_where_they_stand() -> None:
    text = '{"n": 1} [true, {"a": []}] "two"'
    assert [(value.top, value.place, value.payload) for value in split(text)] == [
        (1, 0, b'{"n": 1}'),
        (2, 1, b"true"),
        (2, 2, b'{"a": []}'),
        (3, 0, b'"two"'),
    ]
    named = split('{"threads": [1], "messages": [2, 3]}', lists=LISTS)
    assert [(value.name, value.place) for value in named] == [
        ("threads", 1),
        ("messages", 1),
        ("messages", 2),
    ]


@pytest.mark.parametrize("length", range(1, 40))
def test_a_file_that_is_cut_says_so_behind_what_is_whole(length: int) -> None:
    text = '[{"a": "b[c"}, {"d": [1, "e"]}, "f" ]'[:length]
    found = split(text)
    whole = [value for value in found if not value.problem]
    assert [json.loads(value.payload) for value in whole] == [
        {"a": "b[c"},
        {"d": [1, "e"]},
        "f",
    ][: len(whole)]
    assert bool(found[-1].problem) == (length < 37)


def test_a_value_that_is_too_large_stops_none_of_its_neighbours() -> None:
    large = json.dumps({"a": list(range(50)), "b": {"c": "x"}})
    found = split(f'[{{"n": 1}}, {large}, {{"n": 2}}]', bytes_max=20)
    assert [value.payload for value in found] == [b'{"n": 1}', b"", b'{"n": 2}']
    assert found[1].problem == "it is larger than 20 bytes"


def test_a_text_that_never_ends_is_not_read_whole() -> None:
    with pytest.raises(InvalidInput, match="a text in it is larger than 20 bytes"):
        split('["' + "x" * 10_000, bytes_max=20)


@pytest.mark.parametrize(("text", "byte"), [("]", 0), ('{"a": 1]', 7), ("[1, }", 4)])
def test_brackets_that_do_not_match_are_named_with_their_place(text: str, byte: int) -> None:
    with pytest.raises(InvalidInput, match=f"^not JSON at byte {byte}$"):
        split(text)


def test_a_byte_order_mark_and_an_empty_file_hold_nothing() -> None:
    assert split(b"\xef\xbb\xbf") == split("") == split(" \n") == []


def test_a_lone_surrogate_is_left_to_the_event_it_stands_in() -> None:
    assert parse_value(b'{"a": "\\ud83d", "b": 1}') == {"a": "\ud83d", "b": 1}
    for payload, reason in ((b'{"a": "\\ud83d", "a": 1}', "duplicate_key"), (b"{", "not_json")):
        with pytest.raises(InvalidEvent) as caught:
            parse_value(payload)
        assert caught.value.reason == reason


WHOLE = '{"a": ["x", {"b": "y\\\\\\""}], "c": {"d": 1, "e": [2, {"f": null}]}}'


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_line_that_is_cut_stops_none_of_its_neighbours(length: int, place: int) -> None:
    lines = ['{"n": 0}', '{"n": 1}', '{"n": 2}']
    lines.insert(place, WHOLE[:length])
    found = split("\n".join(lines))
    assert [value.payload for value in found if not value.problem] == [
        line.encode() for line in lines if line != WHOLE[:length]
    ]
    [bad] = [value for value in found if value.problem]
    assert (bad.line, bad.top) == (place + 1, place + 1)
    assert [value.line for value in found] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        ("oops", 1),
        ("it is, not] JSON}", 1),
        ('{"a": 1]', 1),
        ("}", 1),
        ('b": "x"}}', 1),
        ('{"a":\n"b', 1),
    ],
)
def test_a_line_that_is_no_json_stops_none_of_its_neighbours(bad: str, parts: int) -> None:
    found = split(f'{{"n": 0}}\n{bad}\n{{"n": 1}}\r\n{{"n": 2}}\n')
    assert [found[0].payload, *(value.payload for value in found[-2:])] == [
        b'{"n": 0}',
        b'{"n": 1}',
        b'{"n": 2}',
    ]
    assert len(found) == 3 + parts
    assert found[1].line == 2
    assert len(split(f'{{"n": 0}}\n{bad}')) == 1 + parts


def test_values_may_go_over_several_lines() -> None:
    text = '{"a": [\n{"b": 1},\n{"b": 2}\n], "c":\n{"d": [\n\n{}]}}\n{\n"e": 1\n}'
    assert [json.loads(value.payload) for value in split(text)] == [
        {"a": [{"b": 1}, {"b": 2}], "c": {"d": [{}]}},
        {"e": 1},
    ]
    rows = split('{"id": "x", "a": {"b": "c\n{"id": "y"}\n{"messages": [\n{"n": 1}]}', lists=LISTS)
    assert [value.payload for value in rows] == [b"", b'{"id": "y"}', b'{"n": 1}']
