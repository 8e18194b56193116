"""Processes and edges: the engine, the local engine of a data directory, the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memfold_consumers.local_engine import local as local

__all__ = ["local"]


if not TYPE_CHECKING:  # A checker would take every misspelt name for a public one.

    def __getattr__(name: str) -> object:
        """Import ``local`` when it is first used: the command line's help must not pay for it."""
        if name == "local":
            from memfold_consumers.local_engine import local

            return local
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
