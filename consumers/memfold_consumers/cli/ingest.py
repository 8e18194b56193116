"""``memfold ingest``: files in, events published once each, outcomes told. It can be cut anywhere.

Event ids come out the same each time, and what the engine has folded already is not sent again.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memfold.building import SALT_BYTES
from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import OK, REFUSED, UsageError
from memfold_consumers.cli.feeding import Failure, Feeder, Tally
from memfold_consumers.cli.lines import windows
from memfold_consumers.cli.options import STDIN, Options
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.formats.jsonl import BadLine, LineReader
from memfold_consumers.formats.locomo import ACTOR, Conversation, read_locomo

if TYPE_CHECKING:
    from memfold_consumers.formats.stable import Item

FILES_AT_ONCE: Final = 4
WINDOW: Final = 1000
"""Events asked about together, at most."""
FAILURES_SHOWN: Final = 100


async def ingest(options: Options, files: Sequence[Path], form: str) -> int:
    """Publish what the files hold, wait until it is folded, and say what became of it."""
    source = _Conversations(files) if form == "locomo" else _Lines(files)
    began = time.monotonic()
    tally = Tally()
    async with engine(options, actor=ACTOR) as access:
        await _feed(access, source, tally, quiet=options.json)
    summary = tally.summary(time.monotonic() - began)
    _print_failures(tally)
    if options.json:
        write_json(summary)
    else:
        _print_summary(Printer(), summary)
    return REFUSED if tally.failed else OK


class _Conversations:
    """LoCoMo files: all are read and checked before the first event is published."""

    def __init__(self, files: Sequence[Path]) -> None:
        if not files:
            message = "name the files to ingest"
            raise UsageError(message)
        resources = [file.stem for file in files]
        for name in resources:
            if resources.count(name) > 1:
                message = f"several files would become resource {name}"
                raise UsageError(message)
        self._found: list[Conversation] = []
        for file, resource in zip(files, resources, strict=True):
            content = _content(file)
            self._found.append(read_locomo(content, resource=resource, file=str(file), salts=_salt))
        self.total: int | None = sum(len(found.items) for found in self._found)

    async def feed(self, feeder: Feeder) -> None:
        """Feed each conversation in order, a few of them at once."""
        limit = asyncio.Semaphore(FILES_AT_ONCE)

        async def one(conversation: Conversation) -> None:
            async with limit:
                items = conversation.items
                for start in range(0, len(items), WINDOW):
                    await feeder.feed(items[start : start + WINDOW])

        async with asyncio.TaskGroup() as group:
            for conversation in self._found:
                group.create_task(one(conversation))


class _Lines:
    """Lines of a file or of the standard input, published in their order as they come."""

    total: int | None = None

    def __init__(self, files: Sequence[Path]) -> None:
        if len(files) != 1:
            message = "name one file of events, or - for the standard input"
            raise UsageError(message)
        self._file = None if str(files[0]) == STDIN else files[0]
        if self._file is not None and not os.access(self._file, os.R_OK):
            message = f"{self._file} cannot be read"
            raise UsageError(message)
        if self._file is not None and self._file.is_dir():
            message = f"{self._file} is a directory"
            raise UsageError(message)

    async def feed(self, feeder: Feeder) -> None:
        """Feed the events of each window of lines; a bad line stops none of its neighbours."""
        reader = LineReader("standard input" if self._file is None else str(self._file), _salt)
        async for lines in windows(self._file):
            items: list[Item] = []
            for line in lines:
                found = reader.read(line)
                if isinstance(found, BadLine):
                    feeder.tally.fail(Failure(found.origin, found.reason, found.message))
                elif found is not None:
                    items.append(found)
            await feeder.feed(items)


async def _feed(
    access: Access, source: _Conversations | _Lines, tally: Tally, *, quiet: bool
) -> None:
    began_at = await access.last_sequence()
    with _bar(source.total, quiet=quiet) as show:
        feeder = Feeder(access, tally, began_at, show)
        # Only what is folded can be told to be there already.
        await feeder.folded(began_at)
        try:
            await source.feed(feeder)
        except ExceptionGroup as group:
            # One error is enough to say why it ended.
            raise group.exceptions[0] from None
        await feeder.finish()


@contextmanager
def _bar(total: int | None, *, quiet: bool) -> Generator[Callable[[int], object]]:
    """Show a bar on a terminal; what is yielded moves it."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from memfold_consumers.cli.progress import Bar

    with Bar(total) as bar:
        yield bar.show


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise UsageError(message) from None


def _salt() -> str:
    return base64.b64encode(os.urandom(SALT_BYTES)).decode()


def _print_failures(tally: Tally) -> None:
    out = Printer(stderr=True)
    for failure in tally.failures[:FAILURES_SHOWN]:
        out.line(f"memfold: {failure.origin}: {failure.reason}: {failure.message}")
    if tally.failed > FAILURES_SHOWN:
        out.line(f"memfold: and {tally.failed - FAILURES_SHOWN} more failed")


def _print_summary(out: Printer, summary: dict[str, Any]) -> None:
    out.line(
        f"{summary['events']} events: {summary['added']} added, "
        f"{summary['already_there']} already there, {summary['failed']} failed"
    )
    out.line(
        f"{summary['messages']} messages in {summary['threads']} threads of "
        f"{summary['resources']} resources; the log is at sequence {summary['last_sequence']} "
        f"({summary['seconds']} s)"
    )
