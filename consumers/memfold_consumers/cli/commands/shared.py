"""The parser itself, and what the arguments of several commands share."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from memfold_consumers.cli.options import Options

DEFAULTS: Final = Options()
Last = Annotated[int, Parameter(validator=Number(gte=0, lte=1_000_000))]
Entries = Annotated[
    tuple[str, ...],
    Parameter(name="--metadata", metavar="KEY=VALUE", negative=(), show_default=False),
]
AsOf = Annotated[
    str | None,
    Parameter(
        name="--as-of",
        help="As it was at a sequence, or at a time, as 2026-11-21T10:00:00Z.",
    ),
]
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


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run a command to its end and return its exit code."""
    import asyncio

    return asyncio.run(work)
