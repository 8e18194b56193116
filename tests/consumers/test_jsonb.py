"""SQLite's binary JSON is read as what it stands for; the blobs were made by SQLite 3.54."""

from __future__ import annotations

import pytest

from memfold.errors import InvalidEvent
from memfold_consumers.formats.jsonb import read_jsonb

BLOB = bytes.fromhex(
    "cc2a47706c616e3770726f176eab1331452d322e3501000c4774657874c80d615c6e5c75303065395c22c3a9"
)
VALUE: dict[str, object] = {"plan": "pro", "n": [1, -2.5, True, None, {}], "text": 'a\né"é'}


def test_a_blob_is_the_value_that_was_stored() -> None:
    assert read_jsonb(BLOB) == VALUE


@pytest.mark.parametrize("length", range(len(BLOB)))
def test_a_blob_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="JSONB"):
        read_jsonb(BLOB[:length])


@pytest.mark.parametrize("size", [11, 12, 255, 256, 65_535, 65_536])
def test_sizes_of_all_widths_are_read(size: int) -> None:
    width = next(n for n in (0, 1, 2, 4) if size < (12 if n == 0 else 256**n))
    code = size if width == 0 else {1: 12, 2: 13, 4: 14}[width]
    header = bytes([code << 4 | 10]) + (size.to_bytes(width) if width else b"")
    assert read_jsonb(header + b"x" * size) == "x" * size


@pytest.mark.parametrize(
    "blob", [b"\x44" + b"0x1f", b"\x19a", b"\x00\x00", b"\x1d", b"\x1b\x1b", b"\x2c\x17a"]
)
def test_what_is_not_json_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="JSONB"):
        read_jsonb(blob)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="duplicate_key"):
        read_jsonb(b"\x6c\x17a\x00\x17a\x00")
