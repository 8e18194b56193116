"""``memfold restore``: says what the stream lacks of the log, and fills it again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, Final

from memfold.errors import NotFound
from memfold.sealing import open_keys
from memfold.subjects import check_namespace
from memfold_consumers.cli.access import log_to_stderr
from memfold_consumers.cli.errors import DIVERGED, OK
from memfold_consumers.cli.jobs import POLL_S, Shown
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.jobs import Progress

if TYPE_CHECKING:
    from memfold_consumers.cli.options import Options
    from memfold_consumers.restoring import Restored

_SAYS: Final = {
    "intact": "the stream has all of the log",
    "lost": "the stream is gone, or empty",
    "truncated": "the stream has lost its end",
    "forked": "the stream has lost its end, and has accepted other messages in its place",
    "damaged": "the stream lacks messages of the log, or has others in their places",
}


async def restore(options: Options, *, dry_run: bool) -> int:
    """Restore, and print what was found and done."""
    log_to_stderr()
    check_namespace(options.memory)
    done = await _run(options, dry_run=dry_run)
    if options.json:
        write_json(done.to_json())
    else:
        _print(done)
    return OK if done.done or done.found.kind == "intact" else DIVERGED


async def _run(options: Options, *, dry_run: bool) -> Restored:
    from memfold_consumers.nats_client import LEAVE_S, open_client
    from memfold_consumers.nats_server import NatsServer
    from memfold_consumers.restoring import Restoring
    from memfold_consumers.settings import EngineSettings
    from memfold_consumers.takeover import owned
    from memfold_projections.store import Store

    data = options.directory
    if not (data / "log.duckdb").is_file():
        message = f"{data} has no log.duckdb to restore from"
        raise NotFound(message)
    keys = open_keys(options.key_directory, data=data)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(owned(data))
        url = options.server
        if url is None:
            url = (await stack.enter_async_context(NatsServer(data))).url
        store = stack.enter_context(closing(Store(data, options.memory, keys=keys)))
        connection = await open_client(servers=url, name="memfold-restore", log=False)
        stack.push_async_callback(connection.leave, LEAVE_S)
        settings = EngineSettings(data=data, namespace=options.memory)
        progress = Progress()
        shown = asyncio.create_task(_show(progress))
        try:
            return await Restoring(connection, settings, store, progress).run(dry_run=dry_run)
        finally:
            shown.cancel()
            await asyncio.wait({shown})


async def _show(progress: Progress) -> None:
    with Shown() as shown:
        while True:
            shown.show({"phase": progress.phase, "done": progress.done, "total": progress.total})
            await asyncio.sleep(POLL_S)


def _print(done: Restored) -> None:
    printer, found = Printer(), done.found
    end = f"ends at {found.last}" if found.exists else "does not exist"
    printer.line(f"{found.kind}: {_SAYS[found.kind]}", "bold")
    printer.line(
        f"the log ends at {found.log}; the stream {end}, and is the log up to {found.whole}"
    )
    if found.foreign:
        printer.line(f"{found.foreign} messages behind that are not the log's")
    if found.altered:
        printer.line(f"{found.altered} messages stand where the log has others")
    if done.done:
        printer.line(f"put back: {done.refilled} messages of the log")
        if done.published:
            printer.line(
                f"behind them, with new sequences: {done.published} that were accepted since"
            )
        if done.file is not None:
            printer.line(f"not put back, but kept in the data directory: {done.file}")
        return
    if found.kind == "intact":
        return
    if found.kind in {"lost", "truncated"}:
        printer.line(f"to do: put messages {found.whole + 1} to {found.log} back")
    else:
        printer.line(
            f"to do: save what is not the log's, delete the stream, put messages 1 to {found.log} "
            f"back, and the {found.foreign} behind them"
        )
    if found.own == 0 and found.last:
        printer.line("nothing of the stream is of this log: make sure that it is the right server")
    printer.line("nothing was changed: memfold restore --yes does it")
