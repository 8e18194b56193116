"""The four real conversations: every fact's evidence, every session's state, every difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold_consumers.local_engine import ensure_engine
from memfold_consumers.ownership import Lease
from support.locomo import (
    conversations,
    ended,
    evidence_ids,
    expected_memory,
    ingest,
    read_file,
    sessions,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

Fact = tuple[str, list[str]]
"""What it says, and the ids of the turns that show it."""


def facts_of(file: dict[str, Any]) -> list[dict[str, Fact]]:
    """Return by path the facts that each session adds, worked out from the file alone."""
    count: dict[tuple[str, str], int] = {}
    found: list[dict[str, Fact]] = []
    for number in range(1, 100):
        observations: dict[str, list[list[Any]]] = file.get(f"session_{number}_observation", {})
        facts: dict[str, Fact] = {}
        for speaker, listed in observations.items():
            for fact, evidence in listed:
                ids = evidence_ids(evidence)
                key = "+".join(ids)
                count[speaker, key] = count.get((speaker, key), 0) + 1
                facts[f"/{speaker}/facts/{key}.{count[speaker, key]}"] = (fact, ids)
        if facts:
            found.append(facts)
    return found


def upto(file: dict[str, Any], last: int) -> dict[str, Any]:
    """Return the file as if it ended with the n-th session that has facts."""
    names = [
        f"session_{n}_observation" for n in range(1, 100) if f"session_{n}_observation" in file
    ]
    named = [name for name in names if file[name] and any(file[name].values())]
    later = set(named[last:])
    return {name: value for name, value in file.items() if name not in later}


async def check_blame(wm: memfold.WorkingMemory, file: dict[str, Any]) -> int:
    """Each fact leads to the turns that the file names for it, with their words and speakers."""
    turns = {turn["dia_id"]: (name, turn) for name, all_ in sessions(file).items() for turn in all_}
    facts = {path: fact for session in facts_of(file) for path, fact in session.items()}
    blame = await wm.blame()
    assert {entry.path: entry.value for entry in blame.entries} == {
        path: fact for path, (fact, _) in facts.items()
    }
    for entry in blame.entries:
        assert entry.path is not None
        assert entry.event is not None
        _, ids = facts[entry.path]
        assert [source.message for source in entry.event.evidence] == list(dict.fromkeys(ids))
        assert entry.event.more_evidence == 0
        assert entry.event.cause == entry.event.evidence[0]
        for source in entry.event.evidence:
            name, turn = turns[source.message]
            assert (source.thread, source.text) == (name, turn["text"])
            assert (source.since, source.cut, source.role) == ("unchanged", False, "user")
    return len(blame.entries)


async def check_sessions(wm: memfold.WorkingMemory, file: dict[str, Any]) -> int:
    """After each session there is what its facts and the earlier ones make, and no more."""
    each_session = facts_of(file)
    ends: list[int] = []
    changes = await wm.history()
    for facts in each_session:
        mine = [
            change for change in changes if {part.path for part in change.changes} & facts.keys()
        ]
        ends.append(max(change.sequence for change in mine) if mine else 0)
    whole = await wm.history(whole=True)
    start = 0
    for number, (facts, end) in enumerate(zip(each_session, ends, strict=True), start=1):
        state = await wm.get(as_of=end)
        assert state is not None
        assert (state.sequence, state.content) == (end, expected_memory(upto(file, number)))
        diff = await wm.diff(start, end)
        assert {(entry.kind, entry.path, entry.after) for entry in diff.entries} == {
            ("added", path, fact) for path, (fact, _) in facts.items()
        }
        start = end
    assert whole[-1].after == expected_memory(file)
    return len(ends)


async def test_every_fact_of_the_conversations_is_accounted_for(tmp_path: Path) -> None:
    """Blame, as of and diff against what the files say, worked out on its own."""
    files = conversations()
    data = tmp_path / "data"
    with Lease(data):
        code, summary = await ingest(data, files)
        assert code == 0
        info = await ensure_engine(data)
        facts = 0
        async with memfold.connect(info.url, actor="auditor") as memory:
            for path in files:
                file, wm = read_file(path), memory.resource(path.stem).working_memory
                facts += await check_blame(wm, file)
                assert await check_sessions(wm, file) == len(facts_of(file)) > 1
        assert facts == summary["events"] - summary["messages"] > 0
    await ended(data)
