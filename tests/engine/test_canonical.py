"""Canonical bytes are equal exactly for equal JSON values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from memfold.canonical import encode, encode_text, from_us, same, to_us


def test_keys_are_sorted_at_every_level() -> None:
    assert encode({"b": {"z": 1, "a": [{"y": 1, "x": 2}]}, "a": "é"}) == (
        '{"a":"é","b":{"a":[{"x":2,"y":1}],"z":1}}'.encode()
    )
    assert encode_text({"b": 1, "a": 2}) == '{"a":2,"b":1}'


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, True), (1, 1.0), (0, False), (0.0, -0.0), ("1", 1), (None, False), ([], {}), ("", None)],
)
def test_values_that_python_may_take_for_equal_stay_apart(left: object, right: object) -> None:
    assert not same(left, right)
    assert not same({"a": [left]}, {"a": [right]})


def test_the_order_of_keys_makes_no_difference() -> None:
    assert same({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1})
    assert same("text", "te" + "xt")


def test_times_are_microseconds_since_1970_in_utc() -> None:
    moment = datetime(2026, 11, 21, 11, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
    assert to_us(moment) == 1795255200123456
    assert from_us(1795255200123456) == "2026-11-21T10:00:00.123456Z"
    assert to_us(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000
    assert from_us(0) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("year", [1, 9999])
def test_the_ends_of_time_can_be_written(year: int) -> None:
    moment = datetime(year, 6, 1, tzinfo=UTC)
    assert from_us(to_us(moment)) == f"{year:04}-06-01T00:00:00Z"
