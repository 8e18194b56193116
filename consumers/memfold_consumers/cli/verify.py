"""``memfold verify``: the report of an engine's verification, for people and programs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from memfold.audit.findings import SHOWN_MAX
from memfold.audit.heads import read_head
from memfold.errors import EngineInUse, EngineUnavailable
from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import DIVERGED, OK, UsageError
from memfold_consumers.cli.jobs import run_job
from memfold_consumers.cli.options import Options
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.cli.reading import ACTOR

Report = dict[str, Any]

HEADS_AT_ONCE: Final = 5000
"""Heads in one request: some 500 KB."""
UNREADABLE: Final = "head_unreadable"
UNREADABLE_FILE: Final = "file_unreadable"


async def verify(options: Options, heads: Path | None, *, quick: bool, acknowledge: bool) -> int:
    """Verify, print the report, and return 6 if there are findings."""
    given, unreadable = read_heads(heads) if heads is not None else ([], [])
    try:
        async with engine(options, actor=ACTOR) as access:
            report = await _verify(access, given, quick=quick, acknowledge=acknowledge)
    except EngineUnavailable:
        if options.server is not None or not await _is_damaged(options.directory):
            raise
        report = _damaged(len(given))
    if unreadable:
        report["ok"] = False
        report["findings"] += unreadable[:SHOWN_MAX]
        counts = report["counts"]
        counts[UNREADABLE] = counts.get(UNREADABLE, 0) + len(unreadable)
    if options.json:
        write_json(report)
    else:
        _print(report)
    return OK if report["ok"] else DIVERGED


def read_heads(path: Path) -> tuple[list[list[Any]], list[Report]]:
    """Return the heads of a file as a job takes them, and findings for lines that hold none.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise UsageError(message) from None
    given: list[list[Any]] = []
    unreadable: list[Report] = []
    for number, line in enumerate(lines, start=1):
        place = f"line {number}"
        try:
            head = read_head(line)
        except ValueError as error:
            where = f"given {place}"
            unreadable.append(
                {"kind": UNREADABLE, "sequence": None, "where": where, "text": str(error)}
            )
        else:
            given.append([head.size, head.root.hex(), place])
    return given, unreadable


async def _verify(
    access: Access, given: list[list[Any]], *, quick: bool, acknowledge: bool
) -> Report:
    arguments: Report = {"quick": quick, "acknowledge": acknowledge}
    report = await run_job(access, "verify", {**arguments, "heads": given[:HEADS_AT_ONCE]})
    for start in range(HEADS_AT_ONCE, len(given), HEADS_AT_ONCE):
        part = given[start : start + HEADS_AT_ONCE]
        more = await run_job(access, "verify", {"only_heads": True, "heads": part})
        report["ok"] = report["ok"] and more["ok"]
        report["findings"] += more["findings"]
        report["phases"] += more["phases"]
        for name in ("given", "agree", "ahead"):
            report["heads"][name] += more["heads"][name]
        for kind, number in more["counts"].items():
            report["counts"][kind] = report["counts"].get(kind, 0) + number
    return report


async def _is_damaged(directory: Path) -> bool:
    """Tell whether no engine starts because its log cannot be read."""
    from memfold_consumers.takeover import owned
    from memfold_projections.readable import is_damaged
    from memfold_projections.store import LOG

    try:
        async with owned(directory):
            return await asyncio.to_thread(is_damaged, directory / LOG)
    except EngineInUse:
        return False


def _damaged(given: int) -> Report:
    """Return the report of a log that no engine can start on."""
    text = (
        "it is damaged, and no engine can start on it: put a copy of the data directory in its "
        "place, or move this file away, then the engine reads the log from the stream again"
    )
    finding = {"kind": UNREADABLE_FILE, "sequence": None, "where": "log.duckdb", "text": text}
    return {
        "ok": False,
        "size": 0,
        "root": "",
        "heads": {"published": 0, "file": 0, "given": given, "agree": 0, "ahead": 0},
        "phases": [],
        "findings": [finding],
        "counts": {UNREADABLE_FILE: 1},
        "erasures": [],
        "incidents": [],
    }


def _print(report: Report) -> None:
    out = Printer()
    if report["phases"]:
        _print_checked(out, report)
    acknowledged = sum(each["acknowledged"] for each in report["incidents"])
    if acknowledged:
        out.line(f"incidents that were acknowledged: {acknowledged}")
    if report["erasures"]:
        out.line(f"erasures: {len(report['erasures'])}")
    if report["ok"]:
        out.line("ok: nothing was changed", "green")
        return
    out.line()
    number = sum(report["counts"].values())
    out.heading("1 finding" if number == 1 else f"{number} findings")
    rows = [
        [each[name] for name in ("kind", "sequence", "where", "text")]
        for each in report["findings"]
    ]
    out.table(("kind", "#sequence", "where", "what"), rows)
    if len(rows) < number:
        counts = ", ".join(f"{kind} {count}" for kind, count in report["counts"].items())
        out.line(f"in all: {counts}")


def _print_checked(out: Printer, report: Report) -> None:
    out.heading(f"{report['size']} messages, root {report['root']}")
    out.table(
        ("phase", "#checked", "#seconds", "#per second", "#findings"),
        [
            [each[name] for name in ("name", "checked", "seconds", "per_second", "findings")]
            for each in report["phases"]
        ],
    )
    heads = report["heads"]
    out.line(
        f"heads: {heads['published']} published, {heads['file']} in heads.ndjson, "
        f"{heads['given']} given; {heads['agree']} agree, {heads['ahead']} are ahead of this log"
    )
