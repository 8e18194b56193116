"""The commands that bring data in, and take out what nobody refers to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from memfold_consumers.cli.commands.shared import DEFAULTS, app, run
from memfold_consumers.cli.options import Options

FormatName = Literal["openai", "anthropic", "mastra", "locomo", "jsonl"]


@app.command
def ingest(
    *files: Path,
    form: Annotated[FormatName, Parameter(name="--format")],
    resource: str | None = None,
    thread: str | None = None,
    dry_run: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    options: Options = DEFAULTS,
) -> int:
    """Publish what files hold, each event once: running it again changes nothing.

    Parameters
    ----------
    files
        Files to read; for jsonl one, or - for the standard input.
    form
        openai, anthropic, mastra: their conversations. locomo: those of that data set. jsonl:
        memfold's own events, one a line.
    resource
        Whose conversations they become (openai, anthropic), or only this one's (mastra).
    thread
        The thread of a file that holds one conversation (openai, anthropic).
    dry_run
        Only read and count; needs no engine.

    Notes
    -----
    ``--format jsonl``: events as in [Events](events.md). The envelope's ``resourceid``,
    ``threadid`` and ``source`` give the subject. A line without an ``id`` gets one from its
    content, and from how often that came before. A bad line stops none of its neighbours.

    ``--format locomo``: the file becomes a resource, ``session_N`` a thread, a turn a message, an
    observation a merge into the resource's working memory with its evidence. A file with a mistake
    in it is named with the place, and nothing of any file is published.

    ``--format openai``, ``anthropic``, ``mastra``: see [Import](../import.md). ``--resource`` is
    required for the first two. What does not fit is told, and its neighbours go on.

    What is in the log already is not published again, so an ingest can be cut anywhere and run
    again. Failures are listed on stderr, with their reason; the exit code is then 4. ``--json``,
    where the first four count the input, ``skipped`` says how much of ``openai``, ``anthropic`` and
    ``mastra`` was left out on purpose, by reason, and ``dry_run`` stands only in a dry run's:

    ```json
    {"messages": 1, "threads": 1, "resources": 1, "events": 2, "last_sequence": 2,
     "seconds": 0.04, "added": 2, "already_there": 0, "failed": 0}
    ```
    """
    from memfold_consumers.cli.ingest import ingest as publish

    asked = {"resource": resource, "thread": thread}
    return run(publish(options, list(files), form, **asked, dry_run=dry_run))


@app.command
def sweep(
    *,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    older_than: str = "1h",
    options: Options = DEFAULTS,
) -> int:
    """Delete attachments that no event refers to, and surplus copies, for good.

    Parameters
    ----------
    dry_run
        Only say what would be deleted.
    older_than
        Leave alone what was stored since: 90s, 30m, 1h, 7d.

    Notes
    -----
    See [Attachments](../attachments.md#sweeping). Its NATS user needs the rights of an engine's.
    ``--json``:

    ```json
    {"dry_run": true, "attachments": 12, "orphans": 1, "copies": 2, "chunks": 3, "bytes": 1200000,
     "young": 0, "foreign": 0, "damaged": []}
    ```

    ``attachments`` were looked at, ``orphans`` of them have no event; ``copies``, ``chunks`` and
    ``bytes`` were deleted; ``young`` copies were left alone. ``damaged``: [resource, SHA-256] of
    what is referred to, was looked at for its surplus, and has no good copy. ``foreign``: subjects
    of another form. Both are left as they are.
    """
    from memfold_consumers.cli import sweep as sweeping

    return run(sweeping.sweep(options, older_than, dry_run=dry_run))
