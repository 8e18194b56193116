"""A projection file with flipped bits under an engine that runs: it is folded anew meanwhile."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

import memfold
from memfold import Message
from support.broker import running_broker
from support.engine import running_engine

pytestmark = [pytest.mark.integration, pytest.mark.faults]

MESSAGES = 300


async def test_a_reader_that_meets_damage_gets_its_answer_from_a_new_generation(
    tmp_path: Path,
) -> None:
    """Who asks waits a little longer; what was written meanwhile is there, too."""
    chance = random.Random(7)
    # Nothing that could be compressed, so that it stands in the file as it is.
    texts = [base64.b64encode(chance.randbytes(600)).decode() for _ in range(MESSAGES)]
    for name in ("broker", "engine"):
        (tmp_path / name).mkdir()
    async with (
        running_broker(tmp_path / "broker") as broker,
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        thread = memory.resource("alice").thread("t")
        async with running_engine(broker.url, tmp_path / "engine"):
            await (
                await thread.append([Message(role="user", content=text) for text in texts])
            ).applied()
        path = tmp_path / "engine" / "generations" / "000001.duckdb"
        content = bytearray(path.read_bytes())
        place = content.find(texts[MESSAGES // 2].encode()[:100])
        assert place > 0
        content[place] ^= 1
        path.write_bytes(content)
        async with running_engine(broker.url, tmp_path / "engine"):
            assert (await memory.status())["generation"] == 1
            late = await memory.resource("alice").working_memory.merge({"n": 1})
            assert [message.content for message in await thread.messages()] == texts
            assert await late.applied() == "applied"
            status = await memory.status()
            assert (status["generation"], status["parked"]) == (2, 0)
            assert path.exists()
