"""``memfold rebuild``: runs the job on an engine and says what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memfold_consumers.cli.access import engine
from memfold_consumers.cli.errors import DIVERGED, OK, UsageError, report
from memfold_consumers.cli.jobs import run_job
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.cli.reading import ACTOR

if TYPE_CHECKING:
    from memfold_consumers.cli.options import Options


async def rebuild(options: Options, source: str, *, rollback: bool, engine_id: str | None) -> int:
    """Rebuild, and print what came of it."""
    if rollback and source != "log":
        message = "--rollback catches up from the log: leave out --from"
        raise UsageError(message)
    arguments = {"from": source, "rollback": rollback}
    async with engine(options, actor=ACTOR) as access:
        found = await run_job(access, "rebuild", arguments, engine=engine_id)
    if options.json:
        write_json(found)
    else:
        _print(found)
    if found["same"] is not False:
        return OK
    tables = ", ".join(each["table"] for each in found["differences"])
    report(
        "rebuild_differs",
        f"generation {found['before']} did not hold what the log says (tables: {tables}). "
        f"Generation {found['generation']} is in use now; the other is kept for inspection, and "
        "for memfold rebuild --rollback",
        as_json=options.json,
    )
    return DIVERGED


def _print(found: dict[str, Any]) -> None:
    printer = Printer()
    printer.line(
        f"generation {found['generation']} in place of {found['before']}, at sequence "
        f"{found['sequence']}: {found['events']:,} events of {found['messages']:,} messages from "
        f"the {'kept generation and log' if found['from'] == 'kept' else found['from']} in "
        f"{found['seconds']:.1f} s ({found['per_second']:,}/s), live fold paused for "
        f"{found['pause_ms']:.0f} ms"
    )
    if found["same"]:
        printer.line("both had the same content")
    if found["differences"]:
        columns = ("table", "#only before", "#only after")
        names = ("table", "only_before", "only_after")
        rows = [[each[name] for name in names] for each in found["differences"]]
        printer.table(columns, rows)
