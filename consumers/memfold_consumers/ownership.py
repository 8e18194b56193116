"""The rules of a data directory: who may run its engine, who uses it, where the engine is reached.

Every claim is a ``flock``, because the kernel drops it with its process: after kill -9 nothing has
to be cleaned up, and no process id has to be guessed alive. Knows neither NATS nor DuckDB, and
imports little: of many processes started at once all but one only come to lose the lock.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from memfold.errors import EngineInUse, InvalidRequest, StorageError
from memfold_consumers.flock import (
    PRIVATE_FILE,
    is_at,
    is_locked,
    lock_despite_lookers,
    open_lock_file,
    try_lock,
    unlock_and_close,
)

PRIVATE_DIRECTORY = 0o700
LINGERS = "lingers"
"""What the lock's file says behind the process id of a background engine."""
LEASE_TRIES_MAX = 100
LOG_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What ``engine.json`` says of the running engine; ``started_at`` is ISO 8601 in UTC."""

    url: str
    pid: int
    server_pid: int
    namespace: str
    started_at: str
    version: str


def prepare_directory(data: Path) -> Path:
    """Create the data directory for its owner only, where it is missing, and return it absolute.

    A directory that exists keeps its mode: whoever made it has decided who may read it. Raises
    ``InvalidRequest`` where there cannot be one.
    """
    try:
        directory = data.expanduser().absolute()
        if "?" in str(directory):
            # DuckDB would look for its write-ahead log in front of the mark.
            raise InvalidRequest(f"a path with a ? cannot hold the data: {directory}")
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
        (directory / "leases").mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidRequest(f"{data} is no directory: give another for the data") from None
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(f"{data} cannot hold the data ({why}): give another") from error
    return directory


def log_tail(path: Path, lines_max: int = 15) -> str:
    """Return the last lines of a log file, or an empty string when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL_BYTES))
            text = file.read(LOG_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines_max:])


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader or a crash sees all of the old or all of the new content."""
    fresh = path.with_name(f"{path.name}.tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class EngineLock:
    """The exclusive right to run the engine of a data directory.

    As a context manager it raises ``EngineInUse`` when another process has it. ``lingers`` tells
    others that the engine ends by itself after its last user. The file is never
    unlinked: a second process could then lock a new file beside the first one's.
    """

    def __init__(self, data: Path, *, lingers: bool = False) -> None:
        self.path = data / "engine.lock"
        self._lingers = lingers
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock, or return False at once when another process has it."""
        descriptor = open_lock_file(self.path)
        if not (lock_despite_lookers(descriptor) and is_at(descriptor, self.path)):
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        content = f"{os.getpid()}\n{LINGERS if self._lingers else ''}"
        os.pwrite(descriptor, content.encode(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock up; nothing happens when it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            unlock_and_close(self._descriptor)
            self._descriptor = None

    def is_current(self) -> bool:
        """Tell whether the lock is held and still the directory's: not one that was deleted."""
        return self._descriptor is not None and is_at(self._descriptor, self.path)

    def __enter__(self) -> Self:
        if not self.acquire():
            owner = engine_pid(self.path.parent)
            raise EngineInUse(f"process {owner} runs the engine of {self.path.parent}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def engine_running(data: Path) -> bool:
    """Tell whether some process, perhaps this one, holds the engine's lock."""
    return is_locked(data / "engine.lock")


def engine_pid(data: Path) -> int | None:
    """Return the process id of the engine that holds the lock, or None when none does."""
    if not engine_running(data):
        return None
    return _owner(data)[0]


def lingering_pid(data: Path) -> int | None:
    """Return the process id of the engine if it is one that ends by itself after its last user."""
    pid, mark = _owner(data)
    return pid if mark == LINGERS and engine_running(data) else None


def _owner(data: Path) -> tuple[int | None, str]:
    try:
        pid, _, mark = (data / "engine.lock").read_text().partition("\n")
        return int(pid), mark
    except (OSError, ValueError):
        return None, ""  # Taken this instant and not yet written.


def write_engine_json(data: Path, info: EngineInfo) -> None:
    """Say where the engine is reached; only the holder of the engine's lock may."""
    write_atomically(data / "engine.json", json.dumps(asdict(info), indent=2).encode() + b"\n")


def read_engine_json(data: Path) -> EngineInfo | None:
    """Return what the last owner wrote, or None when there is nothing readable."""
    try:
        found = json.loads((data / "engine.json").read_bytes())
        return EngineInfo(**{field.name: found[field.name] for field in fields(EngineInfo)})
    except (OSError, ValueError, LookupError, TypeError):
        return None


def remove_engine_json(data: Path) -> None:
    """Withdraw the invitation to join; only the holder of the engine's lock may."""
    (data / "engine.json").unlink(missing_ok=True)


def current_engine(data: Path) -> EngineInfo | None:
    """Return the engine that can be joined now: it holds the lock and has written engine.json."""
    info = read_engine_json(data)
    return info if info is not None and info.pid == engine_pid(data) else None


class Lease:
    """A user's claim that the engine stays; it lasts until ``close()`` or the process's end.

    A process forked from the holder shares the claim: one closes it for both, or both end.
    """

    def __init__(self, data: Path) -> None:
        self._directory = prepare_directory(data) / "leases"
        self.path, self._descriptor = _new_lease(self._directory)

    def renew(self) -> None:
        """Claim anew if the file was deleted, by a cleaner or with the whole directory."""
        if not is_at(self._descriptor, self.path):
            prepare_directory(self._directory.parent)
            unlock_and_close(self._descriptor)
            self.path, self._descriptor = _new_lease(self._directory)

    def close(self) -> None:
        """End the claim; closing twice does nothing."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            unlock_and_close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def live_leases(data: Path) -> int:
    """Count the leases that some process holds, and remove those of processes that are gone."""
    try:
        found = sorted((data / "leases").glob("*.lock"))
    except FileNotFoundError:
        return 0
    return sum(_is_live(path) for path in found)


def _is_live(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # Another user's: it cannot be told, and an engine in use must not end.
    try:
        if not try_lock(descriptor):
            return True
        # Unlinked under its lock: a creator that was about to lock it sees that and begins again.
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)


def _new_lease(directory: Path) -> tuple[Path, int]:
    """Create and lock a lease that no concurrent ``live_leases`` can take for a dead one."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    for _ in range(LEASE_TRIES_MAX):
        path = directory / f"{os.getpid()}-{secrets.token_hex(6)}.lock"
        descriptor = os.open(path, flags, PRIVATE_FILE)
        # Until it is locked it looks dead and may be removed: it counts only if it is still there.
        if try_lock(descriptor) and is_at(descriptor, path):
            return path, descriptor
        os.close(descriptor)
    raise StorageError(f"no lease could be taken in {directory}")
