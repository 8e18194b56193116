"""What an erasure finds in a message of the stream."""

from __future__ import annotations

import pytest

from memfold.erasure import Part
from memfold.erasure_search import Found
from memfold.wire import Recorded
from support.log import stored

HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "written",
    [
        HASH,
        HASH.replace("a", "\\u0061"),
        "".join(f"\\u{ord(digit):04X}" for digit in HASH),
        f"\\u0022{HASH}\\u0020",
    ],
)
@pytest.mark.parametrize("form", ['{"x":"%s"}', '[{"x":1,"x":"%s"}', "%s"])
def test_an_attachment_is_found_however_its_hash_is_written(written: str, form: str) -> None:
    """JSON may write any digit as an escape; what cannot be read names attachments, too."""
    found = Found()
    payload = (form % written).encode()
    found.add(Recorded(1, 1, stored("messages"), payload, ""), Part((0,)))
    assert found.hashes == {HASH}


def test_longer_numbers_are_no_hashes() -> None:
    found = Found()
    found.add(Recorded(1, 1, stored("messages"), f"{HASH}0".encode(), ""), Part((0,)))
    assert found.hashes == set()
