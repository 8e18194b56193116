"""The page on imports names every format and every reason to leave something out."""

from __future__ import annotations

import re
from typing import get_args

from memfold_consumers.cli.commands.feeding import FormatName
from memfold_consumers.cli.ingest import SKIPPED
from memfold_consumers.formats.readers import FORMATS
from support.shared import ROOT

PAGE = (ROOT / "docs" / "import.md").read_text("utf-8")
PACKAGE = ROOT / "consumers" / "memfold_consumers"


def test_every_format_can_be_asked_for_and_is_in_the_page() -> None:
    assert set(get_args(FormatName)) == {*FORMATS, "locomo", "jsonl"}
    assert {form for form in FORMATS if f"| `{form}` |" not in PAGE} == set()


def test_every_reason_to_skip_is_explained() -> None:
    assert {reason for reason in SKIPPED if f"| `{reason}` |" not in PAGE} == set()
    sources = [*(PACKAGE / "formats").glob("*.py"), PACKAGE / "cli" / "older.py"]
    code = "".join(path.read_text("utf-8") for path in sources)
    given = re.findall(r'(?:Skipped\(|skipped\[)"(\w+)"', code)
    assert set(given) == set(SKIPPED)
