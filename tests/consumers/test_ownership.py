"""Who may run a data directory's engine, who uses it, and what is left when they die."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from memfold.errors import EngineInUse, InvalidId, InvalidRequest
from memfold_consumers.local_engine import local
from memfold_consumers.ownership import (
    EngineInfo,
    EngineLock,
    Lease,
    current_engine,
    engine_pid,
    engine_running,
    lingering_pid,
    live_leases,
    prepare_directory,
    read_engine_json,
    remove_engine_json,
    write_engine_json,
)
from memfold_consumers.takeover import owned

INFO = EngineInfo(
    url="nats://127.0.0.1:20000",
    pid=os.getpid(),
    server_pid=2,
    namespace="memfold",
    started_at="2026-11-21T10:00:00.000+00:00",
    version="0.1.0",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return prepare_directory(tmp_path / "deep" / "memory")


@contextmanager
def process_holding(claim: str, data: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Start a process that makes the claim and keeps it until it is killed."""
    code = (
        "import sys; from pathlib import Path; from memfold_consumers.ownership import *\n"
        f"held = {claim}(Path(sys.argv[1])).__enter__()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_new_data_directory_is_its_owners_only(data: Path) -> None:
    """Memory is personal: nobody else may even list it."""
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    """Whoever made the directory decided who may read it."""
    tmp_path.chmod(0o750)
    prepare_directory(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_only_one_takes_the_engine_lock(data: Path) -> None:
    """The second is told at once, and who has it."""
    with EngineLock(data) as first:
        assert engine_running(data)
        assert engine_pid(data) == os.getpid()
        assert not EngineLock(data).acquire()
        with pytest.raises(EngineInUse, match=str(os.getpid())), EngineLock(data):
            pass
        assert first.is_current()
    assert not engine_running(data)
    assert engine_pid(data) is None
    with EngineLock(data):
        pass


def test_the_engine_lock_is_free_when_its_process_is_killed(data: Path) -> None:
    """Kill -9 leaves nothing to clean up."""
    with process_holding("EngineLock", data) as process:
        assert engine_pid(data) == process.pid
        assert not EngineLock(data).acquire()
        process.kill()
        process.wait(timeout=10)
        with EngineLock(data):
            assert engine_pid(data) == os.getpid()


def test_lookers_never_keep_an_engine_from_its_lock(data: Path) -> None:
    """However many processes look whether an engine runs, a free lock can be taken."""
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            engine_running(data)

    with ThreadPoolExecutor(4) as pool:
        lookers = [pool.submit(look) for _ in range(4)]
        try:
            for _ in range(300):
                with EngineLock(data):
                    pass
        finally:
            done.set()
    assert [looker.result() for looker in lookers] == [None] * 4


def test_the_lock_of_a_deleted_directory_is_not_current(data: Path) -> None:
    """An engine can notice that its directory was deleted and made anew by others."""
    with EngineLock(data) as lock:
        shutil.rmtree(data)
        assert not lock.is_current()
        prepare_directory(data)
        with EngineLock(data) as other:
            assert other.is_current()
            assert not lock.is_current()


def test_engine_json_comes_back_as_written_for_its_owner_only(data: Path) -> None:
    """It is whole, private, and leaves no temporary file."""
    write_engine_json(data, replace(INFO, pid=1))
    write_engine_json(data, INFO)
    assert read_engine_json(data) == INFO
    assert stat.S_IMODE((data / "engine.json").stat().st_mode) == 0o600
    assert [path.name for path in data.glob("engine.json*")] == ["engine.json"]
    remove_engine_json(data)
    remove_engine_json(data)
    assert read_engine_json(data) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'"x"', b"\xff\xfe"])
def test_an_unreadable_engine_json_counts_as_none(data: Path, content: bytes) -> None:
    """A file of another version, or a damaged one, never stops a start."""
    (data / "engine.json").write_bytes(content)
    assert read_engine_json(data) is None


