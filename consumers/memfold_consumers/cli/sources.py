"""What an ingest feeds: the events of files, format by format, in windows, as they are read."""

from __future__ import annotations

import asyncio
import base64
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from memfold.building import SALT_BYTES
from memfold_consumers.cli.errors import UsageError
from memfold_consumers.cli.feeding import Feeder, Tally, Wanted
from memfold_consumers.cli.lines import windows
from memfold_consumers.cli.older import Newest
from memfold_consumers.cli.options import STDIN
from memfold_consumers.formats.conversations import Conversation, Found, Skipped
from memfold_consumers.formats.exports import Asked
from memfold_consumers.formats.jsonl import LineReader
from memfold_consumers.formats.locomo import Conversation as Locomo
from memfold_consumers.formats.locomo import read_locomo
from memfold_consumers.formats.readers import FORMATS
from memfold_consumers.formats.stable import Fault, InvalidInput, Item
from memfold_consumers.formats.values import Bytes

if TYPE_CHECKING:
    from io import BufferedReader

AT_ONCE: Final = 8
"""Conversations of one file that are published at once: each waits for the disk by itself."""
FILES_AT_ONCE: Final = 4
WINDOW: Final = 1000
"""Events asked about together, at most."""

_PACKED: Final = {b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "compressed"}


class Counting:
    """Feeds nothing and counts: what an ingest would find in its input."""

    began_at = 0

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def keyed(self, items: Sequence[Item]) -> list[Item]:
        """Return events as they are: nothing is published."""
        return list(items)

    async def feed(
        self, items: Sequence[Item], wanted: Wanted | None = None, *, min_sequence: int = 0
    ) -> None:
        """Count these events."""
        del wanted, min_sequence
        for item in items:
            self.tally.count(item)


Taker = Feeder | Counting


class Origin(ABC):
    """Where the events come from; ``total`` is how many there are, if that is known before."""

    total: int | None = None

    @abstractmethod
    async def feed(self, taker: Taker) -> None:
        """Feed all there is."""

    def share(self) -> float | None:
        """Return how much of the input was read so far, of 1; None if that says nothing."""
        return None


class LocomoFiles(Origin):
    """LoCoMo files: all are read and checked before the first event is published."""

    def __init__(self, files: Sequence[Path]) -> None:
        _require(files)
        resources = [file.stem for file in files]
        for name in resources:
            if resources.count(name) > 1:
                message = f"several files would become resource {name}"
                raise UsageError(message)
        self._found: list[Locomo] = []
        for file, resource in zip(files, resources, strict=True):
            with _opened(file) as stream:
                content = stream.read()
            self._found.append(read_locomo(content, resource=resource, file=str(file), salts=_salt))
        self.total = sum(len(found.items) for found in self._found)

    async def feed(self, taker: Taker) -> None:
        """Feed each conversation in order, a few of them at once."""
        limit = asyncio.Semaphore(FILES_AT_ONCE)

        async def one(conversation: Locomo) -> None:
            async with limit:
                for items in _windows(taker.keyed(conversation.items)):
                    await taker.feed(items)

        async with asyncio.TaskGroup() as group:
            for conversation in self._found:
                group.create_task(one(conversation))


class Lines(Origin):
    """Lines of a file or of the standard input, published in their order as they come."""

    def __init__(self, files: Sequence[Path]) -> None:
        if len(files) != 1:
            message = "name one file of events, or - for the standard input"
            raise UsageError(message)
        self._file = None if str(files[0]) == STDIN else files[0]
        if self._file is not None:
            _opened(self._file).close()

    async def feed(self, taker: Taker) -> None:
        """Feed the events of each window of lines; a bad line stops none of its neighbours."""
        reader = LineReader("standard input" if self._file is None else str(self._file), _salt)
        async for lines in windows(self._file):
            items: list[Item] = []
            for line in lines:
                found = reader.read(line)
                if isinstance(found, Fault):
                    taker.tally.fail(found)
                elif found is not None:
                    items.append(found)
            await taker.feed(taker.keyed(items))


