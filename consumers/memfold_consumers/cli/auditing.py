"""The commands that explain a document and restore it: its log, blame, diff, revert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from memfold.accounts import Accounts, DocumentName
from memfold.arguments import Moment
from memfold.audit.reads import (
    Blame,
    ChangeEvent,
    Diff,
    DiffEntry,
    DocumentChange,
    SourceMessage,
    Touched,
)
from memfold.canonical import from_us, to_us
from memfold.receipts import NO_CHANGE, Receipt
from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import OK
from memfold_consumers.cli.filters import moment
from memfold_consumers.cli.options import Options
from memfold_consumers.cli.output import (
    REDACTED,
    Printer,
    compact,
    flush,
    note_redacted,
    part,
    write_json,
)
from memfold_consumers.cli.reading import ACTOR, check, check_known, pages

if TYPE_CHECKING:
    from memfold.working_memory import WorkingMemory

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_SINCE = {
    "unchanged": "",
    "changed": " [changed since]",
    "deleted": " [deleted]",
    "appended": " [appended later]",
    "erased": " [erased]",
    "unknown": " [no such message]",
}


@dataclass(frozen=True, slots=True)
class Question:
    """Which document is meant, and which part of it."""

    resource: str
    thread: str | None
    path: str | None
    details: bool = False

    @property
    def document(self) -> DocumentName:
        """The document as queries name it."""
        return "metadata" if self.details else "working_memory"

    def name(self) -> str:
        """Return the document's name for people."""
        return self.resource if self.thread is None else f"{self.resource}, thread {self.thread}"


async def history(options: Options, asked: Question, since: str | None, until: str | None) -> int:
    """Print each change of a document with what it changed, as their pages come."""
    check(asked.resource, asked.thread)
    start = _moment("--since", since)
    arguments = {"document": asked.document, **moment("--until", until)}
    if asked.thread is not None:
        arguments["thread"] = asked.thread
    if asked.path is not None:
        arguments["path"] = asked.path
    number = 0
    async with engine(options, actor=ACTOR) as access:
        out = None if options.json else Printer()
        async for page, sequence, redacted in pages(
            access, "document_history", "changes", asked.resource, arguments
        ):
            if redacted and number == 0:
                note_redacted()
            for change in map(DocumentChange.from_json, page):
                at = change.sequence if isinstance(start, int) else change.time
                if start is not None and at <= start:  # type: ignore[operator]  # both are one kind
                    continue
                if out is None:
                    write_json(change.to_json())
                else:
                    _print_change(out, change)
            flush()
            number += len(page)
            if number == 0:
                await check_known(access, asked.resource, asked.thread, sequence)
    return OK


async def blame(options: Options, asked: Question, as_of: str | None) -> int:
    """Print each part of a document with the event that set it and the messages behind it."""
    check(asked.resource, asked.thread)
    at = _moment("--as-of", as_of)
    async with engine(options, actor=ACTOR) as access:
        accounts = await _accounts(access, asked)
        found: Blame = await access.patiently(
            lambda: accounts.blame(path=asked.path, as_of=at, fresh=True)
        )
        if not found.entries:
            await check_known(access, asked.resource, asked.thread)
    if options.json:
        write_json({"resource": asked.resource, "thread": asked.thread, **found.to_json()})
        return OK
    out = Printer()
    out.heading(f"{asked.name()}: {found.format or 'none'}, as of sequence {found.sequence}")
    if found.redacted:
        out.line(REDACTED)
    last: ChangeEvent | None = None
    for number, entry in enumerate(found.entries):
        if number == 0 or entry.event != last:
            _print_event(out, entry.event)
        last = entry.event
        place = entry.path if entry.line is None else f"{entry.line:>4}"
        out.line(f"  {place}  {part(entry.value, entry.line)}")
    return OK


async def diff(options: Options, asked: Question, start: str, end: str | None) -> int:
    """Print what differs in a document between two moments: before, after, who."""
    check(asked.resource, asked.thread)
    first, until = _moment("START", start), _moment("END", end)
    assert first is not None, "it was given"
    async with engine(options, actor=ACTOR) as access:
        accounts = await _accounts(access, asked)
        found: Diff = await access.patiently(
            lambda: accounts.diff(first, until, path=asked.path, fresh=True)
        )
        if not found.entries:
            await check_known(access, asked.resource, asked.thread)
    if options.json:
        write_json({"resource": asked.resource, "thread": asked.thread, **found.to_json()})
        return OK
    out = Printer()
    out.heading(f"{asked.name()}: from sequence {found.start} to {found.sequence}")
    if found.redacted:
        out.line(REDACTED)
    last: ChangeEvent | None = None
    for number, entry in enumerate(found.entries):
        if number == 0 or entry.event != last:
            _print_event(out, entry.event)
        last = entry.event
        _print_difference(out, entry)
    return OK


