"""The way in: runs the command line and turns whatever happens into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from memfold.errors import MemfoldError
from memfold_consumers.cli.commands import app
from memfold_consumers.cli.errors import (
    BROKEN_PIPE,
    FAILURE,
    INTERRUPTED,
    OK,
    USAGE,
    exit_code,
    report,
)
from memfold_consumers.cli.options import normalised


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    _open_what_is_closed()
    try:
        code = _parse_and_run(given, as_json=as_json)
        sys.stdout.flush()
    except KeyboardInterrupt:
        report("interrupted", "interrupted", as_json=as_json)
        code = INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has enough; Python would complain once more at its end. While
        # help is printed, rich itself wants to end the process at that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Put nowhere in the place of standard streams that our caller has closed.

    Python has None for them then, and the next file or connection would get their number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


def _parse_and_run(given: list[str], *, as_json: bool) -> int:
    try:
        result = app(
            normalised(given),
            exit_on_error=False,
            print_error=False,
            help_on_error=False,
        )
    except CycloptsError as error:
        report("usage", f"{error} (see memfold --help)", as_json=as_json)
        return USAGE
    except MemfoldError as error:
        report(error.code, error.message, as_json=as_json)
        return exit_code(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        report("failure", str(error), as_json=as_json)
        return FAILURE
    # Help and version return what they are; they were printed.
    return result if isinstance(result, int) else OK


if __name__ == "__main__":
    main()
