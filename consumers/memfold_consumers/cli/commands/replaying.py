"""The commands that read the log itself: fold it again, hand it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from memfold_consumers.cli.commands.shared import DEFAULTS, ThreadName, app, run
from memfold_consumers.cli.options import Options

Names = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]


@app.command
def replay(
    resource: str,
    /,
    *,
    thread: ThreadName = None,
    without_actor: Annotated[Names, Parameter(metavar="ACTOR")] = (),
    without: Annotated[Names, Parameter(metavar="EVENT")] = (),
    without_message: Annotated[Names, Parameter(metavar="THREAD/ID")] = (),
    only: Annotated[bool, Parameter(negative=())] = False,
    options: Options = DEFAULTS,
) -> int:
    """Show what its memory would be had some events never been stored.

    Parameters
    ----------
    resource
        Whose log to fold again.
    thread
        Show only what differs in this thread.
    without_actor
        Leave out all events of this actor.
    without
        Leave out this event: its id, SOURCE/ID or SEQUENCE.INDEX.
    without_message
        Leave out all about this message: THREAD/ID, or ID; with --thread its ID alone.
    only
        Keep what followed from what is left out.

    Notes
    -----
    Changes nothing: the events are read and folded in this process. What followed falls too: what
    an event caused, memory updates whose evidence rests on it, its copies in clones, its copies
    that were delivered again. Reverts restore what would have been. See
    [What if](../audit/what-if.md). Without any ``--without...`` all is folded and compared with
    what is served; exit code 6 if that differs. ``--json``: ``{"resource", "sequence", "events",
    "left_out", "differences", "agrees"}``.
    """
    from memfold.replaying import Without
    from memfold_consumers.cli import replaying

    named = replaying.messages_named(without_message, thread)
    wanted = Without(without_actor, without, named, consequences=not only)
    return run(replaying.replay(options, resource, thread, wanted))


@app.command
def export(
    resource: str | None = None,
    /,
    *,
    thread: ThreadName = None,
    out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    parquet: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    head: Annotated[
        tuple[int, ...], Parameter(metavar="SIZE", negative=(), show_default=False)
    ] = (),
    options: Options = DEFAULTS,
) -> int:
    """Write the log of a resource with proofs that an auditor checks offline.

    Parameters
    ----------
    resource
        Whose messages; all of the log if not given.
    out
        Where to, if not to the standard output.
    parquet
        Write a plain table of the events as well, or instead.
    head
        Prove also that the log begins with the head of this size.

    Notes
    -----
    One JSON object a line; see [Export](../audit/export.md). The newest head that was published is
    proved in any case. ``--parquet`` alone writes only the table, one row an event. With a file
    ``--json`` prints ``{"size", "messages", "out", "events", "parquet"}``.
    """
    from memfold_consumers.cli import exporting

    return run(exporting.export(options, resource, thread, out, parquet, head))
