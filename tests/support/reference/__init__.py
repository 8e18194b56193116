"""The reference pages that are written from the code, by ``make docs``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from support.shared import ROOT

REFERENCE: Final = ROOT / "docs" / "reference"


def pages() -> dict[Path, str]:
    """Return what the generated pages must hold."""
    from support.reference import command_line, python

    return {
        REFERENCE / "python.md": python.render(),
        REFERENCE / "command-line.md": command_line.render(),
    }
