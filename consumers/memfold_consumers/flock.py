"""File locks that end with their process: the four calls on which every claim here is built."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

PRIVATE_FILE = 0o600
# Lookers hold their shared lock for microseconds, so half a second of tries is plenty.
LOOKER_TRIES_MAX = 500
LOOKER_PAUSE_S = 0.001


def open_lock_file(path: Path) -> int:
    """Open a lock file, created for its owner only; children do not inherit the descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock without waiting, or return False when a lock of someone else is in the way."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_despite_lookers(descriptor: int) -> bool:
    """Lock exclusively, or return False when another process has an exclusive lock.

    A shared lock in the way is that of a process that only looks (``is_locked``): soon gone.
    """
    for _ in range(LOOKER_TRIES_MAX):
        if try_lock(descriptor):
            return True
        if not try_lock(descriptor, shared=True):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(LOOKER_PAUSE_S)
    return False


def is_locked(path: Path) -> bool:
    """Tell whether some process, perhaps this one, holds an exclusive lock on the file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that lookers never take one another for a holder.
        return not try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def unlock_and_close(descriptor: int) -> None:
    """Give a lock up, even if a forked child still has a copy of the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the open file is still the one at the path: neither deleted nor replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
