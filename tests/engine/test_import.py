"""What importing memfold costs: agent workers must not load what only engines need."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ["duckdb", "faststream", "memfold_projections", "memfold_consumers", "cyclopts", "rich"]


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after running some code."""
    report = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}; {report}"], check=True, capture_output=True, text=True
    )
    return set(run.stdout.split())


def test_importing_memfold_loads_next_to_nothing() -> None:
    """Neither the engine's libraries nor, before it is used, the client's."""
    found = loaded_by("import memfold")
    assert "memfold" in found
    assert found.isdisjoint([*HEAVY, "nats", "pydantic"])


def test_using_the_client_loads_no_engine() -> None:
    """Events and client need NATS and pydantic, never DuckDB or FastStream."""
    found = loaded_by("import memfold; memfold.connect, memfold.Message, memfold.Prepared")
    assert {"nats", "pydantic"} <= found
    assert found.isdisjoint(HEAVY)
