"""The commands that compute anew what was lost or spoilt."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from memfold_consumers.cli.commands.shared import DEFAULTS, app, run
from memfold_consumers.cli.options import Options


@app.command
def rebuild(
    *,
    source: Annotated[Literal["log", "stream"], Parameter(name="--from")] = "log",
    rollback: Annotated[bool, Parameter(negative=())] = False,
    engine: str | None = None,
    options: Options = DEFAULTS,
) -> int:
    """Fold the projection anew beside the live one, compare them, and put it in its place.

    Parameters
    ----------
    source
        From the engine's own copy of the log, or from the stream, compared with that copy.
    rollback
        Go back to the projection before the last rebuild.
    engine
        Id of the engine that is to do it, as its status says; else the one that answers.

    Notes
    -----
    The engine serves and folds meanwhile. Ends with 6 if the two had different content; the new one
    is in use then, and the other one kept. ``--json``: ``{"generation", "before", "from",
    "sequence", "events", "messages", "seconds", "per_second", "same", "differences": [{"table",
    "only_before", "only_after"}], "pause_ms"}``. What it proves: [Rebuild](../audit/rebuild.md).
    """
    from memfold_consumers.cli import rebuilding

    return run(rebuilding.rebuild(options, source, rollback=rollback, engine_id=engine))


@app.command
def restore(
    *,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    yes: Annotated[bool, Parameter(negative=())] = False,
    options: Options = DEFAULTS,
) -> int:
    """Fill a lost, truncated or forked event stream again from the data directory's own log.

    Parameters
    ----------
    dry_run
        Only say what is wrong and what would be done.
    yes
        Do it. Without it this is a dry run, too.

    Notes
    -----
    With the engine of the data directory stopped, and its publishers if you can; with ``--nats`` at
    that server. Safe to run again after a crash. Ends with 6 if the stream is not whole and
    nothing was done. ``--json``: ``{"found", "log", "stream", "whole", "own", "altered", "foreign",
    "done", "refilled", "published", "file"}``. What it promises: [Restore](../audit/restore.md).
    """
    from memfold_consumers.cli import restoring

    return run(restoring.restore(options, dry_run=dry_run or not yes))
