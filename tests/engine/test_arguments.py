"""Likely mistakes in a call: each gets an error that says what is taken, and nothing is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest

from memfold.client import Client
from memfold.connection import Connection
from memfold.errors import InvalidRequest
from memfold.memory import Memory
from memfold.messages import Message
from memfold.pages import Include

HELLO = Message(role="user", content="hello")


@pytest.fixture
def memory() -> Memory:
    """Return a memory without a connection: whatever tried to send would fail otherwise."""
    nobody = cast("Connection", object())
    return Memory(
        Client(nobody, namespace="memfold", actor="bot", timeout_s=1.0, query_timeout_s=1.0)
    )


@pytest.mark.parametrize("given", ["hello", b"hello", None, 5, ["hello"], [None], object()])
async def test_what_is_no_message_is_not_appended(memory: Memory, given: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="a message"):
        await memory.resource("alice").thread("t").append(given)


async def test_an_empty_list_writes_nothing_and_says_so(memory: Memory) -> None:
    """B52, B132: ours is an error, because a receipt would have to name a place in the log."""
    thread = memory.resource("alice").thread("t")
    with pytest.raises(InvalidRequest, match="nothing to write"):
        await thread.append([])
    with pytest.raises(InvalidRequest, match="nothing to write"):
        await thread.delete_messages([])


@pytest.mark.parametrize("given", [None, 5, b"m"])
async def test_what_is_no_message_id_is_not_deleted(memory: Memory, given: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match="a message id"):
        await memory.resource("alice").thread("t").delete_messages(given)


@pytest.mark.parametrize("given", [[1], 5, object()])
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda alice, given: alice.working_memory.merge(given), "merge"),
        (lambda alice, given: alice.working_memory.replace(given), "replace"),
        (lambda alice, given: alice.working_memory.define(schema=given), "schema="),
        (lambda alice, given: alice.update(metadata=given), "metadata="),
        (lambda alice, given: alice.thread("t").create(metadata=given), "metadata="),
    ],
)
async def test_what_is_no_object_is_not_written(
    memory: Memory,
    call: Callable[[Any, Any], Awaitable[object]],
    named: str,
    given: Any,  # noqa: ANN401
) -> None:
    with pytest.raises(InvalidRequest, match=f"{named}.* takes a JSON object"):
        await call(memory.resource("alice"), given)


async def test_text_is_no_object_and_is_not_quoted(memory: Memory) -> None:
    with pytest.raises(InvalidRequest, match="not a str") as caught:
        await memory.resource("alice").working_memory.merge(cast("Any", "a secret"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("expected", ["x", -1, True, 1.5, 1 << 63])
async def test_what_is_no_revision_is_not_expected(memory: Memory, expected: Any) -> None:  # noqa: ANN401
    """The server takes a number that it cannot read for none at all, and would write."""
    alice = memory.resource("alice")
    calls: list[Awaitable[object]] = [
        alice.working_memory.merge({"n": 1}, expected=expected),
        alice.update(metadata={}, expected=expected),
        alice.thread("t").append(HELLO, expected=expected),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest, match="expected="):
            await call


@pytest.mark.parametrize("because", [object(), 5, "m1", "", [object()]])
async def test_what_is_no_reason_is_not_recorded(memory: Memory, because: Any) -> None:  # noqa: ANN401
    alice = memory.resource("alice")
    for write in (
        alice.working_memory.merge({"n": 1}, because=because),
        alice.thread("t").append(HELLO, because=because),
    ):
        with pytest.raises(InvalidRequest, match="because="):
            await write


LISTS: list[tuple[Callable[[Memory, Any], Awaitable[object]], str, list[Any]]] = [
    (lambda memory, given: alice(memory).threads(as_of=given), "as_of=", ["1", 0.5, True, -1]),
    (lambda memory, given: alice(memory).threads(limit=given), "limit=", ["1", 0.5, True, -1]),
    (lambda memory, given: alice(memory).thread_page(limit=given), "limit=", [None, "1", 0.5]),
    (lambda memory, given: alice(memory).thread_page(page=given), "page=", ["1", 0.5, True, -1]),
    (lambda memory, given: alice(memory).thread_page(after=given), "after=", [5, b"x", ["x"]]),
    (lambda memory, given: alice(memory).threads(order=given), "no JSON", [object(), "\ud800"]),
    (lambda memory, given: memory.parked(limit=given), "limit=", ["1", 0.5]),
    (lambda memory, given: alice(memory).history(after=given), "after=", [5, "12", (1,), (1, "2")]),
    (lambda memory, given: alice(memory).messages(after=given), "after=", [5, "12", (1,)]),
    (lambda memory, given: alice(memory).messages(before=given), "before=", [5, "12", (1, None)]),
    (lambda memory, given: alice(memory).messages(last=given), "last=", ["1", 0.5, -1]),
    (
        lambda memory, given: alice(memory).messages(threads=given),
        "threads=",
        ["t01", b"t01", 5, [5], ["\ud800"], [""]],
    ),
    (
        lambda memory, given: alice(memory).messages(include=given),
        "nclude",
        [["m1"], Include("m1"), "m1", 5, [Include("")], [Include("m", thread="\ud800")]],
    ),
    (
        lambda memory, given: alice(memory).message_page(include=[given]),
        "before= and after=|before=",
        [Include("m", before=-1), Include("m", before=cast("int", 0.5)), Include("m", after=1001)],
    ),
    (
        lambda memory, given: alice(memory).messages(since=given),
        "since=",
        [
            "2026-01-01",
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        ],
    ),
]


def alice(memory: Memory) -> Any:  # noqa: ANN401  # so that mistakes can be typed
    return memory.resource("alice")


@pytest.mark.parametrize(
    ("call", "named", "given"),
    [(call, named, each) for call, named, all_ in LISTS for each in all_],
)
async def test_what_a_list_cannot_take_gets_a_sentence(
    memory: Memory,
    call: Callable[[Memory, Any], Awaitable[object]],
    named: str,
    given: Any,  # noqa: ANN401  # that is the mistake
) -> None:
    """Wrong types and numbers are refused before anything is sent."""
    with pytest.raises(InvalidRequest, match=named):
        await call(memory, given)
