"""What is taken out of a message's parts, and that exactly the same is put back."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memfold import Attachment, AttachmentDamaged, InvalidRequest, TooLarge, attachments
from memfold.attachments import (
    holds_attachments,
    private_copy,
    put_back,
    read_reference,
    references,
    take_out,
)
from memfold.gate import check
from support.strategies import json_values

BYTES = bytes(range(256)) * 2
BASE64 = base64.b64encode(BYTES).decode()
URIS = {
    "plain": f"data:image/png;base64,{BASE64}",
    "parameters": f"data:image/png;name=a%20b.png;x=1;base64,{BASE64}",
    "no type": f"data:;base64,{BASE64}",
    "upper case": f"DATA:Image/PNG;BASE64,{BASE64}",
    "line breaks": "data:image/png;base64," + BASE64[:76] + "\r\n" + BASE64[76:],
    "no padding": "data:image/png;base64," + BASE64.rstrip("="),
    "escaped": "data:image/png;base64," + BASE64.replace("+", "%2B").replace("/", "%2f"),
    "percent": "data:text/plain;charset=utf-8," + "%C3%BC%20a+b" * 30,
    "bare": "data:," + "x" * 300,
    "svg": "data:image/svg+xml;utf8,<svg xmlns='http://www.w3.org/2000/svg'>Grüße</svg>" * 9,
}
NO_URIS = {
    "a sentence": "data: this, and more, " * 30,
    "no comma": "data:image/png;base64" * 30,
    "not base64": "data:image/png;base64,!!!!" * 30,
    "another scheme": "https://example.com/?data:image/png;base64," + BASE64,
    "lone surrogate": "data:text/plain," + "\ud800" * 300,
}


def taken(content: object, above: int = 100) -> tuple[Any, dict[str, bytes]]:
    found: dict[str, bytes] = {}
    return take_out(content, above, found), found


@pytest.mark.parametrize("uri", URIS.values(), ids=URIS.keys())
def test_a_data_uri_comes_back_character_by_character(uri: str) -> None:
    """B62: whatever its form, what a part held is what it holds again."""
    content = [{"type": "image", "source": {"all": [{"url": uri}, 1, None]}, "detail": "low"}]
    assert holds_attachments(content, 100)
    without, found = taken(content)
    check(without)
    assert uri not in str(without)
    assert put_back(without, found) == content
    [(sha256, reference)] = references(without).items()
    assert sha256 == hashlib.sha256(found[sha256]).hexdigest()
    assert reference.size == len(found[sha256])


@pytest.mark.parametrize("text", NO_URIS.values(), ids=NO_URIS.keys())
def test_what_only_looks_like_a_data_uri_stays_as_it_is(text: str) -> None:
    content = [{"type": "text", "text": text}]
    assert taken(content) == (content, {})


@given(st.binary(max_size=300), st.integers(0, 300))
def test_bytes_come_back_as_their_data_uri_large_or_small(data: bytes, above: int) -> None:
    without, found = taken([{"data": data}], above)
    uri = Attachment(data).data_uri()
    assert put_back(without, found) == [{"data": uri}]
    assert bool(found) == (len(data) > above)


@given(json_values(), st.integers(0, 64))
def test_content_without_attachments_is_not_touched(value: object, above: int) -> None:
    content = [{"type": "tool_result", "result": value}]
    without, found = taken(content, above)
    assert put_back(without, found) == content


@pytest.mark.parametrize(
    ("uri", "data", "media_type"),
    [
        (URIS["plain"], BYTES, "image/png"),
        (URIS["parameters"], BYTES, "image/png;name=a%20b.png;x=1"),
        (URIS["no type"], BYTES, "text/plain;charset=US-ASCII"),
        (URIS["upper case"], BYTES, "Image/PNG"),
        (URIS["line breaks"], BYTES, "image/png"),
        (URIS["no padding"], BYTES, "image/png"),
        (URIS["escaped"], BYTES, "image/png"),
        (URIS["percent"], "ü a+b".encode() * 30, "text/plain;charset=utf-8"),
        (URIS["bare"], b"x" * 300, "text/plain;charset=US-ASCII"),
    ],
)
def test_a_reference_gives_the_bytes_and_the_media_type(
    uri: str, data: bytes, media_type: str
) -> None:
    without, found = taken([{"url": uri}])
    reference = read_reference(without[0]["url"])
    assert reference is not None
    assert reference.attachment(found[reference.sha256]) == Attachment(data, media_type)


def test_the_same_bytes_are_kept_once_whatever_they_came_as() -> None:
    other = f"data:text/plain;base64,{BASE64}"
    _, found = taken([{"a": URIS["plain"], "b": [BYTES, bytearray(BYTES)], "c": other}])
    assert found == {hashlib.sha256(BYTES).hexdigest(): BYTES}


def test_the_limit_counts_the_data_and_not_its_text() -> None:
    exactly = Attachment(b"x" * 100).data_uri()
    assert taken([{"url": exactly}]) == ([{"url": exactly}], {})
    [more], found = taken([{"url": Attachment(b"x" * 101).data_uri()}])
    assert read_reference(more["url"]) is not None
    assert len(found) == 1


def test_text_content_is_never_touched() -> None:
    assert not holds_attachments(URIS["plain"], 0)
    assert taken(URIS["plain"], 0) == (URIS["plain"], {})


def test_a_private_copy_does_not_change_with_what_was_given() -> None:
    given_bytes = bytearray(BYTES)
    content = [{"data": given_bytes, "more": {"list": [1]}}]
    own = private_copy(content)
    given_bytes[0] = 9
    content[0]["more"] = {}
    assert own == [{"data": BYTES, "more": {"list": [1]}}]


def test_content_too_deep_is_left_to_the_gate() -> None:
    deep: Any = BYTES
    for _ in range(5000):
        deep = [deep]
    assert not holds_attachments([{"deep": deep}], 10)
    assert take_out([{"deep": deep}], 10, {})[0]["deep"][0] is not None


def test_an_attachment_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "ATTACHMENT_BYTES_MAX", 500)
    with pytest.raises(TooLarge) as caught:
        taken([{"url": URIS["plain"]}])
    assert caught.value.reason == "attachment_too_large"


@pytest.mark.parametrize("media_type", ["", "png", "image/png,x", "image/png\n", "a/b;\x00", 7])
def test_a_media_type_that_would_break_the_data_uri_is_refused(media_type: object) -> None:
    with pytest.raises(InvalidRequest):
        Attachment(b"", media_type)  # type: ignore[arg-type]  # that is the test


def test_data_that_is_no_bytes_is_refused() -> None:
    data: Any = "text"
    with pytest.raises(InvalidRequest):
        Attachment(data)
    assert Attachment(memoryview(b"abc")).data == b"abc"  # type: ignore[arg-type]


SHA256 = hashlib.sha256(BYTES).hexdigest()
GOOD = {
    "sha256": SHA256,
    "size": 512,
    "media_type": "image/png",
    "head": "data:image/png;base64,",
    "body": "base64",
}


@pytest.mark.parametrize(
    "value",
    [
        {"attachment": {**GOOD, "sha256": SHA256.upper()}},
        {"attachment": {**GOOD, "sha256": SHA256 + "\n"}},
        {"attachment": {**GOOD, "size": True}},
        {"attachment": {**GOOD, "size": -1}},
        {"attachment": {**GOOD, "size": 1 << 40}},
        {"attachment": {**GOOD, "media_type": "image/jpeg"}},
        {"attachment": {**GOOD, "head": "javascript:,"}},
        {"attachment": {**GOOD, "body": "raw"}},
        {"attachment": {**GOOD, "more": 1}},
        {"attachment": GOOD, "more": 1},
        {"attachment": SHA256},
        GOOD,
        "attachment",
        None,
    ],
)
def test_what_is_not_a_reference_in_every_field_is_data(value: object) -> None:
    assert read_reference({"attachment": GOOD}) is not None
    assert read_reference(value) is None
    assert put_back([{"x": value}], {SHA256: BYTES}) == [{"x": value}]


def test_a_reference_that_does_not_fit_what_is_stored_is_told() -> None:
    reference = read_reference({"attachment": {**GOOD, "body": "text"}})
    assert reference is not None
    with pytest.raises(AttachmentDamaged):
        reference.restore(b"\xff")
    with pytest.raises(AttachmentDamaged):
        reference.attachment(b"!!!")
