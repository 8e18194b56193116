"""``python benchmarks/past.py``: how long a past state takes after 100,000 changes of one memory.

Wall time is what a reader waits, and moves with what else the machine does; processor time, of all
threads, is what the read costs. Blame needs the provenance as well, so it is measured on its own.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from memfold.wire import Recorded
from memfold_projections.generation import Generation
from memfold_projections.past import LAST, memory_as_of, trace_as_of
from memfold_projections.reader import Reader, reading

CHANGES = 100_000
BATCH = 100
MESSAGES = 10
"""Folded at once."""
SUBJECT = "memfold.events.3.u1._.memory.bench"
TARGET_MS = 20.0

Change = Callable[[random.Random, int], tuple[str, object]]


def small_json(chance: random.Random, number: int) -> tuple[str, object]:
    """Change one of twenty keys."""
    return "merge", {f"k{chance.randrange(20)}": {"v": number}}


def large_json(chance: random.Random, number: int) -> tuple[str, object]:
    """Change one of four thousand keys."""
    return "merge", {f"key{chance.randrange(4000):05d}": {"n": number}}


def small_text(_: random.Random, number: int) -> tuple[str, object]:
    """Change the only line."""
    return "edit", {"search": f"x{number - 1}.", "replacement": f"x{number}."}


def large_text(chance: random.Random, number: int) -> tuple[str, object]:
    """Change one line of thousands."""
    line = chance.randrange(4600)
    return "edit", {"search": f"- line {line} ", "replacement": f"- line {line} {number % 10} "}


LARGE_JSON = {f"key{n:05d}": {"name": f"value number {n}", "n": n} for n in range(4000)}
LARGE_TEXT = "\n".join(f"- line {n} says something about a person" for n in range(4600))
CASES: dict[str, tuple[object, Change]] = {
    "JSON, 300 bytes": ({f"k{n}": {"v": n} for n in range(20)}, small_json),
    "JSON, 200 KB": (LARGE_JSON, large_json),
    "text, one line": ("x0.", small_text),
    "text, 200 KB": (LARGE_TEXT, large_text),
}


def main() -> None:
    """Measure each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=CHANGES)
    parser.add_argument("--reads", type=int, default=400)
    parser.add_argument("--case", choices=CASES, action="append")
    options = parser.parse_args()
    for name in options.case or CASES:
        with tempfile.TemporaryDirectory(prefix="memfold-bench-") as directory:
            generation, last = folded(Path(directory), *CASES[name], options.changes)
            state = measured(generation, last, options.reads, read_state)
            blame = measured(generation, last, options.reads // 4, read_trace)
            size = generation.path.stat().st_size / 1e6
            print(f"{name}: {options.changes:,} changes, {size:.0f} MB")
            print(f"  as of {state} (target: p99 <= {TARGET_MS:g} ms)\n  blame {blame}", flush=True)
            generation.close()


def folded(directory: Path, first: object, change: Change, changes: int) -> tuple[Generation, int]:
    """Return a generation with so many changes of one memory, and its last sequence."""
    generation = Generation(directory / "bench.duckdb", "memfold")
    chance = random.Random(1)
    events = [event("replace", first, 0)]
    messages: list[Recorded] = []
    sequence = 0
    for number in range(1, changes + 1):
        events.append(event(*change(chance, number), number))
        if len(events) < BATCH and number < changes:
            continue
        sequence += 1
        messages.append(Recorded(sequence, sequence, SUBJECT, orjson.dumps(events)))
        events = []
        if len(messages) == MESSAGES or number == changes:
            generation.fold(messages)
            messages = []
    generation.tidy()
    return generation, sequence


def event(mode: str, content: object, number: int) -> dict[str, Any]:
    """Return an update of the memory."""
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "type": "WorkingMemoryUpdated",
        "source": "bench",
        "data": {"scope": "resource", "mode": mode, "content": content},
    }


def read_state(reader: Reader, sequence: int) -> None:
    """Read the memory as a query does."""
    assert memory_as_of(reader, "u1", None, sequence).document is not None


def read_trace(reader: Reader, sequence: int) -> None:
    """Read the memory with its provenance."""
    assert trace_as_of(reader, 1, (sequence, LAST)).content is not None


def measured(
    generation: Generation, last: int, reads: int, read: Callable[[Reader, int], None]
) -> str:
    """Read at random sequences; return the times."""
    chance = random.Random(2)
    wall: list[float] = []
    cost: list[float] = []
    for _ in range(reads):
        sequence = chance.randint(1, last)
        began, began_cpu = time.perf_counter(), time.process_time()
        with reading(generation) as reader:
            read(reader, sequence)
        wall.append((time.perf_counter() - began) * 1e3)
        cost.append((time.process_time() - began_cpu) * 1e3)
    return f"wall {quantiles(wall)}, processor {quantiles(cost)}"


def quantiles(times: list[float]) -> str:
    """Return the median and the 99th percentile."""
    ordered = sorted(times)
    return f"p50 {ordered[len(ordered) // 2]:.1f} p99 {ordered[int(len(ordered) * 0.99)]:.1f} ms"


if __name__ == "__main__":
    main()
