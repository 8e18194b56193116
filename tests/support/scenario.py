"""Random but repeatable logs with everything in them: all event types, rule breakers, garbage."""

from __future__ import annotations

import random
from typing import Any

import orjson

from memfold.wire import Recorded
from support.log import FACETS, envelope, stored

RESOURCES = ["u1", "u 2", "_", "ü.*>"]
THREADS = ["t1", "t2", "_"]
IDS = [f"m{n}" for n in range(12)]
GARBAGE = [b"", b"\xff", b"{", b"[]", b'{"a":NaN}', b'{"a":1,"a":2}', b"7"]


def make_log(seed: int, messages: int) -> list[Recorded]:
    """Return a log of so many recorded messages, some of them batches, at uneven server times."""
    chance = random.Random(seed)  # repeatable, not secret
    log: list[Recorded] = []
    time_ns = 1_000_000_000
    known: list[tuple[str, bytes]] = []
    for sequence in range(1, messages + 1):
        # Server clocks go back now and then; the log's time must not.
        time_ns += chance.randrange(-2_000_000, 9_000_000)
        if known and chance.random() < 0.08:
            subject, payload = chance.choice(known)
        else:
            subject, payload = _message(chance)
            known.append((subject, payload))
        log.append(Recorded(sequence, time_ns, subject, payload, f"id-{sequence}"))
    return log


def _message(chance: random.Random) -> tuple[str, bytes]:
    resource, thread = chance.choice(RESOURCES), chance.choice(THREADS)
    type_ = chance.choice(
        ["MessageAppended"] * 8
        + ["WorkingMemoryUpdated"] * 6
        + ["MessageUpdated", "MessageDeleted", "ThreadCreated", "ThreadUpdated", "ThreadDeleted"]
        + ["ResourceUpdated", "WorkingMemoryDefined"]
        + ["ThreadArchived", "ThreadUnarchived", "ThreadCloned", "ParkedDiscarded"]
    )
    facet = FACETS[type_]
    scoped = facet in {"messages", "thread"} or (facet == "memory" and chance.random() < 0.4)
    subject = stored(facet, resource=resource, thread=thread if scoped else None)
    if chance.random() < 0.04:
        return subject, chance.choice(GARBAGE)
    events = [
        envelope(type_, _data(chance, type_, scoped=scoped), id=f"e{chance.randrange(10**9)}")
        for _ in range(chance.choice([1, 1, 1, 2, 5]))
    ]
    if chance.random() < 0.05:
        chance.choice(events)["data"] = {"nonsense": True}
    return subject, orjson.dumps(events if len(events) > 1 else events[0])


def _data(chance: random.Random, type_: str, *, scoped: bool) -> dict[str, Any]:
    metadata = {chance.choice("abc"): chance.choice([1, None, "x", {"deep": [1]}])}
    text = chance.choice(["hello", "été \x00 😀", "", "line\nline"])
    id_ = chance.choice(IDS)
    if type_ == "WorkingMemoryUpdated":
        return _memory_update(chance, text, scoped=scoped)
    schema = {"type": "object", "properties": {"a": {"type": ["integer", "null"]}}}
    definitions: list[dict[str, Any]] = [{"template": "# Name"}, {"json_schema": schema}, {}]
    data: dict[str, dict[str, Any]] = {
        "MessageAppended": {
            "message": {"id": id_, "role": "user", "content": text, "metadata": metadata}
        },
        "MessageUpdated": {"id": id_, "patch": {"content": text, "metadata": metadata}},
        "MessageDeleted": {"id": id_},
        "ThreadCreated": {"title": text, "metadata": metadata},
        "ThreadUpdated": {"title": text, "metadata": metadata},
        "ThreadDeleted": {},
        "ParkedDiscarded": {
            "sequence": chance.randrange(1, 400),
            "index": 0,
            "fold_version": 2,
            "reason": text or "why",
        },
        "ThreadArchived": {},
        "ThreadUnarchived": {},
        "ThreadCloned": {
            "source": {"resource": "u1", "thread": "t1", "sequence": chance.randrange(2)},
            "messages": {id_: id_},
        },
        "ResourceUpdated": {"metadata": metadata},
        "WorkingMemoryDefined": {
            "scope": "thread" if scoped else "resource",
            **chance.choice(definitions),
        },
    }
    return data[type_]


def _memory_update(chance: random.Random, text: str, *, scoped: bool) -> dict[str, Any]:
    modes: list[tuple[str, object]] = [
        ("merge", {chance.choice("abcd"): {"x": chance.randrange(5), "y": None}}),
        ("merge", {chance.choice("abcd"): None}),
        ("replace", chance.choice([text, {"a": chance.randrange(3)}])),
        ("append", text),
        ("edit", {"search": "hello", "replacement": "bye"}),
    ]
    mode, content = chance.choice(modes)
    return {"scope": "thread" if scoped else "resource", "mode": mode, "content": content}
