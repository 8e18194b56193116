"""What a command prints: JSON for programs, plain lines for pipes, tables and colour for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from memfold_consumers.cli.text import printable

if TYPE_CHECKING:
    from rich.console import Console


REDACTED: Final = "redacted: something of this resource was erased since"


def write_json(value: object) -> None:
    """Print one JSON value on one line of stdout."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")


def flush() -> None:
    """Send out what was printed, so that a reader need not wait for the end."""
    sys.stdout.flush()


class Printer:
    """Prints for people: on a terminal with tables and colour, else plain lines with tabs.

    All text is taken as it stands: nothing in it is markup, and control characters are escaped.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        from rich.console import Console

        class Quiet(Console):
            """A console that lets a closed pipe be told like any other output's."""

            def on_broken_pipe(self) -> None:
                raise BrokenPipeError

        self._terminal = (sys.stderr if stderr else sys.stdout).isatty()
        self.console: Console = Quiet(
            stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=not self._terminal
        )

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line; its newlines are escaped."""
        self._print(printable(text, keep="\t"), style)

    def block(self, text: str, style: str = "") -> None:
        """Print text with its own newlines."""
        self._print(printable(text, keep="\n\t"), style)

    def heading(self, text: str) -> None:
        """Print a heading."""
        self.line(text, "bold")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print a table; a column whose name begins with ``#`` holds numbers."""
        if not self._terminal:
            for row in [[name.lstrip("#") for name in columns], *rows]:
                self.line("\t".join(printable(_cell(cell)) for cell in row))
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for name in columns:
            table.add_column(
                Text(name.lstrip("#")),
                justify="right" if name.startswith("#") else "left",
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(Text(printable(_cell(cell), keep="\n")) for cell in row))
        self.console.print(table)

    def _print(self, text: str, style: str) -> None:
        from rich.text import Text

        self.console.print(Text(text, style=style))


def note_redacted() -> None:
    """Say on stderr, beside a list that others may read, that it is of a past with a hole."""
    Printer(stderr=True).line(REDACTED)


def pretty(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return JSON with indentation, for people."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def compact(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return text as it is, and anything else as JSON on one line."""
    import orjson

    return value if isinstance(value, str) else orjson.dumps(value).decode()


def part(value: Any, line: int | None) -> str:  # noqa: ANN401  # any JSON value
    """Return a line of a text as it is, a part of JSON on one line: there 1 is not "1"."""
    import orjson

    if line is not None and isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _cell(value: object) -> str:
    return "" if value is None else str(value)
