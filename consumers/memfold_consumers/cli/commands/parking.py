"""The commands about events that could not be understood."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from memfold_consumers.cli.commands.shared import DEFAULTS, app, run
from memfold_consumers.cli.options import Options

parked = App(name="parked", help_format="plaintext")
app.command(parked)


@parked.default
def listed(
    resource: str | None = None,
    /,
    *,
    everything: Annotated[bool, Parameter(name="--all", negative=())] = False,
    options: Options = DEFAULTS,
) -> int:
    """List events that could not be understood, with their reasons.

    Parameters
    ----------
    resource
        Only those of this resource.
    everything
        Also those that were discarded.

    Notes
    -----
    ``--json``: ``{"parked": [{"sequence", "index", "time", "resource", "thread", "reason",
    "detail", "discarded"}], "sequence"}``. A resource called like a command of ``memfold parked``
    goes behind ``--``.
    """
    from memfold_consumers.cli import parking

    return run(parking.listed(options, resource, everything=everything))


@parked.command
def show(position: str, /, *, options: Options = DEFAULTS) -> int:
    """Show what was published, raw: what a terminal would obey is escaped.

    Parameters
    ----------
    position
        Where it stands: SEQUENCE or SEQUENCE.INDEX.

    Notes
    -----
    Of a batch the event alone, if the batch can be taken apart. ``--json``: ``{"parked",
    "subject", "msg_id", "payload", "text"}``: the message's bytes in base64, and as text or null.
    """
    from memfold_consumers.cli import parking

    return run(parking.show(options, position))


@parked.command
def discard(position: str, /, *, reason: str, options: Options = DEFAULTS) -> int:
    """Give one up: it stays without effect for ever.

    Parameters
    ----------
    position
        Where it stands: SEQUENCE or SEQUENCE.INDEX.
    reason
        Why; kept in the log.

    Notes
    -----
    Publishes ``ParkedDiscarded``. Exit code 3 if nothing is parked there, 4 if it was discarded by
    somebody else meanwhile. ``--json``: ``{"sequence", "index", "outcome", "recorded"}``.
    """
    from memfold_consumers.cli import parking

    return run(parking.discard(options, position, reason))


@parked.command
def redrive(*, options: Options = DEFAULTS) -> int:
    """Fold the log again if the engine can read parked events by now.

    Notes
    -----
    Each takes effect at its own place in the log. ``--json``: ``{"redriven": [{"sequence", "index",
    "outcome", "reason"}]}``, what became of each.
    """
    from memfold_consumers.cli import parking

    return run(parking.redrive(options))