class Exports(Origin):
    """Exported conversations, published as they are read, file by file.

    No more than a few conversations are in memory. Two of one thread are never published at once.
    """

    def __init__(
        self, form: str, files: Sequence[Path], resource: str | None, thread: str | None
    ) -> None:
        _require(files)
        if resource is None and not FORMATS[form].names_resource:
            message = f"--resource ID is needed: files of {form} do not say whose they are"
            raise UsageError(message)
        if thread is not None and FORMATS[form].names_resource:
            message = f"--thread does not go with {form}: its files name their threads"
            raise UsageError(message)
        for file in files:
            _opened(file).close()
        self._form = FORMATS[form]
        self._files = files
        self._asked = (resource, thread)
        self._sizes = {file: file.stat().st_size for file in files}
        self._done = 0
        self._now: Bytes | None = None

    async def feed(self, taker: Taker) -> None:
        """Feed the conversations; what does not fit in one stops none of its neighbours."""
        for file in self._files:
            with _opened(file) as stream:
                self._now = Bytes(stream)
                await self._feed_file(taker, file, self._now)
            self._done += self._sizes[file]
            self._now = None

    def share(self) -> float | None:
        """Return how much of the files was read."""
        size = sum(self._sizes.values())
        return (self._done + (self._now.taken if self._now else 0)) / size if size else None

    async def _feed_file(self, taker: Taker, file: Path, stream: Bytes) -> None:
        for start, what in _PACKED.items():
            if stream.begins(start):
                message = f"{file}: {what}: unpack it, and name the file of conversations in it"
                raise InvalidInput(message)
        resource, thread = self._asked
        reader = self._form.reader(Asked(str(file), _salt, resource, thread))
        limit = asyncio.Semaphore(AT_ONCE)
        busy: dict[tuple[str, str | None], asyncio.Task[None]] = {}

        async def one(conversation: Conversation, before: asyncio.Task[None] | None) -> None:
            try:
                if before is not None:
                    await before
                await _feed_conversation(taker, conversation)
            finally:
                limit.release()

        async with (
            _in_thread(reader.read(stream), stream) as iterator,
            asyncio.TaskGroup() as group,
        ):
            while (found := await iterator.next()) is not None:
                if isinstance(found, Fault):
                    taker.tally.fail(found)
                elif isinstance(found, Skipped):
                    taker.tally.skipped[found.reason] += found.count
                else:
                    await limit.acquire()
                    key = (found.resource, found.thread)
                    busy = {each: task for each, task in busy.items() if not task.done()}
                    busy[key] = group.create_task(one(found, busy.get(key)))


async def _feed_conversation(taker: Taker, conversation: Conversation) -> None:
    conversation = replace(conversation, items=tuple(taker.keyed(conversation.items)))
    key = (conversation.resource, conversation.thread or "")
    # A thread that this input had before: what was published then must be known by now.
    seen = key in taker.tally.threads
    min_sequence = taker.tally.last_sequence if seen else 0
    wanted = Newest(taker, conversation, min_sequence) if isinstance(taker, Feeder) else None
    for items in _windows(conversation.items):
        await taker.feed(items, wanted, min_sequence=min_sequence)


class _Next(Protocol):
    async def next(self) -> Found | None: ...


@asynccontextmanager
async def _in_thread(iterator: Iterator[Found], stream: Bytes) -> AsyncGenerator[_Next, None]:
    """Read in a thread of its own: a large file takes its time, and connections must be kept."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "reading") as executor:

        class Reading:
            async def next(self) -> Found | None:
                return await loop.run_in_executor(executor, next, iterator, None)

        try:
            yield Reading()
        finally:
            stream.stop()
            # What it has opened belongs to that thread. It ends soon: there is nothing to read.
            executor.submit(_close, iterator)


def _close(iterator: Iterator[Found]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def _windows(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), WINDOW):
        yield items[start : start + WINDOW]


def _require(files: Sequence[Path]) -> None:
    if not files:
        message = "name the files to ingest"
        raise UsageError(message)


def _opened(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise UsageError(message) from None


def _salt() -> str:
    return base64.b64encode(os.urandom(SALT_BYTES)).decode()
