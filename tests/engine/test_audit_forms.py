"""Heads, blocks and findings: what is read is what was written, and nothing else is."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memfold.audit.findings import SHOWN_MAX, Findings
from memfold.audit.heads import Head, encode_block, read_block, read_head
from memfold.ranges import Ranges

HASH = bytes(range(32))


def test_a_head_is_one_line_of_canonical_json() -> None:
    head = Head(7, HASH, "2026-11-21T10:00:00Z", "e1")
    line = head.encode()
    assert line == (
        b'{"engine":"e1","root":"%b","size":7,"time":"2026-11-21T10:00:00Z"}' % HASH.hex().encode()
    )
    assert read_head(line) == head
    assert read_head(b'{"size":7,"root":"%b","more":1}' % HASH.hex().encode()) == Head(7, HASH)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"7",
        b"{}",
        b'{"size":"7","root":"00"}',
        b'{"size":true,"root":"%b"}' % (b"00" * 32),
        b'{"size":-1,"root":"%b"}' % (b"00" * 32),
        b'{"size":7,"size":8,"root":"%b"}' % (b"00" * 32),
        b'{"size":7,"root":"%b"}' % (b"0A" * 32),
        b'{"size":7,"root":"%b"}' % (b"00" * 31),
        b'{"size":7,"root":"%b","time":1}' % (b"00" * 32),
    ],
)
def test_what_is_no_head_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="no head"):
        read_head(line)


def test_a_block_is_its_first_sequence_and_its_leaves() -> None:
    block = encode_block(258, [HASH, HASH[::-1]])
    assert block == bytes([0, 0, 0, 0, 0, 0, 1, 2]) + HASH + HASH[::-1]
    assert read_block(block) == (258, [HASH, HASH[::-1]])
    for wrong in (b"", block[:8], block[:-1], bytes(8) + HASH):
        with pytest.raises(ValueError, match="no block"):
            read_block(wrong)


def test_findings_are_bounded_and_counted() -> None:
    findings = Findings()
    for sequence in range(1, SHOWN_MAX + 11):
        findings.add("a", sequence, "here", "text")
    findings.add("b", None, "there", "text")
    assert findings.counts == {"a": SHOWN_MAX + 10, "b": 1}
    assert findings.total == SHOWN_MAX + 11
    assert len(findings.to_json()) == SHOWN_MAX + 1
    assert findings.to_json()[0] == {"kind": "a", "sequence": 1, "where": "here", "text": "text"}


RANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)).map(lambda r: (r[0], sum(r))))


@given(RANGES, st.integers(1, 40), st.integers(0, 20))
def test_of_a_hole_exactly_what_no_record_covers_is_unexplained(
    ranges: list[tuple[int, int]], first: int, length: int
) -> None:
    covered = {n for begin, end in ranges for n in range(begin, end + 1)}
    found = Ranges(ranges).missing(first, first + length)
    listed = [n for begin, end in found for n in range(begin, end + 1)]
    assert listed == [n for n in range(first, first + length + 1) if n not in covered]
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
