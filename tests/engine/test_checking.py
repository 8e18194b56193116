"""A client's check says what the fold would say, in its words; and knows the empty template."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given

from memfold.checking import check_update
from memfold.documents import MemoryUpdate
from memfold.errors import Rejected
from memfold.fold import apply, evolve
from memfold.limits import DOCUMENT_BYTES_MAX
from memfold.reads import MemoryRead, memory_read
from memfold.state import definition_in_force
from memfold.subjects import Address
from memfold.wire import Event, read_event
from memfold_projections.views import definition_json, memory_json
from support.log import Log, envelope, read
from support.strategies import logs

TEMPLATE = "# User\n- Name:\n- City:\n"


def as_read(log: Log, resource: str = "u1", thread: str | None = None) -> MemoryRead:
    """Return a working memory as an engine's answer tells it."""
    key = (resource, thread)
    memory = log.state.memories.get(key)
    in_force = definition_in_force(log.state.memories, key)
    return memory_read(
        {
            "sequence": log.sequence,
            "revision": 0 if memory is None else memory.revision,
            "working_memory": orjson.loads(memory_json(memory)),
            "definition": orjson.loads(definition_json(in_force, memory)),
        }
    )


def change(mode: str, content: object) -> MemoryUpdate:
    data = {"scope": "resource", "mode": mode, "content": content}
    address = Address("u1", None, "memory", "bot")
    _, parsed = read_event(envelope("WorkingMemoryUpdated", data), address)
    return cast("MemoryUpdate", parsed)


def verdict(found: MemoryRead, update: MemoryUpdate) -> tuple[str, str] | None:
    """Return the (reason, message) of a check, None if it has nothing against the update."""
    try:
        check_update(found, update)
    except Rejected as error:
        return error.reason, error.message
    return None


@given(logs(size_max=40))
def test_a_check_says_of_every_update_what_the_fold_says(
    published: list[tuple[str, dict[str, Any]]],
) -> None:
    """Same reason, same message, for every state that a log can lead to."""
    log = Log()
    for subject, raw in published:
        log.sequence += 1
        for event in read(subject, raw, sequence=log.sequence):
            step = evolve(log.state, event)
            is_update = isinstance(event, Event) and raw["type"] == "WorkingMemoryUpdated"
            if is_update and step.outcome.reason != "incarnation_ended":
                assert isinstance(event, Event)
                assert event.address.resource is not None
                found = as_read(log, event.address.resource, event.address.thread)
                said = verdict(found, cast("MemoryUpdate", event.data))
                outcome = step.outcome
                if said is None or said[0] != "empty_template":
                    rejected = (outcome.reason, outcome.detail)
                    assert said == (rejected if outcome.kind == "rejected" else None)
            apply(log.state, step)


LONG = "k" * 130_000


@pytest.mark.parametrize(
    ("document", "mode", "fits", "over"),
    [
        ("x" * (DOCUMENT_BYTES_MAX - 4), "append", "abc", "abcd"),
        ({"a": "x" * (DOCUMENT_BYTES_MAX - 18)}, "merge", {"b": "abc"}, {"b": "abcd"}),
        (
            {LONG: {str(number): 1 for number in range(60)}},
            "merge",
            {LONG: {"60": 1}},
            {LONG: {str(number): 1 for number in range(60, 65)}},
        ),
    ],
)
def test_a_check_knows_the_limits_to_the_byte(
    document: object, mode: str, fits: object, over: object
) -> None:
    """A document that was read has the same room left as the fold's own, grown by parts."""
    log = Log()
    assert log.update("replace", document).kind == "applied"
    for content, reason in ((over, "document_too_large"), (fits, "")):
        said = verdict(as_read(log), change(mode, content))
        outcome = log.update(mode, content)
        assert outcome.reason == reason
        assert said == ((reason, outcome.detail) if reason else None)


def test_the_empty_template_does_not_replace_data() -> None:
    """B160: refused before it is sent, whatever its white space; the fold itself takes it."""
    log = Log()
    log.define(template=TEMPLATE)
    empty = change("replace", "# User - Name: - City:")
    assert verdict(as_read(log), empty) is None
    log.update("replace", TEMPLATE)
    assert verdict(as_read(log), empty) is None
    log.update("edit", {"search": "Name:", "replacement": "Name: Sam"})
    assert verdict(as_read(log), empty) == (
        "empty_template",
        "this is the empty template, and the working memory holds data: fill it in",
    )
    assert verdict(as_read(log), change("replace", "# User\n- Name: Ann\n- City:")) is None
    assert log.update("replace", TEMPLATE).kind == "applied"
