"""The commands that explain how it came to be."""

from __future__ import annotations

import pathlib
from typing import Annotated, Literal

from cyclopts import Parameter

from memfold_consumers.cli.commands.shared import DEFAULTS, AsOf, ThreadName, app, run
from memfold_consumers.cli.options import Options

Path = Annotated[str | None, Parameter(help="A part of a JSON document, as /address/city.")]
Details = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Not the memory: title, metadata and archived of the thread, or the resource's "
        "metadata.",
    ),
]


@app.command
def log(
    resource: str,
    /,
    *,
    thread: ThreadName = None,
    since: str | None = None,
    until: str | None = None,
    everything: Annotated[bool, Parameter(name="--all", negative=())] = False,
    of: Literal["memory", "details"] | None = None,
    path: Path = None,
    options: Options = DEFAULTS,
) -> int:
    """List who changed what, when and because of which event.

    With --of or --path the changes of one document, each with what it added, removed and changed.

    Parameters
    ----------
    resource
        Whose changes.
    since
        Behind this sequence or time, as 2026-11-21 or 2026-11-21T10:00:00Z.
    until
        Up to this sequence or time.
    everything
        Also events that changed nothing: unchanged, rejected, duplicate.
    of
        Only the working memory (as --path alone), or title, metadata and archived.

    Notes
    -----
    In the log's order. ``--json``: one change a line, ``{"sequence", "index", "time", "actor",
    "type", "causation", "data", "thread", "id", "correlation", "outcome", "reason"}``; of one
    document ``{"sequence", "index", "time", "actor", "id", "type", "mode", "reason", "causation",
    "correlation", "reverts", "evidence", "changes": [{"kind", "path", "line", "before", "after"}],
    "definition"}``.
    """
    from memfold_consumers.cli import auditing, reading

    if of is not None or path is not None:
        if everything:
            from memfold_consumers.cli.errors import UsageError

            message = "--all goes with the log of all events, not with that of one document"
            raise UsageError(message)
        asked = auditing.Question(resource, thread, path, details=of == "details")
        return run(auditing.history(options, asked, since, until))
    return run(reading.log(options, resource, thread, since, until, everything=everything))


@app.command
def blame(
    resource: str,
    /,
    *,
    thread: ThreadName = None,
    path: Path = None,
    details: Details = False,
    as_of: AsOf = None,
    options: Options = DEFAULTS,
) -> int:
    """Show for each part of a working memory who set it, when, and because of which message.

    Parameters
    ----------
    resource
        Whose memory.

    Notes
    -----
    See [Blame and diff](../audit/blame-and-diff.md). ``--json``: ``{"resource", "thread",
    "sequence", "format", "entries": [{"path", "line", "value", "event"}], "redacted"}``.
    """
    from memfold_consumers.cli import auditing

    asked = auditing.Question(resource, thread, path, details=details)
    return run(auditing.blame(options, asked, as_of))


@app.command
def diff(
    resource: str,
    start: str,
    end: str | None = None,
    /,
    *,
    thread: ThreadName = None,
    path: Path = None,
    details: Details = False,
    options: Options = DEFAULTS,
) -> int:
    """Show what differs in a working memory between two moments, and who made it so.

    Parameters
    ----------
    resource
        Whose memory.
    start
        The earlier moment: a sequence, or a time, as 2026-11-21 or 2026-11-21T10:00:00Z.
    end
        The later one; now if not given.

    Notes
    -----
    See [Blame and diff](../audit/blame-and-diff.md). ``--json``: ``{"resource", "thread", "start",
    "sequence", "format_before", "format", "entries": [{"kind", "path", "line", "before", "after",
    "event"}], "redacted"}``.
    """
    from memfold_consumers.cli import auditing

    asked = auditing.Question(resource, thread, path, details=details)
    return run(auditing.diff(options, asked, start, end))


@app.command
def revert(
    resource: str,
    to: str,
    /,
    *,
    reason: str,
    thread: ThreadName = None,
    path: Path = None,
    options: Options = DEFAULTS,
) -> int:
    """Restore a working memory, or one part of it, as it was at an earlier moment.

    Parameters
    ----------
    resource
        Whose memory.
    to
        The moment: a sequence, or a time, as 2026-11-21 or 2026-11-21T10:00:00Z.
    reason
        Why; it is kept with the change.

    Notes
    -----
    One more event: nothing is taken out of the log. See [Revert](../audit/revert.md). ``--json``:
    ``{"resource", "thread", "outcome", "sequence", "to", "path"}``; ``outcome`` is ``applied``, or
    ``unchanged`` where nothing differed, with ``sequence`` null if nothing was published.
    """
    from memfold_consumers.cli import auditing

    asked = auditing.Question(resource, thread, path)
    return run(auditing.revert(options, asked, to, reason))


@app.command
def verify(
    *,
    heads: pathlib.Path | None = None,
    quick: Annotated[bool, Parameter(negative=())] = False,
    acknowledge: Annotated[bool, Parameter(negative=())] = False,
    options: Options = DEFAULTS,
) -> int:
    """Check that log, stream, heads and projection are what they were.

    Parameters
    ----------
    heads
        A file of heads that was kept elsewhere, one a line, as in heads.ndjson.
    quick
        Without the stream's messages and without folding the log again.
    acknowledge
        Note that the incidents so far were seen: they are no findings from now on.

    Notes
    -----
    Ends with 6 if there are findings: see [Verify](../audit/verify.md). It works against a halted
    engine, too. ``--json``: ``{"ok", "size", "root", "heads": {"published", "file", "given",
    "agree", "ahead"}, "phases": [{"name", "checked", "seconds", "per_second", "findings"}],
    "findings": [{"kind", "sequence", "where", "text"}], "counts", "erasures",
    "incidents": [{"time", "kind", "place", "text", "acknowledged"}], "seconds"}``.
    """
    from memfold_consumers.cli import verify as verifying

    return run(verifying.verify(options, heads, quick=quick, acknowledge=acknowledge))
