"""Raw reads of the log: each message once and whole, whatever the pages are like."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from memfold.leaf import leaf_hash
from memfold.subjects import parse_stored
from memfold.wire import Recorded
from memfold_projections import recorded
from memfold_projections.log import Log
from memfold_projections.recorded import Meant, recorded_page
from support.log import NAMESPACE, envelope, stored
from support.scenario import make_log

ROOM = 1 << 20


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path / "log.duckdb", NAMESPACE)
    yield opened
    opened.close()


def read(log: Log, meant: Meant, *, limit: int = 1000, bytes_max: int = ROOM) -> list[Recorded]:
    """Read page by page and join what came in parts."""
    found: list[Recorded] = []
    place: tuple[int, int] | None = (0, 0)
    begun = b""
    while place is not None:
        page, place = recorded_page(log, meant, place, limit=limit, bytes_max=bytes_max)
        assert len(page) <= limit
        assert sum(map(len, page)) <= bytes_max
        for entry in page:
            raw = orjson.loads(entry)
            assert raw["start"] == len(begun)
            begun += base64.b64decode(raw["payload"], validate=True)
            if len(begun) < raw["size"]:
                continue
            message = Recorded(
                raw["sequence"], raw["time_ns"], raw["subject"], begun, raw["msg_id"]
            )
            assert raw["leaf"] == leaf_hash(message).hex()
            found.append(message)
            begun = b""
    return found


@pytest.mark.parametrize(("limit", "bytes_max"), [(1000, ROOM), (1, ROOM), (7, 3000), (1000, 900)])
def test_every_message_of_a_resource_comes_once_and_whole(
    log: Log, monkeypatch: pytest.MonkeyPatch, limit: int, bytes_max: int
) -> None:
    monkeypatch.setattr(recorded, "SCAN_SEQUENCES", 16)
    messages = make_log(3, 200)
    log.append(messages)
    for resource, thread in [("u1", None), ("u 2", "t1"), ("_", "_"), ("ü.*>", None)]:
        expected = [
            message
            for message in messages
            if (address := parse_stored(NAMESPACE, message.subject)).resource == resource
            and thread in {None, address.thread}
        ]
        assert len(expected) > 3
        meant = Meant(resource, thread, log.sequence)
        assert read(log, meant, limit=limit, bytes_max=bytes_max) == expected
        earlier = Meant(resource, thread, expected[2].sequence)
        assert read(log, earlier, limit=limit, bytes_max=bytes_max) == expected[:3]


def test_the_whole_log_has_also_what_names_no_resource(log: Log) -> None:
    define = envelope("WorkingMemoryDefined", {"scope": "resource", "template": "# A"})
    messages = [
        Recorded(1, 5, stored("memory", resource=None), orjson.dumps(define), "x"),
        Recorded(2, 4, f"{NAMESPACE}.events.0.a%2eb._.memory.bot", b"{}"),
        Recorded(3, 9, stored("memory"), b""),
    ]
    log.append(messages)
    assert read(log, Meant(None, None, 3)) == messages[:1]
    assert read(log, Meant(None, None, 3, whole_log=True)) == messages
    assert read(log, Meant("u1", None, 3)) == messages[2:]
