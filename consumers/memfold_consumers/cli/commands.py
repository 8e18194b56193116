"""The commands and their arguments. What a command does is imported only when it runs.

So ``memfold --help`` costs the import of the parser and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from memfold_consumers.cli.errors import OK
from memfold_consumers.cli.options import Options

_DEFAULTS: Final = Options()
Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
Last = Annotated[int, Parameter(validator=Number(gte=0, lte=1_000_000))]
Entries = Annotated[
    tuple[str, ...],
    Parameter(name="--metadata", metavar="KEY=VALUE", negative=(), show_default=False),
]
FormatName = Literal["openai", "anthropic", "mastra", "locomo", "jsonl"]
ThreadName = Annotated[str | None, Parameter(help="A thread of the resource.")]


def _version() -> str:
    from importlib.metadata import version

    return f"memfold {version('memfold')}"


app = App(
    name="memfold",
    help="Memory for AI agents, folded from events.",
    help_epilogue=(
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict or rejected,\n"
        "5 broker unreachable, 6 audit mismatch, 7 no engine."
    ),
    help_format="plaintext",
    version=_version,
    version_flags="--version",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


@app.command
def serve(*, port: Port = 0, metrics_port: Port = 0, options: Options = _DEFAULTS) -> int:
    """Run the engine until it is stopped, with its own NATS server unless --nats.

    Parameters
    ----------
    port
        Port of the engine's own NATS server on this machine; 0 means any free one.
    metrics_port
        Port of Prometheus metrics on this machine; 0 means MEMFOLD_METRICS_PORT, else none.

    Notes
    -----
    SIGTERM or SIGINT stop it in order. It says ``memfold: ready at ...`` on stderr, and logs there.
    Ends with 5 if no server with JetStream answers at ``--nats`` within five seconds. More
    settings: [Operating](../operating.md#settings-of-an-engine).
    """
    from memfold_consumers.cli import serving

    return _run(serving.serve(options, port=port, metrics_port=metrics_port or None))


@app.command
def demo(
    *, fast: Annotated[bool, Parameter(negative=())] = False, options: Options = _DEFAULTS
) -> int:
    """Watch agents write one user's memory at once, and see that nothing is lost.

    Parameters
    ----------
    fast
        Do not pause between the parts.

    Notes
    -----
    It plays in a directory of its own, deleted afterwards, or in ``--data``, and starts a server of
    its own. Fails (1) if a check fails. ``--json``:
    ``{"proved", "checks": [{"claim", "holds", "found"}]}``.
    """
    from memfold_consumers.cli.demo import demo as play

    return _run(play(options, fast=fast))


@app.command
def ingest(
    *files: Path,
    form: Annotated[FormatName, Parameter(name="--format")],
    resource: str | None = None,
    thread: str | None = None,
    dry_run: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    options: Options = _DEFAULTS,
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
    return _run(publish(options, list(files), form, **asked, dry_run=dry_run))


@app.command
def show(
    resource: str, /, *, thread: ThreadName = None, last: Last = 20, options: Options = _DEFAULTS
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

    return _run(reading.show(options, resource, thread, last))


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
    options: Options = _DEFAULTS,
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
    "thread", "messages", "sequence"}``, with the shapes of [Queries](queries.md#shapes).
    """
    from memfold_consumers.cli import reading
    from memfold_consumers.cli.filters import MessageFilters

    filters = MessageFilters(metadata, since, until)
    return _run(reading.messages(options, resource, thread, last, filters))


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
    options: Options = _DEFAULTS,
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
    The live ones. ``--json``: ``{"resource", "threads", "sequence"}``, with the shapes of
    [Queries](queries.md#shapes).
    """
    from memfold_consumers.cli import reading
    from memfold_consumers.cli.filters import ThreadFilters

    filters = ThreadFilters(metadata, order, oldest_first, archived, first)
    return _run(reading.threads(options, resource, filters))


@app.command
def log(
    resource: str,
    /,
    *,
    thread: ThreadName = None,
    everything: Annotated[bool, Parameter(name="--all", negative=())] = False,
    options: Options = _DEFAULTS,
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

    return _run(reading.log(options, resource, thread, everything=everything))


@app.command
def parked(resource: str | None = None, /, *, options: Options = _DEFAULTS) -> int:
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

    return _run(reading.parked(options, resource))


@app.command
def status(*, options: Options = _DEFAULTS) -> int:
    """Show the state of stream, fold and projection.

    Notes
    -----
    Its fields, with ``--json`` too: [Operating](../operating.md#status). A halted engine is an
    error (6).
    """
    from memfold_consumers.cli import reading

    return _run(reading.status(options))


@app.command
def sweep(
    *,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    older_than: str = "1h",
    options: Options = _DEFAULTS,
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

    return _run(sweeping.sweep(options, older_than, dry_run=dry_run))


@app.command
def schema(*, options: Options = _DEFAULTS) -> int:
    """Print the JSON Schemas of all events; needs no engine.

    Notes
    -----
    ``{"events": {TYPE: {"version", "facet", "schema"}}, "envelope"}``, in a pipe always as JSON.
    """
    from memfold_consumers.cli import output
    from memfold_consumers.cli.schema import schemas

    if options.json or not sys.stdout.isatty():
        output.write_json(schemas())
    else:
        output.Printer().block(output.pretty(schemas()))
    return OK


def _run(work: Coroutine[Any, Any, int]) -> int:
    import asyncio

    return asyncio.run(work)
