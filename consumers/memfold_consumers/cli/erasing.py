"""``memfold erase``: says what would be erased, and erases it with ``--yes``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from memfold.erasing import Eraser, ErasureReport
from memfold.erasure_search import owner_of
from memfold_consumers.cli.access import engine
from memfold_consumers.cli.errors import NOT_FOUND, OK, UsageError
from memfold_consumers.cli.jobs import Shown
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.cli.reading import ACTOR

if TYPE_CHECKING:
    from memfold_consumers.cli.options import Options

_POSITION: Final = re.compile(r"([1-9][0-9]{0,17})(?:\.([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be erased."""

    kind: str
    resource: str | None
    thread: str | None
    message: str | None = None
    position: tuple[int, int] | None = None


def target(
    resource: str | None, thread: str | None, message: str | None, event: str | None
) -> Target:
    """Return the target that the arguments name.

    Raises:
        UsageError: they name none, or two.
    """
    if event is not None:
        if message is not None:
            text = "erase a message or an event, not both at once"
            raise UsageError(text)
        return Target("event", resource, thread, position=position(event))
    if resource is None:
        text = "name the resource, or an event by its position"
        raise UsageError(text)
    if message is not None:
        if thread is None:
            text = "name the thread of the message: --thread"
            raise UsageError(text)
        return Target("message", resource, thread, message)
    return Target("resource" if thread is None else "thread", resource, thread)


def position(text: str) -> tuple[int, int]:
    """Return the position that ``SEQUENCE`` or ``SEQUENCE.INDEX`` means.

    Raises:
        UsageError: it means none.
    """
    match = _POSITION.fullmatch(text)
    if match is None:
        message = f"a position looks like 120 or 120.3, not {text[:40]!r}"
        raise UsageError(message)
    return int(match[1]), int(match[2] or 0)


async def erase(options: Options, asked: Target, reason: str | None, *, yes: bool) -> int:
    """Erase, or say what would be erased."""
    async with engine(options, actor=ACTOR) as access:
        with Shown() as shown:
            resource, thread = asked.resource, asked.thread
            if resource is None and asked.position is not None:
                resource, thread = await owner_of(access.client, asked.position[0])
            eraser = Eraser(
                access.client,
                resource,
                thread,
                asked.kind,
                message=asked.message,
                position=asked.position,
                progress=lambda phase, done, total: shown.show(
                    {"phase": phase, "done": done, "total": total}
                ),
            )
            report = await eraser.run(reason=reason, dry_run=not yes)
    if options.json:
        write_json(report.to_json())
    else:
        _show(report)
    return OK if report.messages or not report.dry_run else NOT_FOUND


def _show(report: ErasureReport) -> None:
    whose = " ".join(each for each in (report.resource, report.thread) if each is not None)
    verb = "would be erased" if report.dry_run else "erased"
    printer = Printer()
    printer.heading(f"{report.target} {whose}: {report.events} events {verb}")
    rows: list[tuple[str, str, object]] = [
        ("event stream", "messages", report.messages),
        ("event stream", "events beside them, said again", report.restated),
    ]
    if not report.dry_run:
        rows.append(("blob stream", "chunks of attachments", report.chunks))
        if report.keys:
            rows.append(("keys", "of the resource, destroyed", report.keys))
        rows.extend(
            (f"engine {name}", f"{what.replace('_', ' ')}, files written anew", count)
            for name, stores in report.engines.items()
            for what, count in stores.items()
        )
    printer.table(("where", "what", "#number"), rows)
    for sentence in report.remains:
        printer.line(f"not reached: {sentence}")
    if report.dry_run:
        Printer(stderr=True).line("nothing was erased: add --yes to do it")
