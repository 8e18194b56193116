"""How fast a log is verified: its tables, its tree, and proofs from it, in one process.

.venv/bin/python benchmarks/verify.py --messages 300000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from memfold.audit import merkle
from memfold.audit.findings import Findings
from memfold.erasure_records import ErasureRecords
from memfold.wire import Recorded
from memfold_projections.leaves import Leaves, check_log
from memfold_projections.log import Log

BATCH = 2000
PROOFS = 1000
PAYLOAD = b'{"specversion":"1.0","data":"%b"}' % (b"x" * 300)


def main() -> None:
    """Make a log, and print what each step does in a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=300_000)
    count: int = parser.parse_args().messages
    with tempfile.TemporaryDirectory() as directory:
        log = Log(Path(directory) / "log.duckdb", "memfold")
        rate("append to the log", count, lambda: fill(log, count))
        findings = Findings()
        nothing = ErasureRecords()
        rate(
            "verify: messages against leaves",
            count,
            lambda: check_log(log, count, nothing, findings, lambda _: None),
        )
        assert findings.total == 0
        rate("verify: tree", count, lambda: merkle.root(Leaves(log).all(count)))
        sizes = range(1, count + 1, max(1, count // PROOFS))
        rate(
            f"verify: tree with {len(sizes)} heads",
            count,
            lambda: merkle.roots(Leaves(log).all(count), sizes),
        )
        rate(
            f"{len(sizes)} inclusion proofs",
            count,
            lambda: merkle.inclusion_proofs(Leaves(log).all(count), range(0, count, BATCH), count),
        )
        log.close()


def fill(log: Log, count: int) -> None:
    """Append messages in batches, as a fold that catches up does."""
    for first in range(1, count + 1, BATCH):
        log.append(
            [
                Recorded(n, n * 1000, "memfold.events.3.alice.t.messages.bot", PAYLOAD, f"id{n}")
                for n in range(first, min(first + BATCH, count + 1))
            ]
        )


def rate(name: str, count: int, work: Callable[[], object]) -> None:
    """Run a step and print its rate."""
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    print(f"{name:36} {count / seconds:12,.0f} messages/s {seconds:8.2f} s")


if __name__ == "__main__":
    main()
