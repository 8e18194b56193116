"""An engine that has halted beside one that folds: nobody's question gets lost in it."""

from __future__ import annotations

from pathlib import Path

import pytest

import memfold
from memfold.errors import LogDiverged
from support.broker import running_broker
from support.engine import running_engine

pytestmark = [pytest.mark.integration, pytest.mark.faults]


async def test_a_halted_engine_leaves_the_questions_to_one_that_folds(tmp_path: Path) -> None:
    """Alone it still says why nobody answers."""
    for name in ("lost", "broker", "halted", "engine"):
        (tmp_path / name).mkdir()
    async with (
        running_broker(tmp_path / "lost") as lost,
        running_engine(lost.url, tmp_path / "halted"),
        memfold.connect(lost.url, actor="bot") as memory,
    ):
        working = memory.resource("alice").working_memory
        for n in range(5):
            await (await working.merge({"lost": n})).applied()
    async with (
        running_broker(tmp_path / "broker") as broker,
        memfold.connect(broker.url, actor="bot") as memory,
        running_engine(broker.url, tmp_path / "halted"),
    ):
        alice = memory.resource("alice").working_memory
        with pytest.raises(LogDiverged, match="ends at 0, but 5"):
            await alice.get()
        assert (await memory.status())["state"] == "halted"
        async with running_engine(broker.url, tmp_path / "engine"):
            await (await alice.merge({"n": 1})).applied()
            for _ in range(20):
                found = await alice.get()
                assert found is not None
                assert found.content == {"n": 1}
        with pytest.raises(LogDiverged):
            await alice.get()
