"""The commands that show what is there now."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from memfold_consumers.cli.commands.shared import (
    DEFAULTS,
    AsOf,
    Entries,
    Last,
    ThreadName,
    app,
    run,
)
from memfold_consumers.cli.options import Options


@app.command
def show(
    resource: str,
    /,
    *,
    thread: ThreadName = None,
    last: Last = 20,
    as_of: AsOf = None,
    options: Options = DEFAULTS,
) -> int:
    """Show the snapshot of a resource: working memory and last messages.

    Parameters
    ----------
    resource
        The owner of the memory.
    last
        How many messages to show.

    Notes
    -----
    All at one sequence. ``--json``, with the shapes of [Queries](queries.md#shapes):

    ```json
    {"resource": "user_bob", "thread": null, "messages": [], "sequence": 2, "lag": 0,
     "working_memory": {"thread": null, "resource":
       {"changed_at": "2026-11-21T10:00:07.102Z", "content": {"seat": "window"},
        "format": "json", "revision": 2}}}
    ```
    """
    from memfold_consumers.cli import reading

    return run(reading.show(options, resource, thread, last, as_of))


@app.command
def messages(
    resource: str,
    /,
    *,
    thread: ThreadName = None,
    last: Last | None = None,
    since: str | None = None,
    until: str | None = None,
    metadata: Entries = (),
    as_of: AsOf = None,
    options: Options = DEFAULTS,
) -> int:
    """List messages, oldest first.

    Parameters
    ----------
    resource
        The owner of the messages.
    last
        Only so many, the newest.
    since
        Created at this time or later, as 2026-11-21 or 2026-11-21T10:00:00Z.
    until
        Created at this time or earlier.
    metadata
        With this entry in its metadata; VALUE is JSON, or else text. Can be given again.

    Notes
    -----
    A time without a time zone is UTC, and both bounds are included. ``--json``: ``{"resource",
    "thread", "messages", "sequence"}``, with the shapes of [Queries](queries.md#shapes); of a past
    that something was erased of, also ``"redacted": true``.
    """
    from memfold_consumers.cli import reading
    from memfold_consumers.cli.filters import MessageFilters

    filters = MessageFilters(metadata, since, until, as_of)
    return run(reading.messages(options, resource, thread, last, filters))


@app.command
def threads(
    resource: str | None = None,
    /,
    *,
    first: Last | None = None,
    order: Literal["created_at", "updated_at", "last_message_at"] = "created_at",
    oldest_first: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    archived: bool | None = None,
    metadata: Entries = (),
    as_of: AsOf = None,
    options: Options = DEFAULTS,
) -> int:
    """List the threads of a resource, or of all, the newest first.

    Parameters
    ----------
    resource
        The owner of the threads.
    first
        Only so many.
    order
        What the newest are: created, changed, or written to last.
    oldest_first
        Turn the order around.
    archived
        Only archived ones, or only the others.
    metadata
        With this entry in its metadata; VALUE is JSON, or else text. Can be given again.

    Notes
    -----
    The live ones. ``--json``: ``{"resource", "threads", "sequence"}`` (of a past that something was
    erased of, also ``"redacted": true``), with the shapes of
    [Queries](queries.md#shapes).
    """
    from memfold_consumers.cli import reading
    from memfold_consumers.cli.filters import ThreadFilters

    filters = ThreadFilters(metadata, order, oldest_first, archived, first, as_of)
    return run(reading.threads(options, resource, filters))
