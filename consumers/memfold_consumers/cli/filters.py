"""Filters as they are typed: ``--metadata KEY=VALUE``, dates, an order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from memfold.arguments import SEQUENCE_MAX
from memfold.canonical import from_us, to_us
from memfold.errors import InvalidEvent
from memfold.gate import parse
from memfold_consumers.cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class ThreadFilters:
    """Which threads are listed, and in which order."""

    metadata: Sequence[str] = ()
    order: str = "created_at"
    oldest_first: bool = False
    archived: bool | None = None
    first: int | None = None
    as_of: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what the query takes."""
        given: dict[str, Any] = {"order": self.order, "descending": not self.oldest_first}
        if self.archived is not None:
            given["archived"] = self.archived
        return {**given, **metadata_argument(self.metadata), **moment("--as-of", self.as_of)}


@dataclass(frozen=True, slots=True)
class MessageFilters:
    """Which messages are listed."""

    metadata: Sequence[str] = ()
    since: str | None = None
    until: str | None = None
    as_of: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what the query takes."""
        bounds = {"since": self.since, "until": self.until}
        given = {
            name: _time(f"--{name}", text) for name, text in bounds.items() if text is not None
        }
        return {**given, **metadata_argument(self.metadata), **moment("--as-of", self.as_of)}


def moment(option: str, text: str | None, name: str = "as_of") -> dict[str, int | str]:
    """Return an argument that is a sequence or a time; nothing where it is not given.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return {}
    if text.isascii() and text.isdecimal():
        if int(text) > SEQUENCE_MAX:
            message = f"{option} takes a sequence up to {SEQUENCE_MAX}"
            raise UsageError(message)
        return {name: int(text)}
    return {name: _time(option, text, " or a sequence")}


def metadata_argument(entries: Sequence[str]) -> dict[str, Any]:
    """Return the filter of ``KEY=VALUE`` entries; a value that is JSON is meant as such.

    Raises:
        UsageError: an entry without an equals sign.
    """
    found: dict[str, Any] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals:
            message = f"--metadata takes KEY=VALUE, not {entry!r}"
            raise UsageError(message)
        try:
            found[key] = parse(value.encode())
        except InvalidEvent:
            found[key] = value
    return {"metadata": found} if found else {}


def _time(name: str, text: str, more: str = "") -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        examples = "2026-11-21 or 2026-11-21T10:00:00Z"
        message = f"{name} takes a date or a time{more}, as {examples}"
        raise UsageError(message) from None
    try:
        return from_us(to_us(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)))
    except OverflowError:
        message = f"{name} is outside the years 1 to 9999 of UTC"
        raise UsageError(message) from None
