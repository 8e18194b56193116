"""The options that every command takes, before its name or after it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Group, Parameter

from memfold_consumers.cli.errors import UsageError

GLOBAL: Final = Group("Global options", sort_key=100)
DEFAULT_DATA: Final = ".memfold"
DEFAULT_NAMESPACE: Final = "memfold"

_DATA_HELP: Final = "Directory of the local engine, else MEMFOLD_DATA, else .memfold."
_NATS_HELP: Final = "NATS server, else MEMFOLD_NATS_URL, NATS_URL, or the local engine's own."
_NAMESPACE_HELP: Final = "Which independent memory, else MEMFOLD_NAMESPACE, else memfold."
_KEYS_HELP: Final = "Directory of keys: seal and open with them. Else MEMFOLD_KEYS, else none."
_WITH_VALUE: Final = frozenset({"--data", "--nats", "--namespace", "--keys"})
_SWITCHES: Final = frozenset({"--json"})


@Parameter(name="*", group=GLOBAL)
@dataclass(frozen=True)
class Options:
    """Where the memory is, and in which form to answer: before the command's name or behind it."""

    data: Annotated[Path | None, Parameter(help=_DATA_HELP)] = None
    nats: Annotated[str | None, Parameter(name="--nats", help=_NATS_HELP)] = None
    namespace: Annotated[str | None, Parameter(help=_NAMESPACE_HELP)] = None
    keys: Annotated[Path | None, Parameter(help=_KEYS_HELP)] = None
    json: Annotated[bool, Parameter(negative=(), show_default=False, help="Answer in JSON.")] = (
        False
    )

    @property
    def directory(self) -> Path:
        """The data directory."""
        return self.data or Path(os.environ.get("MEMFOLD_DATA") or DEFAULT_DATA)

    @property
    def server(self) -> str | None:
        """The address of the NATS server; None means the data directory's local engine."""
        found = os.environ.get("MEMFOLD_NATS_URL") or os.environ.get("NATS_URL")
        return self.nats or found or None

    @property
    def key_directory(self) -> Path | None:
        """The directory of the keys."""
        found = os.environ.get("MEMFOLD_KEYS")
        return self.keys or (Path(found) if found else None)

    @property
    def memory(self) -> str:
        """The namespace."""
        return self.namespace or os.environ.get("MEMFOLD_NAMESPACE") or DEFAULT_NAMESPACE


_OF_PARKED: Final = frozenset({"show", "discard", "redrive"})
"""Commands of a command: their name is two words."""
STDIN: Final = "/dev/stdin"
"""What ``-`` is for the parser of an ingest, to which it would be an option."""


def normalised(arguments: list[str]) -> list[str]:
    """Return the arguments with the global options before the command put behind it.

    Raises:
        UsageError: an option is without its value.
    """
    place = 0
    while place < len(arguments):
        name, equals, _ = arguments[place].partition("=")
        if name in _WITH_VALUE and not equals:
            if place + 1 == len(arguments):
                message = f"{name} needs a value"
                raise UsageError(message)
            place += 2
        elif name in _WITH_VALUE or arguments[place] in _SWITCHES:
            place += 1
        else:
            break
    first, rest = arguments[:place], arguments[place:]
    _check_directory(arguments)
    if rest[:1] == ["ingest"]:
        rest = [STDIN if each == "-" else each for each in rest]
    names = 2 if rest[:1] == ["parked"] and rest[1:2] and rest[1] in _OF_PARKED else 1
    return [*rest[:names], *first, *rest[names:]]


def _check_directory(arguments: list[str]) -> None:
    """Refuse an empty directory: it would be the current one, which nobody means by it."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--data=" in options or ("--data", "") in pairwise(options):
        message = "--data needs a directory"
        raise UsageError(message)
