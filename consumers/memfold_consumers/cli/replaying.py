"""``memfold replay``: folds a resource's log here, changes nothing, and says what would differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from memfold.ids import check_id
from memfold.replaying import Replaying, Without
from memfold_consumers.cli.access import engine
from memfold_consumers.cli.errors import DIVERGED, OK, UsageError, report
from memfold_consumers.cli.jobs import Shown
from memfold_consumers.cli.output import Printer, part, write_json
from memfold_consumers.cli.reading import ACTOR, check_known

if TYPE_CHECKING:
    from memfold.audit.states import Difference
    from memfold.replaying import Replay
    from memfold_consumers.cli.options import Options

_TITLES: Final = {
    "working_memory": "Working memory",
    "definition": "Definition",
    "message": "Message",
    "thread": "Thread",
    "resource": "Resource",
}
_COLUMNS: Final = ("#sequence", "#index", "actor", "type", "thread", "id", "why")


async def replay(options: Options, resource: str, thread: str | None, without: Without) -> int:
    """Print what would differ without some events, or whether what is served is what was folded."""
    check_id(resource, "resource")
    if thread is not None:
        check_id(thread, "thread")
    async with engine(options, actor=ACTOR) as access:
        minimum = await access.last_sequence()
        access.client.queries.sightings.note(resource, minimum)
        with Shown() as bar:
            replaying = Replaying(
                access.client.queries,
                options.memory,
                resource,
                lambda done, total: bar.show({"phase": "reading", "done": done, "total": total}),
                access.client.keys,
            )
            found = await replaying.run(without)
        if thread is not None or found.events == 0:
            await check_known(access, resource, thread)
    shown = [each for each in found.differences if thread in {None, each.thread}]
    if options.json:
        write_json(
            found.to_json()
            | {
                "left_out": [
                    each.to_json() for each in found.left_out if thread in {None, each.thread}
                ],
                "differences": [each.to_json() for each in shown],
            }
        )
    else:
        _print(found, shown, thread)
    if found.agrees is False:
        message = f"what is served of resource {resource!r} is not what its log folds to"
        report("log_diverged", message, as_json=options.json)
        return DIVERGED
    return OK


def messages_named(given: Sequence[str], thread: str | None) -> list[str | tuple[str, str]]:
    """Return messages as typed: ``THREAD/ID`` or an id; of the thread that is given, an id alone.

    Raises:
        UsageError: nothing stands before or behind the slash.
    """
    found: list[str | tuple[str, str]] = []
    if thread is not None:
        return [(thread, each) for each in given]
    for each in given:
        owner, slash, name = each.partition("/")
        if not slash:
            found.append(each)
        elif owner and name:
            found.append((owner, name))
        else:
            problem = f"--without-message takes THREAD/ID or ID, not {each!r}"
            raise UsageError(problem)
    return found


def _print(found: Replay, shown: Sequence[Difference], thread: str | None) -> None:
    out = Printer()
    where = found.resource if thread is None else f"{found.resource}, thread {thread}"
    out.heading(f"{where}: {found.events} events folded, up to sequence {found.sequence}")
    if found.agrees is not None:
        out.line("it equals what is served" if found.agrees else "it differs from what is served")
    else:
        followed = sum(each.after is not None for each in found.left_out)
        out.line(f"{len(found.left_out)} left out, {followed} of them followed from others")
        rows = [
            (
                each.sequence,
                each.index,
                each.actor,
                each.type,
                each.thread,
                each.id,
                each.why if each.after is None else f"{each.why} {each.after[0]}.{each.after[1]}",
            )
            for each in found.left_out
            if thread in {None, each.thread}
        ]
        if rows:
            out.table(_COLUMNS, rows)
        if not shown:
            out.line("nothing would differ")
    for each in shown:
        print_difference(out, each)


def print_difference(out: Printer, difference: Difference) -> None:
    """Print where a document differs: what is in red, what would be in green."""
    names = [name for name in (difference.thread, difference.message) if name is not None]
    out.line()
    out.heading(" ".join([_TITLES[difference.kind], "/".join(names)]).strip())
    for each in difference.parts:
        place = each.path if each.line is None else f"line {each.line}"
        if each.change != "added":
            out.line(f"- {place}: {part(each.before, each.line)}", "red")
        if each.change != "removed":
            out.line(f"+ {place}: {part(each.after, each.line)}", "green")
