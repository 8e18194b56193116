"""The commands that explain how it came to be."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from memfold_consumers.cli.commands.shared import DEFAULTS, ThreadName, app, run
from memfold_consumers.cli.options import Options


@app.command
def log(
    resource: str,
    /,
    *,
    thread: ThreadName = None,
    everything: Annotated[bool, Parameter(name="--all", negative=())] = False,
    options: Options = DEFAULTS,
) -> int:
    """List who changed what, when and because of which event.

    Parameters
    ----------
    resource
        Whose changes.
    everything
        Also events that changed nothing: unchanged, rejected, duplicate.

    Notes
    -----
    In the log's order. ``--json``: one change a line, ``{"sequence", "index", "time", "actor",
    "type", "causation", "data", "thread", "id", "correlation", "outcome", "reason"}``.
    """
    from memfold_consumers.cli import reading

    return run(reading.log(options, resource, thread, everything=everything))


@app.command
def parked(resource: str | None = None, /, *, options: Options = DEFAULTS) -> int:
    """List events that could not be understood, with their reasons.

    Parameters
    ----------
    resource
        Only those of this resource.

    Notes
    -----
    ``--json``: ``{"parked": [{"sequence", "index", "time", "resource", "thread", "reason",
    "detail"}], "sequence"}``.
    """
    from memfold_consumers.cli import reading

    return run(reading.parked(options, resource))
