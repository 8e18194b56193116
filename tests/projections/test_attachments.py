"""Which attachments events refer to: applied or not, in whatever way their JSON is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from memfold.wire import Recorded
from memfold_projections.attachments import attachment_rows, referred
from memfold_projections.generation import Generation

SHA256 = "ab" * 32
SUBJECT = "memfold.events.3.al%C3%ADce.t.messages.bot"


def rows(payload: bytes) -> list[tuple[str, bytes, int]]:
    return attachment_rows([Recorded(7, 1, SUBJECT, payload)])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"data":{"attachment":{"sha256":"%b"}}}',
        b'[{"x":[{"attachment": {"size": 1, "sha256" : "%b"}}]}, {"type":"Unknown"}]',
        b'{"\\u0061ttachment":{"sha256":"%b"}}',
        b'{"attachment":{"sha256":"%b"',
    ],
)
def test_a_reference_is_found_wherever_it_stands(payload: bytes) -> None:
    assert rows(payload % SHA256.encode()) == [("al%C3%ADce", bytes.fromhex(SHA256), 7)]


def test_escaped_digits_are_read_as_json_reads_them() -> None:
    escaped = "".join(f"\\u{ord(char):04x}" for char in SHA256)
    assert rows(b'{"attachment":{"sha256":"%b"}}' % escaped.encode()) != []


def test_other_events_have_no_rows() -> None:
    assert rows(b'{"data":{"content":"an attachment"}}') == []
    assert rows(b'{"data":{"content":"%b"}}' % SHA256.encode()) == []
    assert rows(b"attachment \\u00 " + b"a" * 65) == []


async def test_each_event_counts_for_its_own_resource(tmp_path: Path) -> None:
    generation = Generation(tmp_path / "g.duckdb", "memfold")
    parked = b'not JSON, {"attachment":{"sha256":"%b"}}' % SHA256.encode()
    generation.fold([Recorded(1, 1, SUBJECT, parked)])
    assert referred(generation, "alíce", [SHA256, "0" * 64]) == {SHA256}
    assert referred(generation, "bob", [SHA256]) == set()
    assert referred(generation, "alíce", []) == set()
    generation.close()
