"""Keeps the keys of sealed events: a directory of files, or what a caller brings.

Whoever has the directory and the log can read everything; whoever has the log alone reads what was
never sealed, and nothing whose key was destroyed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from memfold.durable import sync_directory
from memfold.errors import ExtraMissing, InvalidRequest, StorageError
from memfold.ids import encode_token
from memfold.sealed import KEY_BYTES, KEYID_FORM, Key, Keys

KEYID_BYTES: Final = 8
CURRENT: Final = ".key"
RETIRED: Final = ".retired"
KNOWN_MAX: Final = 10_000
"""Keys that are kept in memory."""
NAME_CHARS: Final = 64
HASH_CHARS: Final = 32
MARKER: Final = "memfold-keys"
"""A file that tells the keys' directory from the empty place where it is to be mounted."""

_FOLDER: Final = re.compile(rf"\.[0-9a-f]{{{HASH_CHARS}}}$")

N = TypeVar("N")


class KeyDirectory:
    """Keys in a directory of your own: one folder a resource, one file a key.

    For any number of threads and processes, of one machine or with a file system that knows locks.
    A file ``{id}.key`` is the current key of its resource, ``{id}.retired`` one before it. A file
    ``memfold-keys`` tells that the directory is there: one that is not mounted has no keys to tell
    of, and none is made in its place.

    Raises:
        InvalidRequest: others may enter the directory.
        StorageError: it holds keys and not that file.
        ExtraMissing: ``memfold[sealing]`` is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        _check_installed()
        self._root = Path(path)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._root.stat().st_mode & 0o077:
            message = f"others may enter the keys' directory: chmod 700 {self._root}"
            raise InvalidRequest(message)
        _mark(self._root)
        self._marker = self._root / MARKER
        self._known: dict[tuple[str, str], tuple[Path, Key]] = {}
        self._current: dict[str, tuple[Path, Key]] = {}

    def __repr__(self) -> str:
        return f"KeyDirectory({str(self._root)!r})"

    @property
    def path(self) -> Path:
        """Where the keys are."""
        return self._root

    def current(self, resource: str, /) -> Key:
        """Return the current key of a resource, made now if there is none.

        Raises:
            StorageError: its file is damaged, or the directory is not there, or is another one.
            OSError: the directory cannot be read or written.
        """
        self._check_there()
        place = self._current.get(resource)
        # Another process may have retired it meanwhile.
        if place is not None and place[0].exists():
            return place[1]
        folder = self._folder(resource)
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._root)
        with _locked(folder):
            path = next(iter(sorted(folder.glob(f"*{CURRENT}"))), None)
            if path is None:
                path = _create(folder)
            key = _read(path)
        if key is None:
            message = f"{path} holds no key: put it back from a copy of the keys"
            raise StorageError(message)
        # Nothing is sealed under a key that was made beside the others, before they were back.
        self._check_there()
        _keep(self._current, resource, (path, key))
        return key

    def find(self, resource: str, keyid: str, /) -> Key | None:
        """Return a key of a resource; None if it is not here, or no longer.

        Raises:
            StorageError: the directory is not there, or is another one.
            OSError: the directory cannot be read.
        """
        self._check_there()
        place = self._known.get((resource, keyid))
        # Another process may have destroyed it meanwhile.
        if place is not None and place[0].exists():
            return place[1]
        if not KEYID_FORM.fullmatch(keyid):
            return None
        # In this order: a key that is being retired is found under one name or the other.
        for ending in (CURRENT, RETIRED):
            path = self._folder(resource) / f"{keyid}{ending}"
            key = _read(path)
            if key is not None:
                _keep(self._known, (resource, keyid), (path, key))
                return key
        # It may have gone while it was looked into.
        self._check_there()
        self._known.pop((resource, keyid), None)
        return None

    def retire(self, resource: str, /) -> Sequence[str]:
        """Let a resource have no current key, and return the ids of all its retired ones.

        Raises:
            StorageError: the directory is not there, or is another one.
            OSError: the directory cannot be written.
        """
        folder = self._folder(resource)
        there = folder.exists()
        self._check_there()
        if not there:
            return ()
        with _locked(folder):
            for path in folder.glob(f"*{CURRENT}"):
                path.rename(path.with_suffix(RETIRED))
            sync_directory(folder)
            return sorted(path.stem for path in folder.glob(f"*{RETIRED}"))

    def retired(self, resource: str, /) -> Sequence[str]:
        """Return the ids of the retired keys of a resource, those not destroyed yet.

        Raises:
            StorageError: the directory is not there, or is another one.
            OSError: the directory cannot be read.
        """
        self._check_there()
        return sorted(path.stem for path in self._folder(resource).glob(f"*{RETIRED}"))

    def destroy(self, resource: str, keyids: Sequence[str], /) -> int:
        """Overwrite and remove keys of a resource, and return how many were still there.

        Raises:
            StorageError: the directory is not there, or is another one.
            OSError: the directory cannot be written; do it again.
        """
        folder, destroyed = self._folder(resource), 0
        there = folder.exists()
        self._check_there()
        if not there:
            return 0
        with _locked(folder):
            for keyid in keyids:
                self._known.pop((resource, keyid), None)
                for ending in (CURRENT, RETIRED):
                    path = folder / f"{keyid}{ending}"
                    if KEYID_FORM.fullmatch(keyid) and path.exists():
                        _overwrite(path)
                        path.unlink()
                        destroyed += 1
            sync_directory(folder)
        return destroyed

    def _check_there(self) -> None:
        if not self._marker.exists():
            message = f"the keys' directory {self._root} is not there, or is another one: mount it"
            raise StorageError(message)

    def _folder(self, resource: str) -> Path:
        # The hash keeps ids apart that differ in case alone or are too long for a name.
        digest = hashlib.sha256(resource.encode()).hexdigest()[:HASH_CHARS]
        return self._root / f"{encode_token(resource)[:NAME_CHARS]}.{digest}"


def open_keys(given: Path | str | Keys | None, *, data: Path | None = None) -> Keys | None:
    """Return the keys that a caller means: its own, those of a directory, or none.

    Raises:
        InvalidRequest: the directory is in the ``data`` directory, whose backups would hold the
            keys beside what they open; or others may enter it.
        ExtraMissing: ``memfold[sealing]`` is not installed.
    """
    if given is None:
        return None
    _check_installed()
    if not isinstance(given, (str, Path)):
        return given
    path = Path(given)
    if data is not None and path.resolve().is_relative_to(data.resolve()):
        message = f"{path} is in the data directory, and so in its backups: keep keys elsewhere"
        raise InvalidRequest(message)
    return KeyDirectory(path)


def _check_installed() -> None:
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        message = "sealing needs an extra: pip install 'memfold[sealing]'"
        raise ExtraMissing(message)


def _mark(root: Path) -> None:
    """Mark an empty directory as one of keys, for good; refuse another one that is not marked."""
    marker = root / MARKER
    held = any(each.is_dir() and _FOLDER.search(each.name) for each in root.iterdir())
    # In this order: another process may be marking and filling it.
    if marker.exists():
        return
    if held:
        message = (
            f"{root} holds keys and not the file {MARKER}: if these are all the keys, make that "
            "file, empty, beside them; else name the directory that has it"
        )
        raise StorageError(message)
    marker.touch(mode=0o600)
    sync_directory(root)


def _create(folder: Path) -> Path:
    """Make a key's file, whole before it has its name; under the folder's lock."""
    for left in folder.glob(".*.new"):
        left.unlink()
    name = os.urandom(KEYID_BYTES).hex()
    fresh, path = folder / f".{name}.new", folder / f"{name}{CURRENT}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{os.urandom(KEY_BYTES).hex()}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_directory(folder)
    return path


def _read(path: Path) -> Key | None:
    """Return the key of a file; None if there is none, or it was overwritten."""
    try:
        secret = bytes.fromhex(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return Key(path.stem, secret) if len(secret) == KEY_BYTES else None


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"-" * (2 * KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Be the only one, of all processes and threads, who changes a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _keep(known: dict[N, tuple[Path, Key]], name: N, place: tuple[Path, Key]) -> None:
    if len(known) >= KNOWN_MAX:
        known.clear()
    known[name] = place
