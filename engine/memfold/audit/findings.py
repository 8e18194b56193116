"""What a verification has found wrong: bounded, each with its place. Pure.

Texts name places and never quote what stands there: contents stay out of reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

SHOWN_MAX: Final = 50
"""Findings of one kind that are kept; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; ``sequence`` is the first bad one, None without."""

    kind: str
    sequence: int | None
    where: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "kind": self.kind,
            "sequence": self.sequence,
            "where": self.where,
            "text": self.text,
        }


class Findings:
    """All that was found, in the order of its finding."""

    def __init__(self) -> None:
        self._shown: list[Finding] = []
        self.counts: dict[str, int] = {}
        """How many there are of each kind, those included that are not kept."""

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def add(self, kind: str, sequence: int | None, where: str, text: str) -> None:
        """Add one."""
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        if number < SHOWN_MAX:
            self._shown.append(Finding(kind, sequence, where, text))

    def take(self, others: Findings) -> None:
        """Add those of another list."""
        self._shown += others._shown  # of its own class
        for kind, number in others.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + number

    def to_json(self) -> list[dict[str, Any]]:
        """Return those that are kept as plain JSON."""
        return [finding.to_json() for finding in self._shown]
