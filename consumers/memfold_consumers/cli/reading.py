"""The reading commands: one question each, answered as of all that the log held when asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from memfold.errors import NotFound
from memfold.ids import check_id
from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import DIVERGED, OK, report
from memfold_consumers.cli.filters import MessageFilters, ThreadFilters, moment
from memfold_consumers.cli.options import Options
from memfold_consumers.cli.output import (
    REDACTED,
    Printer,
    compact,
    flush,
    note_redacted,
    write_json,
)
from memfold_consumers.cli.showing import Answer, flat, print_change, print_memory, print_messages

ACTOR: Final = "memfold-cli"
PAGE: Final = 1000
_AS_OF: Final = frozenset({"messages", "threads"})
"""Lists whose later pages are asked for as of the first one."""
_CHANGE_FIELDS: Final = (
    "sequence",
    "index",
    "time",
    "actor",
    "type",
    "causation",
    "data",
    "thread",
    "id",
    "correlation",
    "outcome",
    "reason",
)


async def show(
    options: Options, resource: str, thread: str | None, last: int, as_of: str | None
) -> int:
    """Print the snapshot of a resource, or of one of its threads."""
    check(resource, thread)
    asked: Answer = {"thread": thread, "last": last, **moment("--as-of", as_of)}
    async with engine(options, actor=ACTOR) as access:
        found = await _ask(access, "snapshot", resource, asked)
        sequence = found["sequence"]
        messages: list[Answer] = found["messages"]
        if found["next"] is not None and len(messages) < last:
            arguments = {"thread": thread, "before": found["next"], "as_of": sequence}
            older, *_ = await _newest(access, resource, arguments, last - len(messages))
            messages = older + messages
        redacted = bool(found.get("redacted"))
        memories: Answer = found["working_memory"]
        own = memories["resource"] if thread is None else memories["thread"]
        if not messages and own is None and found["thread_state"] is None:
            await check_known(access, resource, thread, sequence)
    if options.json:
        write_json(
            {
                "resource": resource,
                "thread": thread,
                "working_memory": memories,
                "messages": messages,
                "sequence": sequence,
                "lag": found["lag"],
                **redacted_field(redacted),
                "parked": found["parked"],
            }
        )
        return OK
    out = Printer()
    where = resource if thread is None else f"{resource}, thread {thread}"
    out.heading(f"{where}: sequence {sequence}, lag {found['lag']}")
    if redacted:
        out.line(REDACTED)
    if found["parked"]:
        number = found["parked"]
        out.line(f"{number} parked: could not be understood, see memfold parked", "yellow")
    print_memory(out, "Working memory of the resource", memories["resource"])
    if thread is not None:
        print_memory(out, "Working memory of the thread", memories["thread"])
    out.line()
    out.heading(f"Messages ({len(messages)})")
    print_messages(out, messages, with_thread=thread is None)
    return OK


async def messages(
    options: Options,
    resource: str,
    thread: str | None,
    last: int | None,
    filters: MessageFilters,
) -> int:
    """Print messages, oldest first: all, or the last ones."""
    check(resource, thread)
    arguments: Answer = {"thread": thread, **filters.arguments()}
    async with engine(options, actor=ACTOR) as access:
        if last is None:
            found, sequence, redacted = await read_all(access, "messages", resource, arguments)
        else:
            minimum = await access.last_sequence()
            found, sequence, redacted = await _newest(access, resource, arguments, last, minimum)
        if not found:
            await check_known(access, resource, thread, sequence)
    if options.json:
        write_json(
            {
                "resource": resource,
                "thread": thread,
                "messages": found,
                "sequence": sequence,
                **redacted_field(redacted),
            }
        )
        return OK
    if redacted:
        note_redacted()
    print_messages(Printer(), found, with_thread=thread is None)
    return OK


async def threads(options: Options, resource: str | None, filters: ThreadFilters) -> int:
    """Print the threads of a resource, or of all of them, in the order that is asked for."""
    check(resource, None)
    async with engine(options, actor=ACTOR) as access:
        found, sequence, redacted = await read_all(
            access, "threads", resource, filters.arguments(), first=filters.first
        )
        if not found and resource is not None:
            await check_known(access, resource, None, sequence)
    if options.json:
        listed = {"resource": resource, "threads": found, "sequence": sequence}
        write_json(listed | redacted_field(redacted))
        return OK
    if redacted:
        note_redacted()
    columns = (
        _THREAD_COLUMNS if resource is not None else {"resource": "resource"} | _THREAD_COLUMNS
    )
    rows = [[each[field] or "" for field in columns.values()] for each in found]
    Printer().table(tuple(columns), rows)
    return OK


_THREAD_COLUMNS: Final = {
    "thread": "id",
    "title": "title",
    "created": "created_at",
    "updated": "updated_at",
    "last message": "last_message_at",
    "archived": "archived_at",
}


async def log(
    options: Options,
    resource: str,
    thread: str | None,
    since: str | None,
    until: str | None,
    *,
    everything: bool,
) -> int:
    """Print the changes of a resource or thread, one a line, as their pages come."""
    check(resource, thread)
    bounds = {**moment("--since", since, "since"), **moment("--until", until)}
    arguments: Answer = {"everything": everything, **bounds}
    if thread is not None:
        arguments["thread"] = thread
    number = 0
    async with engine(options, actor=ACTOR) as access:
        out = None if options.json else Printer()
        async for page, sequence, redacted in pages(
            access, "history", "changes", resource, arguments
        ):
            if redacted and number == 0:
                note_redacted()
            for change in page:
                if out is None:
                    write_json({name: change.get(name) for name in _CHANGE_FIELDS})
                else:
                    print_change(out, change)
            flush()
            number += len(page)
            if number == 0:
                await check_known(access, resource, thread, sequence)
    return OK


async def status(options: Options) -> int:
    """Print what the engine says of itself; a fold that has stopped is an error."""
    async with engine(options, actor=ACTOR) as access:
        found = await access.status()
    if options.json:
        write_json(found)
    else:
        rows = [
            (name, value if isinstance(value, str) else compact(value))
            for name, value in flat("", found)
        ]
        Printer().table(("what", "value"), rows)
    if found["state"] == "halted":
        error: Answer = found["halted"]
        report(str(error["code"]), str(error["message"]), as_json=options.json)
        return DIVERGED
    return OK


def check(resource: str | None, thread: str | None) -> None:
    """Refuse what can be no id."""
    if resource is not None:
        check_id(resource, "resource")
    if thread is not None:
        check_id(thread, "thread")


async def _ask(access: Access, operation: str, resource: str, arguments: Answer) -> Answer:
    minimum = await access.last_sequence()
    return await access.ask(operation, resource, arguments, min_sequence=minimum)


async def pages(
    access: Access, operation: str, key: str, resource: str | None, arguments: Answer
) -> AsyncIterator[tuple[list[Answer], int, bool]]:
    """Yield pages, oldest first, with the sequence of the first one, and if that is redacted."""
    asked: Answer = {**arguments, "limit": PAGE}
    minimum = await access.last_sequence()
    sequence: int | None = None
    redacted = False
    while True:
        answer = await access.ask(operation, resource, asked, min_sequence=minimum)
        if sequence is None:
            sequence, redacted = int(answer["sequence"]), bool(answer.get("redacted"))
            if operation in _AS_OF:
                asked["as_of"] = sequence
        yield answer[key], sequence, redacted
        if answer["next"] is None:
            return
        asked["after"] = answer["next"]


async def read_all(
    access: Access,
    operation: str,
    resource: str | None,
    arguments: Answer,
    *,
    first: int | None = None,
) -> tuple[list[Answer], int, bool]:
    """Return all of a list, or the first ones, its sequence, and whether that is redacted."""
    found: list[Answer] = []
    sequence, redacted = 0, False
    async for page, at, is_redacted in pages(access, operation, operation, resource, arguments):
        found += page
        sequence, redacted = at, is_redacted
        if first is not None and len(found) >= first:
            return found[:first], sequence, redacted
    return found, sequence, redacted


def redacted_field(redacted: bool) -> Answer:  # noqa: FBT001  # the field's value
    """Return what an answer in JSON has of a past that something was erased of."""
    return {"redacted": True} if redacted else {}


async def _newest(
    access: Access, resource: str, arguments: Answer, last: int, minimum: int = 0
) -> tuple[list[Answer], int, bool]:
    """Return the newest messages as ``read_all`` does, page by page backwards."""
    asked: Answer = {**arguments, "newest": True}
    redacted = False
    pages: list[list[Answer]] = []
    missing = last
    while True:
        # None is asked for as one, so that even then the answer says what is known.
        asked["limit"] = min(max(missing, 1), PAGE)
        answer = await access.ask("messages", resource, asked, min_sequence=minimum)
        if not pages:
            redacted = bool(answer.get("redacted"))
        asked["as_of"] = asked.get("as_of", answer["sequence"])
        page: list[Answer] = answer["messages"] if missing else []
        pages.append(page)
        missing -= len(page)
        if missing <= 0 or answer["next"] is None:
            break
        asked["before"] = answer["next"]
    return [message for page in reversed(pages) for message in page], asked["as_of"], redacted


async def check_known(access: Access, resource: str, thread: str | None, sequence: int = 0) -> None:
    """Raise ``NotFound`` for a resource, or its thread, that the log has no message about at all.

    What was deleted, erased or parked is known.
    """
    asked: Answer = {"limit": 1}
    for name in [None] if thread is None else [None, thread]:
        if name is not None:
            asked["thread"] = name
        answer = await access.ask("recorded", resource, asked, min_sequence=sequence)
        if not answer["recorded"]:
            which = "" if name is None else f"thread {name!r} of "
            message = f"nothing is known of {which}resource {resource!r}"
            raise NotFound(message)
