"""From errors to exit codes and one line for people: what went wrong, and what to do.

Imports nothing heavy: it must be there before anything can fail.
"""

from __future__ import annotations

import json
import sys
from typing import Final

from memfold.errors import MemfoldError
from memfold_consumers.cli.text import printable

OK: Final = 0
"""ok"""
FAILURE: Final = 1
"""failure: all that is not one of the others"""
USAGE: Final = 2
"""usage"""
NOT_FOUND: Final = 3
"""not found"""
REFUSED: Final = 4
"""conflict, or events that were rejected or parked"""
NO_BROKER: Final = 5
"""broker unreachable"""
DIVERGED: Final = 6
"""the log does not match what was folded"""
NO_ENGINE: Final = 7
"""no engine"""
INTERRUPTED: Final = 130
"""interrupted"""
BROKEN_PIPE: Final = 141
"""whoever read the output has closed it"""

_EXIT_CODES: Final = {
    "invalid_id": USAGE,
    "invalid_request": USAGE,
    "not_found": NOT_FOUND,
    "conflict": REFUSED,
    "rejected": REFUSED,
    "parked": REFUSED,
    "broker_unavailable": NO_BROKER,
    "log_diverged": DIVERGED,
    "engine_unavailable": NO_ENGINE,
    "stream_missing": NO_ENGINE,
}
_WHAT_TO_DO: Final = {
    "broker_unavailable": "check that the NATS server runs and that --nats names it",
    "engine_in_use": "use it, end it, wait until its last user is gone, or give another --data",
    "engine_unavailable": "start one: memfold serve",
    "log_diverged": "nothing was skipped: see memfold status, then memfold restore --dry-run",
    "not_yet_consistent": "the engine is still folding: see memfold status, then ask again",
    "publish_denied": "check the permissions of the NATS user",
    "storage_error": "see the files of the data directory",
    "stream_full": "raise the stream's limit",
    "stream_missing": "start an engine, which creates the streams: memfold serve",
    "unsafe_stream": "change the setting as said",
}


class UsageError(MemfoldError):
    """The command line does not fit together."""

    code = "usage"


def exit_code(error: MemfoldError) -> int:
    """Return the exit code of an error."""
    return USAGE if isinstance(error, UsageError) else _EXIT_CODES.get(error.code, FAILURE)


def report(code: str, message: str, *, as_json: bool) -> None:
    """Say on stderr what went wrong: one line for people, or one JSON object.

    The object is ``{"error": {"code", "message"}}``.
    """
    if as_json:
        text = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False)
    else:
        advice = _WHAT_TO_DO.get(code)
        first, newline, rest = message.partition("\n")
        first = first if advice is None else f"{first} ({advice})"
        text = printable(f"memfold: {first}{newline}{rest}", keep="\n")
    sys.stderr.write(f"{text}\n")
