"""``memfold export``: the log of a resource with its proofs, and as a plain table."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memfold.exporting import HEADS_MAX, Export, Wanted
from memfold.ids import check_id
from memfold.recorded import Asked, RecordedMessage, read_recorded_pages, recorded
from memfold.wire import Event, read_message
from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import OK, UsageError
from memfold_consumers.cli.jobs import Shown
from memfold_consumers.cli.output import Printer, flush, write_json
from memfold_consumers.cli.reading import ACTOR, check_known

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from memfold_consumers.cli.options import Options

OUTCOMES_ASKED: Final = 200
"""Messages whose outcomes are asked for at once: batches are of 1,000 events at most."""
EVENTS_ASKED: Final = 5000

_TABLE: Final = """
CREATE TABLE event (
    sequence BIGINT, index INTEGER, time TIMESTAMP, actor TEXT, type TEXT, resource TEXT,
    thread TEXT, id TEXT, causation TEXT, correlation TEXT, outcome TEXT, reason TEXT, data TEXT
)
"""


async def export(
    options: Options,
    resource: str | None,
    thread: str | None,
    out: Path | None,
    parquet: Path | None,
    heads: Sequence[int],
) -> int:
    """Write an export, to a file or the standard output; and a table of its events."""
    if resource is None and thread is not None:
        message = "--thread needs a resource"
        raise UsageError(message)
    for file in (out, parquet):
        _check_file(file)
    for name, kind in ((resource, "resource"), (thread, "thread")):
        if name is not None:
            check_id(name, kind)
    async with engine(options, actor=ACTOR) as access:
        size = await access.last_sequence()
        if size == 0:
            message = "the log is empty: there is nothing to export"
            raise UsageError(message)
        _check_heads(heads, size)
        if resource is not None:
            await check_known(access, resource, thread, size)
        audit: dict[str, Any] = (await access.status()).get("audit") or {}
        wanted = Wanted(options.memory, resource, thread, [*heads, int(audit.get("size", 0))])
        written: dict[str, Any] = {"size": size}
        if out is not None or parquet is None:
            made = Export(access.client.queries, wanted, size)
            await _write(made, out)
            written |= {"messages": made.count, "out": None if out is None else str(out)}
        if parquet is not None:
            rows = await _write_parquet(access, options.memory, wanted, size, parquet)
            written |= {"events": rows, "parquet": str(parquet)}
    if out is None and parquet is None:
        return OK
    if options.json:
        write_json(written)
    else:
        for name, value in written.items():
            Printer(stderr=True).line(f"{name}\t{value}")
    return OK


def _check_heads(heads: Sequence[int], size: int) -> None:
    # One more is that of the newest published head.
    if len(set(heads)) >= HEADS_MAX:
        message = f"--head can be given {HEADS_MAX - 1} times"
        raise UsageError(message)
    for each in heads:
        if not 0 < each <= size:
            message = f"--head takes a size of the log, 1 to {size}, not {each}"
            raise UsageError(message)


def _check_file(file: Path | None) -> None:
    if file is not None and not file.absolute().parent.is_dir():
        message = f"{file} cannot be written: there is no directory {file.parent}"
        raise UsageError(message)


async def _write(export_: Export, out: Path | None) -> None:
    """Write to a file beside the one that is meant: it is there whole or not at all."""
    with ExitStack() as stack:
        bar = stack.enter_context(Shown())
        part = None if out is None else out.with_name(f"{out.name}.part")
        file = sys.stdout.buffer if part is None else stack.enter_context(part.open("wb"))
        async for line in export_.lines():
            file.write(line)
            bar.show({"phase": "exporting", "done": export_.count, "total": None})
        if part is not None:
            file.flush()
            os.fsync(file.fileno())
    if part is not None and out is not None:
        part.replace(out)
    else:
        flush()


async def _write_parquet(
    access: Access, namespace: str, wanted: Wanted, size: int, file: Path
) -> int:
    import duckdb

    asked = Asked(
        wanted.resource,
        wanted.thread,
        upto=size,
        whole_log=wanted.resource is None,
        min_sequence=size,
    )
    count = 0
    with duckdb.connect(":memory:") as connection, Shown() as bar:
        connection.execute(_TABLE)
        async for page, _ in read_recorded_pages(access.client.queries, asked):
            for start in range(0, len(page), OUTCOMES_ASKED):
                count += await _add(
                    access, connection, namespace, page[start : start + OUTCOMES_ASKED]
                )
            bar.show({"phase": "reading", "done": count, "total": None})
        # Not by SQL text: the name of a file is no part of a statement.
        connection.table("event").order("sequence, index").write_parquet(str(file))
    return count


async def _add(
    access: Access,
    connection: DuckDBPyConnection,
    namespace: str,
    messages: Sequence[RecordedMessage],
) -> int:
    """Add the events of some messages as rows; return how many."""
    from memfold_projections.database import insert_rows

    keys = access.client.keys
    read = [
        list(read_message(namespace, recorded(message), time_us=message.time_us, keys=keys))
        for message in messages
    ]
    rows: list[tuple[Any, ...]] = []
    while read:
        part = [read.pop(0)]
        while read and sum(map(len, part)) + len(read[0]) <= EVENTS_ASKED:
            part.append(read.pop(0))
        positions = [[events[0].sequence, len(events)] for events in part]
        answer = await access.ask("outcome", None, {"positions": positions})
        for events, outcomes in zip(part, answer["outcomes"], strict=True):
            rows += [_row(event, what) for event, what in zip(events, outcomes, strict=True)]
    insert_rows(connection, "event", rows)
    return len(rows)


def _row(event: Any, outcome: dict[str, Any]) -> tuple[Any, ...]:  # noqa: ANN401  # Event or Unreadable
    from datetime import UTC, datetime

    from memfold.canonical import encode_text

    address = event.address
    envelope = event.envelope if isinstance(event, Event) else None
    # Whole microseconds: a float has not enough digits for them.
    seconds, rest = divmod(event.time_us, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest, tzinfo=None)
    return (
        event.sequence,
        event.index,
        moment,
        None if address is None else address.actor,
        None if envelope is None else envelope.type,
        None if address is None else address.resource,
        None if address is None else address.thread,
        None if envelope is None else envelope.id,
        None if envelope is None else envelope.causationid,
        None if envelope is None else envelope.correlationid,
        outcome["kind"],
        outcome["reason"] or None,
        encode_text(event.shown()) if isinstance(event, Event) else None,
    )
