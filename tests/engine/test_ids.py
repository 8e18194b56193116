"""Ids are any text; tokens are one reversible, canonical form of them."""

from __future__ import annotations

import pytest

from memfold.errors import InvalidId
from memfold.ids import check_id, decode_token, encode_token


@pytest.mark.parametrize(
    ("id_", "token"),
    [
        ("user_123", "user_123"),
        ("1346362547862769664", "1346362547862769664"),
        ("_", "%5F"),
        ("__", "__"),
        ("a_", "a_"),
        ("-", "-"),
        ("%", "%25"),
        ("%5F", "%255F"),
        ("a.b", "a%2Eb"),
        ("*", "%2A"),
        (">", "%3E"),
        (" ", "%20"),
        ("a\x00b", "a%00b"),
        ("\r\n", "%0D%0A"),
        ("é", "%C3%A9"),
        ("😀", "%F0%9F%98%80"),
    ],
)
def test_an_id_has_one_token_and_comes_back_from_it(id_: str, token: str) -> None:
    assert encode_token(id_) == token
    assert decode_token(token) == id_


@pytest.mark.parametrize(
    "token",
    [
        "",
        "_",
        "a%2eb",
        "%5f",
        "%41",
        "a%",
        "a%2",
        "%ZZ",
        "a.b",
        "é",
        "%FF",
        "%C3",
        "%ED%A0%80",
        "%C0%AF",
        "*",
        ">",
        "a b",
        "\ud800",
        "a\n",
    ],
)
def test_a_token_that_is_not_its_own_canonical_form_is_refused(token: str) -> None:
    with pytest.raises(InvalidId):
        decode_token(token)


@pytest.mark.parametrize("id_", ["a" * 256, "é" * 128, "😀" * 64, "." * 256])
def test_an_id_of_256_bytes_is_accepted(id_: str) -> None:
    assert decode_token(encode_token(id_)) == check_id(id_) == id_


@pytest.mark.parametrize(
    "id_", ["", "a" * 257, "é" * 128 + "a", "😀" * 65, "a\ud800", 5, None, b"a"]
)
def test_what_is_not_an_id_is_refused(id_: object) -> None:
    with pytest.raises(InvalidId) as caught:
        check_id(id_, "thread id")
    assert caught.value.reason == "invalid_id"
    assert str(caught.value).startswith("thread id ")


def test_the_token_of_an_id_over_256_bytes_is_refused() -> None:
    with pytest.raises(InvalidId):
        decode_token("%2E" * 257)
