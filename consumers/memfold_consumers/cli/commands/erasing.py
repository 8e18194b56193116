"""The command that takes contents out of the log, for good."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from memfold_consumers.cli.commands.shared import DEFAULTS, ThreadName, app, run
from memfold_consumers.cli.options import Options


@app.command
def erase(
    resource: str | None = None,
    /,
    *,
    thread: ThreadName = None,
    message: str | None = None,
    event: str | None = None,
    reason: str | None = None,
    yes: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    options: Options = DEFAULTS,
) -> int:
    """Erase a resource, a thread, a message or an event, everywhere and for good.

    Parameters
    ----------
    resource
        Whose memory; alone, all of it.
    message
        The id of one message of the thread.
    event
        One event by its position: SEQUENCE or SEQUENCE.INDEX. The resource can be left out.
    reason
        Why: kept in the log, with who erased and when.
    yes
        Do it. Without, it is only said what would be erased.

    Notes
    -----
    Covers what was published up to now. See [Erase](../audit/erase.md): what is reached, and what
    is not. It can be cut anywhere and run again. Its NATS user must be allowed to delete messages
    of the streams. Ends with 3 if there is nothing to erase. ``--json``:

    ```json
    {"dry_run": false, "erasure": 12, "resource": "user_bob", "thread": null, "target": "resource",
     "messages": 4, "events": 9, "restated": 0, "chunks": 0, "sequences": [[3, 6]],
     "engines": {"6a29161378394d8f8619deffab3658b3": {"log_messages": 4, "log_events": 9}},
     "replicas": 1, "remains": ["backups, exports and logs of other programs are not reached"]}
    ```
    """
    from memfold_consumers.cli import erasing

    asked = erasing.target(resource, thread, message, event)
    return run(erasing.erase(options, asked, reason, yes=yes))
