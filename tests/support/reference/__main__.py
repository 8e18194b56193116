"""Writes the generated reference pages: run it in ``tests``."""

from __future__ import annotations

from support.reference import pages

for path, content in pages().items():
    path.write_text(content, "utf-8")
