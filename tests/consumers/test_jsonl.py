"""Lines become events: stable ids, nothing made up, and a bad line stops none of the others."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from memfold.subjects import Address
from memfold_consumers.cli.lines import windows
from memfold_consumers.formats.jsonl import LINE_BYTES_MAX, LineReader
from memfold_consumers.formats.stable import Fault, Item


def event(**changes: object) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "specversion": "1.0",
        "type": "WorkingMemoryUpdated",
        "source": "bot",
        "resourceid": "alice",
        "data": {"scope": "resource", "mode": "merge", "content": {"city": "Berlin"}},
    }
    raw.update(changes)
    return {name: value for name, value in raw.items() if value is not None}


def reader(salt: str = "c2FsdA==") -> LineReader:
    return LineReader("events.jsonl", lambda: salt)


def item(found: Item | Fault | None) -> Item:
    assert isinstance(found, Item), found
    return found


def line(raw: object) -> bytes:
    return json.dumps(raw).encode()


def test_the_envelope_names_the_address() -> None:
    found = item(reader().read(line(event())))
    assert found.event.address == Address("alice", None, "memory", "bot")
    message = {"message": {"id": "m1", "role": "user", "content": "hi"}}
    raw = event(type="MessageAppended", threadid="t 1", data=message)
    assert item(reader().read(line(raw))).event.address == Address(
        "alice", "t 1", "messages", "bot"
    )


def test_a_missing_id_is_made_from_content_and_occurrence() -> None:
    first, second = reader(), reader("b3RoZXI=")
    ids = [item(first.read(line(event()))).event.id for _ in range(2)]
    assert [item(second.read(line(event()))).event.id for _ in range(2)] == ids
    assert len(set(ids)) == 2
    spaced = json.dumps(event(), indent=None, separators=(" , ", " : ")).encode()
    assert item(reader().read(spaced)).event.id == ids[0]
    assert item(reader().read(line(event(salt="AAAA")))).event.id == ids[0]


def test_a_given_id_stays_and_a_missing_time_stays_missing() -> None:
    found = item(reader().read(line(event(id="e1"))))
    sent = json.loads(found.event.payload)
    assert (found.event.id, found.given_id, sent["salt"]) == ("e1", True, "c2FsdA==")
    assert "time" not in sent
    assert not item(reader().read(line(event()))).given_id


def test_only_the_first_line_may_begin_with_a_byte_order_mark() -> None:
    lines = reader()
    marked = b"\xef\xbb\xbf" + line(event())
    assert item(lines.read(marked)).event.id == item(reader().read(line(event()))).event.id
    assert isinstance(lines.read(marked), Fault)


def test_empty_lines_count_but_hold_nothing() -> None:
    lines = reader()
    assert lines.read(b"") is None
    assert lines.read(b" \r") is None
    assert item(lines.read(line(event()) + b"\r")).origin == "events.jsonl: line 3"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{", "not_json"),
        (b"\xff", "not_utf8"),
        (b"[1]", "invalid_envelope"),
        (b"3", "invalid_envelope"),
        (b'{"a":1,"a":2}', "duplicate_key"),
        (b'{"type":"MessageAppended","x":NaN}', "number_not_finite"),
        (b'{"type":"MessageAppended","x":18446744073709551616}', "number_out_of_range"),
        (line(event(type="Unheard")), "unknown_type"),
        (line(event(type=["WorkingMemoryUpdated"])), "unknown_type"),
        (line(event(source=None)), "invalid_envelope"),
        (line(event(resourceid="")), "invalid_id"),
        (line(event(resourceid=None)), "resource_mismatch"),
        (line(event(threadid="t")), "scope_mismatch"),
        (line(event(dataversion=99)), "unknown_version"),
        (line(event(data={"scope": "resource", "mode": "mix"})), "invalid_data"),
        (
            line(
                event(data={"scope": "resource", "mode": "merge", "content": {"a": "x" * 600_000}})
            ),
            "event_too_large",
        ),
        (b" " * (LINE_BYTES_MAX + 1) + b"x", "event_too_large"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_the_reason_of_the_gate(
    bad: bytes, reason: str
) -> None:
    lines = reader()
    lines.read(line(event()))
    found = lines.read(bad)
    assert isinstance(found, Fault)
    assert (found.origin, found.reason) == ("events.jsonl: line 2", reason)
    item(lines.read(line(event())))


async def read_windows(file: Path) -> list[list[bytes]]:
    return [window async for window in windows(file)]


async def test_windows_of_a_file_hold_all_its_lines(tmp_path: Path) -> None:
    lines = [b"%d" % number * 7 for number in range(300_000)]
    file = tmp_path / "lines"
    file.write_bytes(b"\n".join(lines))
    found = await read_windows(file)
    assert [each for window in found for each in window] == lines
    assert max(map(len, found)) <= 1000


async def test_a_line_without_end_is_cut_but_stays_too_long(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"x" * (3 * LINE_BYTES_MAX) + b"\nnext\n")
    found = [each for window in await read_windows(file) for each in window]
    assert len(found[0]) > LINE_BYTES_MAX
    assert found[1:] == [b"next"]


async def test_a_pipe_passes_each_line_on_before_the_next_is_written(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writing = asyncio.to_thread(os.open, path, os.O_WRONLY)
    opening = asyncio.ensure_future(writing)
    found = windows(path)
    first = asyncio.ensure_future(anext(found))
    descriptor = await opening
    for number in range(3):
        os.write(descriptor, b"line %d\n" % number)
        assert await asyncio.wait_for(first, 10) == [b"line %d" % number]
        first = asyncio.ensure_future(anext(found))
    os.close(descriptor)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(first, 10)
