"""The definition in force as it is read: whose it is, and whether the document keeps to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import memfold
from memfold import InvalidRequest, Memory
from support.engine import running_memory

pytestmark = pytest.mark.integration

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"age": {"type": "integer"}}}


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Memory]:
    async with running_memory(tmp_path) as (opened, _):
        yield opened


async def test_the_definition_in_force_is_read_with_its_scope(memory: Memory) -> None:
    """B157: the template or schema in force; the thread's, else the resource's, else the default's.

    None where nothing was defined. Each read follows the write before it at once.
    """
    alice = memory.resource("alice")
    own, threads = alice.working_memory, alice.thread("t").working_memory
    assert await own.definition() is None
    assert await memory.defaults.definition() is None

    async def scopes() -> list[str | None]:
        found = [await each.definition() for each in (memory.defaults, own, threads)]
        return [None if each is None else each.scope for each in found]

    await memory.defaults.define(template="# Anyone")
    assert await scopes() == ["namespace"] * 3
    await own.define(schema=SCHEMA)
    assert await scopes() == ["namespace", "resource", "resource"]
    receipt = await threads.define(template="# This thread\n")
    assert await scopes() == ["namespace", "resource", "thread"]
    assert await threads.definition() == memfold.DefinitionState(
        kind="template",
        template="# This thread\n",
        json_schema=None,
        scope="thread",
        conforms=True,
        sequence=receipt.sequence,
    )
    found = await own.definition()
    assert found is not None
    assert (found.kind, found.template, found.json_schema) == ("schema", None, SCHEMA)
    for each in (threads, own, memory.defaults):
        await each.define()
    assert await scopes() == [None] * 3


async def test_a_document_that_breaks_its_definition_is_told(memory: Memory) -> None:
    """A definition that the document already breaks is accepted, and marks it."""
    own = memory.resource("alice").working_memory

    async def conforms() -> bool:
        found = await own.definition()
        assert found is not None
        return found.conforms

    await own.merge({"age": "old"})
    await own.define(schema=SCHEMA)
    assert not await conforms()
    await own.merge({"age": 7})
    assert await conforms()
    await own.define(template="# Text\n")
    assert not await conforms()


async def test_document_and_definition_are_read_at_one_sequence(memory: Memory) -> None:
    """The revision counts rejected writes, and is there before any document is."""
    own = memory.resource("alice").working_memory
    assert await own.read() == memfold.MemoryRead(None, None, 0, 0)
    await own.define(schema=SCHEMA)
    refused = await own.merge({"age": "old"})
    found = await own.read()
    assert (found.state, found.revision, found.sequence) == (None, refused.sequence, 2)
    written = await own.merge({"age": 7})
    found = await own.read()
    assert found.state == await own.get()
    assert found.definition == await own.definition()
    assert found.revision == found.sequence == written.sequence
    shown = found.to_json()
    assert shown["state"]["content"] == {"age": 7}
    assert shown["definition"]["json_schema"] == SCHEMA


async def test_a_deleted_thread_takes_its_definition_with_it(memory: Memory) -> None:
    thread = memory.resource("alice").thread("t")
    await thread.working_memory.define(template="# Once")
    assert await thread.working_memory.definition() is not None
    await thread.delete()
    assert await thread.working_memory.definition() is None


async def test_a_thread_without_a_resource_is_no_question(memory: Memory) -> None:
    with pytest.raises(InvalidRequest):
        await memory._client.queries.ask("working_memory", None, {"thread": "t"})
