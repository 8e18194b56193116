"""Files of lines: what a crash has torn is cut off, whole lines stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from memfold_consumers.incidents import Incidents
from memfold_consumers.line_files import append_line, last_line, read_lines, repair


@pytest.mark.parametrize("torn", [b"", b"x", b"y" * 200_000])
@pytest.mark.parametrize("whole", [b"", b"one\n", b"one\n" + b"z" * 150_000 + b"\n"])
def test_only_a_torn_last_line_is_cut_off(tmp_path: Path, whole: bytes, torn: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(whole + torn)
    assert repair(path) is bool(torn)
    assert path.read_bytes() == whole
    append_line(path, b"two")
    assert path.read_bytes() == whole + b"two\n"
    assert last_line(path) == b"two"
    assert read_lines(path) == [*whole.split(b"\n")[:-1], b"two"]


def test_a_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert (repair(path), last_line(path), read_lines(path)) == (False, b"", [])


def test_incidents_are_told_until_they_were_acknowledged(tmp_path: Path) -> None:
    incidents = Incidents(tmp_path)
    assert incidents.read() == []
    incidents.acknowledge()
    assert not (tmp_path / "incidents.ndjson").exists()
    incidents.record("log_rolled_back", "log.duckdb", "it is older")
    incidents.acknowledge()
    incidents.record("head_differs", "heads.ndjson", "another root")
    append_line(tmp_path / "incidents.ndjson", b"rubbish")
    assert incidents.seen() == 0
    found = Incidents(tmp_path).read()
    assert [(each["kind"], each["acknowledged"]) for each in found] == [
        ("log_rolled_back", True),
        ("head_differs", False),
        ("incident_unreadable", False),
    ]
    incidents.acknowledge(7)
    size = (tmp_path / "incidents.ndjson").stat().st_size
    incidents.acknowledge(7)
    assert (tmp_path / "incidents.ndjson").stat().st_size == size
    assert incidents.seen() == 7
