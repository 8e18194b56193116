"""The filter on metadata: which keys must be there, each with exactly this JSON value.

Metadata is stored in canonical form, so an entry that is there stands in the text as one piece. The
statement looks for the pieces, which is fast and never misses one; whether a piece is an entry of
its own, and not part of a longer or a nested one, is decided on the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from memfold.canonical import encode_text, same
from memfold_projections.rows import decode

FITS: Final = (
    "len(list_filter($needles::TEXT[], lambda needle: NOT contains(metadata, needle))) = 0"
)
"""Condition on a column ``metadata``; takes ``$needles``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Entries that metadata must have; true if there are any."""

    entries: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __bool__(self) -> bool:
        return bool(self.entries)

    @property
    def needles(self) -> list[str]:
        """Return what the canonical text of fitting metadata contains."""
        return [encode_text({key: value})[1:-1] for key, value in self.entries.items()]

    def fits(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether metadata has every entry; 1, 1.0, "1" and true are four values."""
        return all(
            key in metadata and same(metadata[key], value) for key, value in self.entries.items()
        )

    def fits_text(self, metadata: str) -> bool:
        """Tell the same of stored metadata."""
        return not self.entries or self.fits(decode(metadata))


ANY: Final = Wanted()
