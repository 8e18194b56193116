"""Processes and edges: the engine, the local engine of a data directory, the command line."""

from memfold_consumers.local import local

__all__ = ["local"]
