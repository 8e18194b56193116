"""The gate lets through what every JSON reader understands alike, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest

from memfold.gate import GateError, check, parse


class Names(StrEnum):
    A = "a"


def reason_of(payload: bytes) -> str | None:
    try:
        check(parse(payload))
    except GateError as error:
        return error.reason
    return None


def nested(levels: int) -> Any:  # noqa: ANN401  # any JSON value
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'"\xff"', "not_utf8"),
        (b"\xff\xfe", "not_utf8"),
        (b'"\xed\xa0\x80"', "not_utf8"),
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"{} x", "not_json"),
        (b"{}{}", "not_json"),
        (b'{"a":1,}', "not_json"),
        (b"{'a':1}", "not_json"),
        (b"01", "not_json"),
        (b"inf", "not_json"),
        (b'"\x01"', "not_json"),
        (b'"\\ud8', "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"a":1,"\\u0061":2}', "duplicate_key"),
        (b'[{"a":{"b":[{"c":1,"c":2}]}}]', "duplicate_key"),
        (b'"\\ud800"', "lone_surrogate"),
        (b'"\\udc00 x"', "lone_surrogate"),
        (b'{"\\ud800x":1}', "lone_surrogate"),
        (b"NaN", "number_not_finite"),
        (b'{"a":[Infinity]}', "number_not_finite"),
        (b"-Infinity", "number_not_finite"),
        (b"1e400", "number_not_finite"),
        (b"-1e400", "number_not_finite"),
        (b"18446744073709551616", "number_out_of_range"),
        (b"-9223372036854775809", "number_out_of_range"),
        (b"9" * 100, "number_out_of_range"),
        (b"9" * 5000, "number_out_of_range"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
    ],
)
def test_what_readers_disagree_on_is_refused(payload: bytes, reason: str) -> None:
    assert reason_of(payload) == reason


@pytest.mark.parametrize(
    "payload",
    [
        b"18446744073709551615",
        b"-9223372036854775808",
        b"1e308",
        b"1e-400",
        b"-0.0",
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b" \n{}\t",
        b"null",
    ],
)
def test_what_readers_agree_on_passes(payload: bytes) -> None:
    assert reason_of(payload) is None


def test_numbers_keep_their_value_and_kind() -> None:
    """2^64 - 1 stays exact and 1.0 stays a float: a float would lose the last digits."""
    value = parse(b"[18446744073709551615,-9223372036854775808,1.0,1]")
    assert value == [2**64 - 1, -(2**63), 1.0, 1]
    assert [type(item) for item in value] == [int, int, float, int]


def test_64_levels_pass_and_65_do_not() -> None:
    check(nested(64))
    with pytest.raises(GateError) as caught:
        check(nested(65))
    assert caught.value.reason == "too_deep"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": float("nan")}, "number_not_finite"),
        ([float("inf")], "number_not_finite"),
        (2**64, "number_out_of_range"),
        (-(2**63) - 1, "number_out_of_range"),
        ("\ud800", "lone_surrogate"),
        ({"é\udfff": 1}, "lone_surrogate"),
        ({1: 2}, "not_json"),
        ((1, 2), "not_json"),
        ({1, 2}, "not_json"),
        (b"bytes", "not_json"),
        (datetime.now(UTC), "not_json"),
        (Names.A, "not_json"),
    ],
)
def test_python_values_outside_json_are_refused(value: object, reason: str) -> None:
    with pytest.raises(GateError) as caught:
        check({"deep": [value]} if not isinstance(value, dict) else [value])
    assert caught.value.reason == reason


def test_a_value_that_holds_itself_is_too_deep() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(GateError) as caught:
        check(loop)
    assert caught.value.reason == "too_deep"


def test_no_text_of_the_gate_quotes_what_it_read() -> None:
    for payload in (b'{"S3CRET":1,"S3CRET":2}', b'"S3CRET', b'"S3CRET \\ud800"', b'"S3CRET\xff"'):
        with pytest.raises(GateError) as caught:
            parse(payload)
        assert "S3CRET" not in str(caught.value)
        assert caught.value.__cause__ is None
