"""Data that lies beside the repository and never inside it: what needs it is skipped without it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


def shared_dir() -> Path:
    """Return ``../shared`` of the repository's root, or skip the test, saying so."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: its data is not part of the repository")
    return SHARED
