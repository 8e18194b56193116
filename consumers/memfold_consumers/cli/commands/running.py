"""The commands that run an engine or tell of it."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from memfold_consumers.cli.commands.shared import DEFAULTS, app, run
from memfold_consumers.cli.errors import OK
from memfold_consumers.cli.options import Options

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


@app.command
def serve(*, port: Port = 0, metrics_port: Port = 0, options: Options = DEFAULTS) -> int:
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

    return run(serving.serve(options, port=port, metrics_port=metrics_port or None))


@app.command
def demo(
    *, fast: Annotated[bool, Parameter(negative=())] = False, options: Options = DEFAULTS
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

    return run(play(options, fast=fast))


@app.command
def status(*, options: Options = DEFAULTS) -> int:
    """Show the state of stream, fold and projection.

    Notes
    -----
    Its fields, with ``--json`` too: [Operating](../operating.md#status). A halted engine is an
    error (6).
    """
    from memfold_consumers.cli import reading

    return run(reading.status(options))


@app.command
def schema(*, options: Options = DEFAULTS) -> int:
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
