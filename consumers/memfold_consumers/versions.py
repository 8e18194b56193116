"""The versions of memfold and of what it stands on, as ``status`` tells them."""

from __future__ import annotations

from importlib.metadata import version

from memfold.limits import FOLD_VERSION


def versions(nats_server: str) -> dict[str, str | int]:
    """Return versions by part; the server's is what it told when we connected."""
    return {
        "memfold": version("memfold"),
        "fold": FOLD_VERSION,
        "duckdb": version("duckdb"),
        "nats_server": nats_server,
    }
