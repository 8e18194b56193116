"""The subjects of chunks: read back as they were written, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memfold.chunks import (
    CHUNK_BYTES_MAX,
    Copy,
    blob_filter,
    chunk_subject,
    count_chunks,
    parse_chunk,
    parse_copy,
)

IDS = st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable())
SHA256 = "0123456789abcdef" * 4
SUBJECT = f"memfold.blob.alice.{SHA256}.bot.u1.3.2"


@given(IDS, IDS, st.integers(1, 128), st.data())
def test_a_subject_is_read_back(resource: str, actor: str, count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, count - 1))
    copy = Copy(actor, "018f-u", count)
    subject = chunk_subject("memfold", resource, SHA256, copy, index)
    assert parse_chunk("memfold", subject) == (resource, SHA256, copy, index)
    assert subject.startswith(blob_filter("memfold", resource, SHA256).removesuffix(">"))
    assert parse_copy(str(copy)) == copy


@pytest.mark.parametrize(
    "subject",
    [
        SUBJECT.replace("memfold", "other"),
        SUBJECT.replace("blob", "publish"),
        SUBJECT.replace("alice", "*"),
        SUBJECT.replace("alice", "al%69ce"),
        SUBJECT.replace("bot", ">"),
        SUBJECT.replace(SHA256, SHA256[:-1]),
        SUBJECT.replace(SHA256, SHA256.upper()),
        SUBJECT.replace("u1", "u*"),
        SUBJECT.replace("u1", "u" * 65),
        SUBJECT.replace(".3.2", ".3.3"),
        SUBJECT.replace(".3.2", ".0.0"),
        SUBJECT.replace(".3.2", ".129.2"),
        SUBJECT.replace(".3.2", ".03.2"),
        SUBJECT.replace(".3.2", ".3.02"),
        SUBJECT.replace(".3.2", ".3.-1"),
        SUBJECT.replace(".3.2", ".3.²"),
        SUBJECT + ".x",
        "",
    ],
)
def test_other_subjects_are_not_ours(subject: str) -> None:
    assert parse_chunk("memfold", SUBJECT) is not None
    assert parse_chunk("memfold", subject) is None


@pytest.mark.parametrize("text", ["", "bot.u1", "bot.u1.3.2", "*.u1.3", "bot.>.3", "bot.u1.x"])
def test_a_copy_cannot_name_a_wildcard(text: str) -> None:
    assert parse_copy(text) is None


def test_even_nothing_takes_a_chunk() -> None:
    assert [count_chunks(size) for size in (0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1)] == [
        1,
        1,
        1,
        2,
    ]
