"""Dataclasses of which each event makes some: frozen for the type checkers, plain at run time.

A frozen dataclass sets its fields one by one through ``object.__setattr__``, which takes four times
as long. Both type checkers refuse what would change a field, so nothing is left unguarded by that.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as per_event
else:

    def per_event(*, frozen: bool, slots: bool):  # noqa: ANN201
        """Return the decorator; ``frozen`` is what the type checkers see."""
        return dataclasses.dataclass(unsafe_hash=frozen, slots=slots)


__all__ = ["per_event"]
