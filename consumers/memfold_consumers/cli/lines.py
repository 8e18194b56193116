"""The lines of a file or a pipe, in windows, as they come.

What a pipe has brought is passed on at once: whoever writes slowly sees each event go out.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from memfold_consumers.formats.jsonl import LINE_BYTES_MAX

WINDOW: Final = 1000
"""Lines in one window, at most."""
FILE_BYTES: Final = 1 << 20
PIPE_BYTES: Final = 1 << 16
CHUNKS_AHEAD: Final = 4


async def windows(file: Path | None) -> AsyncIterator[list[bytes]]:
    """Yield lists of lines without their ends; None is the standard input.

    A line longer than ``LINE_BYTES_MAX`` comes cut, but still longer than that.

    Raises:
        OSError: the file cannot be read.
    """
    rest = b""
    async for chunk in _chunks(file):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[: LINE_BYTES_MAX + 1]
        for start in range(0, len(lines), WINDOW):
            yield lines[start : start + WINDOW]
    if rest:
        yield [rest]


async def _chunks(file: Path | None) -> AsyncIterator[bytes]:
    descriptor = 0 if file is None else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            while chunk := os.read(descriptor, FILE_BYTES):
                yield chunk
            return
        queue: asyncio.Queue[bytes | OSError] = asyncio.Queue(CHUNKS_AHEAD)
        # A daemon, because nothing can wake a read from a pipe that nobody closes.
        threading.Thread(
            target=_read, args=(descriptor, queue, asyncio.get_running_loop()), daemon=True
        ).start()
        while chunk := await _next(queue):
            yield chunk
    finally:
        if file is not None:
            os.close(descriptor)


async def _next(queue: asyncio.Queue[bytes | OSError]) -> bytes:
    found = await queue.get()
    if isinstance(found, OSError):
        raise found
    return found


def _read(
    descriptor: int,
    queue: asyncio.Queue[bytes | OSError],
    loop: asyncio.AbstractEventLoop,
) -> None:
    found: bytes | OSError = b"more"
    while found and not isinstance(found, OSError):
        try:
            found = os.read(descriptor, PIPE_BYTES)
        except OSError as error:
            found = error
        if loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(queue.put(found), loop).result()
