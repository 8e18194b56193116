"""Files of one JSON object a line that only grow: each line is on the disk before it counts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from memfold.durable import sync_directory
from memfold_consumers.flock import PRIVATE_FILE

if TYPE_CHECKING:
    from pathlib import Path

_TAIL_BYTES = 64 * 1024


def append_line(path: Path, line: bytes) -> None:
    """Add a line, and return once it is on the disk."""
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line + b"\n") != len(line) + 1:
            # The disk is full: the next line must not be joined to half of this one.
            os.ftruncate(descriptor, size)
            message = f"no room for a line in {path.name}"
            raise OSError(message)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if new:
        sync_directory(path.parent)


def repair(path: Path) -> bool:
    """Cut off a last line that a crash has torn; tell whether there was one."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        size = end = os.fstat(descriptor).st_size
        while end > 0:
            start = max(0, end - _TAIL_BYTES)
            newline = os.pread(descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end == size:
            return False
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
        return True
    finally:
        os.close(descriptor)


def last_line(path: Path) -> bytes:
    """Return the last whole line without its end; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            whole = file.read().rpartition(b"\n")[0]
    except FileNotFoundError:
        return b""
    return whole.rpartition(b"\n")[2]


def read_lines(path: Path) -> list[bytes]:
    """Return all whole lines without their ends."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
