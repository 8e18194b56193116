"""``memfold ingest``: files in, events published once each, outcomes told. It can be cut anywhere.

Event ids come out the same each time, and what the engine has folded already is not sent again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import OK, REFUSED, UsageError
from memfold_consumers.cli.feeding import Feeder, Tally
from memfold_consumers.cli.options import Options
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.cli.sources import Counting, Exports, Lines, LocomoFiles, Origin
from memfold_consumers.formats.stable import ACTOR

FAILURES_SHOWN: Final = 100

SKIPPED: Final = {
    "duplicate_id": "said before under the same id in the same file",
    "empty": "nothing in it",
    "fields_too_large": "fields beside a message or thread that do not fit its metadata",
    "older": "a newer export was ingested before",
    "other_branch": "on a branch that the conversation has left",
    "other_resource": "of another resource",
    "thread_gone": "of a thread that was deleted since",
}
"""Why parts of an input are left out on purpose."""


async def ingest(
    options: Options,
    files: Sequence[Path],
    form: str,
    *,
    resource: str | None = None,
    thread: str | None = None,
    dry_run: bool = False,
) -> int:
    """Publish what the files hold, wait until it is folded, and say what became of it."""
    origin = _origin(files, form, resource, thread)
    began = time.monotonic()
    tally = Tally()
    if dry_run:
        with _telling_one_error():
            await origin.feed(Counting(tally))
    else:
        async with engine(options, actor=ACTOR) as access:
            await _feed(access, origin, tally, quiet=options.json)
    summary = tally.summary(time.monotonic() - began)
    if isinstance(origin, Exports):
        summary["skipped"] = dict(sorted(tally.skipped.items()))
    if dry_run:
        summary["dry_run"] = True
    _print_failures(tally)
    if options.json:
        write_json(summary)
    else:
        _print_summary(Printer(), summary)
    return REFUSED if tally.failed else OK


def _origin(files: Sequence[Path], form: str, resource: str | None, thread: str | None) -> Origin:
    if form not in ("locomo", "jsonl"):
        return Exports(form, files, resource, thread)
    for option, value in (("--resource", resource), ("--thread", thread)):
        if value is not None:
            message = f"{option} does not go with {form}: its files name theirs"
            raise UsageError(message)
    return LocomoFiles(files) if form == "locomo" else Lines(files)


async def _feed(access: Access, origin: Origin, tally: Tally, *, quiet: bool) -> None:
    began_at = await access.last_sequence()
    with _bar(origin, quiet=quiet) as show:
        feeder = Feeder(access, tally, began_at, show)
        # Only what is folded can be told to be there already.
        await feeder.folded(began_at)
        with _telling_one_error():
            await origin.feed(feeder)
        await feeder.finish()


@contextmanager
def _telling_one_error() -> Generator[None]:
    """Raise the first of several errors: one is enough to say why it ended."""
    try:
        yield
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


@contextmanager
def _bar(origin: Origin, *, quiet: bool) -> Generator[Callable[[int], object]]:
    """Show a bar on a terminal; what is yielded moves it."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from memfold_consumers.cli.progress import Bar

    with Bar(origin.total) as bar:
        yield lambda done: bar.show(done, origin.share())


def _print_failures(tally: Tally) -> None:
    out = Printer(stderr=True)
    for failure in tally.failures[:FAILURES_SHOWN]:
        out.line(f"memfold: {failure.origin}: {failure.reason}: {failure.message}")
    if tally.failed > FAILURES_SHOWN:
        out.line(f"memfold: and {tally.failed - FAILURES_SHOWN} more failed")
    for reason, count in sorted(tally.skipped.items()):
        out.line(f"memfold: skipped {count}: {reason}: {SKIPPED[reason]}")


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