def test_an_engine_can_be_joined_only_while_it_holds_the_lock(data: Path) -> None:
    """The engine.json of a killed engine invites nobody."""
    write_engine_json(data, INFO)
    assert current_engine(data) is None
    with EngineLock(data):
        assert current_engine(data) == INFO
        write_engine_json(data, replace(INFO, pid=INFO.pid + 1))
        assert current_engine(data) is None


def test_leases_count_while_they_are_open(data: Path) -> None:
    """Each user counts once, and closing twice does nothing."""
    assert live_leases(data) == 0
    with Lease(data) as first, Lease(data):
        assert live_leases(data) == 2
        first.close()
        assert live_leases(data) == 1
    assert live_leases(data) == 0
    assert list((data / "leases").iterdir()) == []


def test_the_lease_of_a_killed_process_is_removed(data: Path) -> None:
    """A user that died keeps no engine alive."""
    with process_holding("Lease", data) as process:
        assert live_leases(data) == 1
        process.kill()
        process.wait(timeout=10)
        assert len(list((data / "leases").iterdir())) == 1
        assert live_leases(data) == 0
        assert list((data / "leases").iterdir()) == []


def test_a_fresh_lease_is_never_taken_for_a_dead_one(data: Path) -> None:
    """Until it is locked a lease looks dead; once it is had, it counts."""
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            live_leases(data)

    with ThreadPoolExecutor(4) as pool:
        counters = [pool.submit(count) for _ in range(4)]
        try:
            for _ in range(300):
                with Lease(data) as lease:
                    assert lease.path.exists()
                    assert live_leases(data) >= 1
                    assert lease.path.exists()
        finally:
            done.set()
    assert [counter.result() for counter in counters] == [None] * 4


def test_a_lease_is_renewed_after_its_directory_was_deleted(data: Path) -> None:
    """A cleaner, or a person starting over, does not cost a running user its engine."""
    with Lease(data) as lease:
        kept = lease.path
        lease.renew()
        assert lease.path == kept
        shutil.rmtree(data)
        lease.renew()
        assert live_leases(data) == 1


def test_a_missing_directory_has_no_users(tmp_path: Path) -> None:
    """Asking creates nothing."""
    assert live_leases(tmp_path / "none") == 0
    assert not engine_running(tmp_path / "none")
    assert not (tmp_path / "none").exists()


async def test_an_engine_that_runs_for_good_or_for_users_is_not_taken_over(data: Path) -> None:
    """Only one that lingers without users is asked to end."""
    with process_holding("EngineLock", data) as owner:
        with pytest.raises(EngineInUse, match=str(owner.pid)):
            async with owned(data):
                pass
        owner.kill()
    lingering = EngineLock(data, lingers=True)
    assert lingering.acquire()
    assert lingering_pid(data) == engine_pid(data) == os.getpid()
    with Lease(data), pytest.raises(EngineInUse):
        async with owned(data):
            pass
    lingering.release()
    assert lingering_pid(data) is None
    async with owned(data) as lock:
        assert lock.is_current()
    assert not engine_running(data)


@pytest.mark.parametrize("place", ["file", "file/below", "what?", "~nobody.has.this.name/x"])
def test_what_cannot_be_a_data_directory_is_refused_with_a_sentence(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    path = Path(place) if place.startswith("~") else tmp_path / place
    with pytest.raises(InvalidRequest, match=re.escape(str(path))):
        prepare_directory(path)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_directory_that_cannot_be_made_is_refused_with_its_reason() -> None:
    with pytest.raises(InvalidRequest, match=r"/proc/memfold cannot hold the data \(.+\)"):
        prepare_directory(Path("/proc/memfold"))


async def test_what_local_cannot_serve_is_refused_before_anything_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with pytest.raises(InvalidId, match=r"a namespace is .* not 'o\.x'"):
        async with local(data, actor="bot", namespace="o.x"):
            pass
    with pytest.raises(InvalidRequest, match=r"port= takes 0 .* not 80000"):
        async with local(data, actor="bot", port=80_000):
            pass
    with pytest.raises(InvalidId, match="actor"):
        async with local(data, actor=""):
            pass
    assert not data.exists()
