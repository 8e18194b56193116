"""Answers about a past that something was erased of say so, from wherever that past begins."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from memfold import Memory, Message, NotFound, NotYetConsistent, Receipt
from memfold.erasure import Erasure
from memfold.requests import Queries
from memfold_projections.store import Store
from support.engine import running_memory

pytestmark = pytest.mark.integration


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncGenerator[Memory]:
    async with running_memory(tmp_path) as (found, _):
        yield found


async def written(memory: Memory) -> list[int]:
    """Write three changes, and erase the second one; return their sequences and the end's."""
    wm = memory.resource("alice").working_memory
    receipts = [await wm.merge(each) for each in ({"a": 1}, {"b": "secret"}, {"c": 3})]
    await memory.erase_event((receipts[1].sequence, 0))
    receipts.append(await wm.merge({"d": 4}))
    return [each.sequence for each in receipts]


async def test_blame_and_differences_of_a_redacted_past_say_so(memory: Memory) -> None:
    """A difference is of two moments: the earlier one counts, also where the later one is now."""
    first, second, third, last = await written(memory)
    wm = memory.resource("alice").working_memory
    assert (await wm.blame(as_of=third)).redacted
    assert not (await wm.blame(as_of=last)).redacted
    assert not (await wm.blame()).redacted
    for end in (third, last, None):
        found = await wm.diff(first, end)
        assert found.redacted
        assert found.to_json()["redacted"] is True
    assert "secret" not in str(await wm.diff(second))
    assert not (await wm.diff(last)).redacted


async def test_pages_of_a_redacted_past_say_so(memory: Memory) -> None:
    _, _, third, last = await written(memory)
    thread = memory.resource("alice").thread("t")
    await thread.append(Message(role="user", content="hello"))
    assert (await thread.message_page(as_of=third)).redacted
    now = await thread.message_page(as_of=last)
    assert not now.redacted
    assert now.to_json()["redacted"] is False
    assert not (await thread.message_page()).redacted


async def test_what_is_just_being_erased_is_refused_from_the_start_on(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the engine had been stopped between dropping what is served and rewriting its files."""
    first, _, third, last = await written(memory)
    wm = memory.resource("alice").working_memory
    pending = Store.erasures_pending
    [told] = await memory.erasures()
    erasure = Erasure(told["sequence"], "alice", None, "event")

    def one_more(self: Store) -> list[Erasure]:
        return [*pending(self), erasure]

    monkeypatch.setattr(Store, "erasures_pending", one_more)
    for start, end in ((first, None), (first, last), (third, third)):
        with pytest.raises(NotYetConsistent, match="being erased"):
            await wm.diff(start, end)
    assert (await wm.diff(last)).entries == ()


async def test_a_past_snapshot_tells_how_far_the_engine_is_behind_now(memory: Memory) -> None:
    """Not how far back it was asked for."""
    first, *_ = await written(memory)
    alice = memory.resource("alice")
    thread = alice.thread("t")
    receipt = await thread.append(Message(role="user", content="hello"))
    await receipt.applied()
    assert (await thread.snapshot()).lag == 0
    for as_of in (0, first, receipt.sequence):
        past = await thread.snapshot(as_of=as_of)
        assert (past.sequence, past.lag) == (as_of, 0)


async def test_a_revert_to_what_was_erased_is_refused_and_not_taken_for_empty(
    memory: Memory,
) -> None:
    """Where nothing is left of it nobody can tell; what is known to have been empty is restored."""
    wm = memory.resource("alice").working_memory
    said = await memory.resource("alice").thread("t").append(Message(role="user", content="hello"))
    receipt = await wm.merge({"secret": 1})
    await memory.erase_event((receipt.sequence, 0))
    fresh = await wm.merge({"fresh": 1})
    for path in (None, "/fresh"):
        for to in (receipt.sequence, said.sequence):
            with pytest.raises(NotFound, match="may have been erased"):
                await wm.revert(to, path=path)
    state = await wm.get()
    assert state is not None
    assert (state.content, state.revision) == ({"fresh": 1}, fresh.sequence)
    assert isinstance(await wm.revert(0), Receipt)
    state = await wm.get()
    assert state is not None
    assert state.content == {}


async def test_an_account_of_thousands_of_lines_comes_whole(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In few answers: each works the whole document out anew."""
    wm = memory.resource("alice").working_memory
    asked: list[str] = []
    ask = Queries.ask

    async def noted(self: Queries, operation: str, *rest: Any, **named: Any) -> dict[str, Any]:  # noqa: ANN401  # passed on
        asked.append(operation)
        return await ask(self, operation, *rest, **named)

    monkeypatch.setattr(Queries, "ask", noted)
    lines = [f"line {number}" for number in range(12_000)]
    first = await wm.replace("\n".join(lines))
    second = await wm.edit("line 7000\n", "another\n")
    found = await wm.blame()
    assert [each.value for each in found.entries] == [*lines[:7000], "another", *lines[7001:]]
    assert [each.line for each in found.entries] == list(range(1, 12_001))
    events = [each.event and each.event.sequence for each in found.entries]
    assert events == [first.sequence] * 7000 + [second.sequence] + [first.sequence] * 4999
    diff = await wm.diff(0)
    assert [each.after for each in diff.entries] == [each.value for each in found.entries]
    assert len(asked) < 10