async def revert(options: Options, asked: Question, to: str, reason: str) -> int:
    """Publish the event that restores a memory or a part of it, and wait for what it does."""
    check(asked.resource, asked.thread)
    at = _moment("TO", to)
    assert at is not None, "it was given"
    async with engine(options, actor=ACTOR) as access:
        await _accounts(access, asked)
        await check_known(access, asked.resource, asked.thread)
        receipt = await _memory(access, asked).revert(at, path=asked.path, reason=reason)
        sequence: int | None = None
        outcome = NO_CHANGE
        if isinstance(receipt, Receipt):
            sequence, outcome = receipt.sequence, await receipt.applied()
    if options.json:
        write_json(
            {
                "resource": asked.resource,
                "thread": asked.thread,
                "outcome": outcome,
                "sequence": sequence,
                "to": to,
                "path": asked.path,
            }
        )
        return OK
    where = asked.name() if asked.path is None else f"{asked.name()}, {asked.path}"
    if sequence is None:
        Printer().line(f"{where}: nothing differs from {to}, nothing was published")
    else:
        Printer().line(f"{where}: as at {to} again, by sequence {sequence} ({outcome})")
    return OK


def _moment(option: str, text: str | None) -> Moment | None:
    found = moment(option, text).get("as_of")
    return datetime.fromisoformat(found) if isinstance(found, str) else found


async def _accounts(access: Access, asked: Question) -> Accounts:
    """Return the questions about the document, answered as of all that the log holds now."""
    queries = access.client.queries
    queries.sightings.note(asked.resource, await access.last_sequence())
    return Accounts(queries, asked.resource, asked.thread, asked.document)


def _memory(access: Access, asked: Question) -> WorkingMemory:
    from memfold.working_memory import WorkingMemory

    return WorkingMemory(access.client, asked.resource, asked.thread)


def _print_change(out: Printer, change: DocumentChange) -> None:
    _print_head(out, change)
    for source in change.evidence:
        out.line(f"  because of {source['thread']} {source['message']}", "dim")
    if change.definition is not None:
        out.line(f"  {compact(change.definition)}")
    for each in change.changes:
        _print_difference(out, each)


def _print_difference(out: Printer, entry: DiffEntry | Touched) -> None:
    sign, style = _SIGNS[entry.kind]
    place = f"{entry.path}: " if entry.line is None else f"{entry.line:>4}  "
    before, after = part(entry.before, entry.line), part(entry.after, entry.line)
    if entry.kind == "changed":
        out.line(f"  {sign} {place}{before} -> {after}", style)
    else:
        out.line(f"  {sign} {place}{before if entry.kind == 'removed' else after}", style)


def _print_head(out: Printer, event: ChangeEvent | DocumentChange) -> None:
    why = "" if event.reason is None else f": {event.reason}"
    reverts = "" if event.reverts is None else f", reverts to {event.reverts['sequence']}"
    head = f"{event.sequence}.{event.index} {from_us(to_us(event.time))} {event.actor}"
    out.line(f"{head} {event.type}{reverts}{why}", "cyan")


def _print_event(out: Printer, event: ChangeEvent | None) -> None:
    """Print the event above the parts that it is behind: neighbours have it once."""
    if event is None:
        out.line("by an event that is not there any more", "cyan")
        return
    _print_head(out, event)
    for source in event.evidence:
        _print_source(out, source, "because of")
    if event.more_evidence:
        out.line(f"  and {event.more_evidence} more messages", "dim")
    if event.cause is not None and event.cause not in event.evidence:
        _print_source(out, event.cause, "caused by")


def _print_source(out: Printer, source: SourceMessage, how: str) -> None:
    more = "..." if source.cut else ""
    who = "" if source.role is None else f" {source.role} ({source.actor})"
    text = "" if source.text is None else f": {source.text}{more}"
    named = f"{source.thread} {source.message}"
    out.line(f"  {how} {named}{who}{_SINCE[source.since]}{text}", "dim")
