"""The golden events: each wire form memfold has ever published, and what folding it must give.

Never change a golden file of a released version: a new shape gets a new version, an upcaster and a
file of its own. `python -m support.golden` in tests/ writes those of `CASES` that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from memfold.canonical import encode_text
from memfold.envelope import Envelope
from memfold.events import DATA_TYPES, WorkingMemoryUpdated
from memfold.wire import Event
from support.log import FACETS, Log, read, stored
from support.shared import ROOT

HERE = ROOT / "tests" / "golden"
EVENTS = HERE / "events"
SCHEMAS = HERE / "schemas.json"
ACTOR = "support-bot"
ATTRIBUTES = {
    "specversion": "1.0",
    "source": ACTOR,
    "time": "2026-11-21T10:00:00.25Z",
    "dataversion": 1,
    "resourceid": "user_123",
    "salt": "AAECAwQFBgcICQoLDA0ODw==",
    "causationid": "0192f6c0-0000-7000-8000-000000000000",
    "correlationid": "run-1",
}
MESSAGE = {
    "id": "m17",
    "role": "user",
    "content": [{"type": "text", "text": "I moved to Berlin 🐻"}],
    "created_at": "2026-11-21T11:00:00+01:00",
    "metadata": {"speaker": "Sam", "score": 0.5, "tags": [None, 18446744073709551615]},
}
EVIDENCE = {
    "reason": "user introduced himself",
    "evidence": [{"thread": "support_456", "message": "m17"}],
}
APPEND = ("MessageAppended", "t1", {"message": MESSAGE})
CREATE = ("ThreadCreated", "t1", {"title": "Support", "metadata": {"open": True}})
TEXT = ("WorkingMemoryUpdated", "t1", {"scope": "thread", "mode": "append", "content": "- Sam"})

Published = tuple[str, str | None, dict[str, Any]]
CASES: dict[str, list[Published]] = {
    "WorkingMemoryUpdated.merge": [
        (
            "WorkingMemoryUpdated",
            None,
            {
                "scope": "resource",
                "mode": "merge",
                "content": {"name": "Sam", "x": None},
                **EVIDENCE,
            },
        )
    ],
    "WorkingMemoryUpdated.replace": [
        (
            "WorkingMemoryUpdated",
            None,
            {"scope": "resource", "mode": "replace", "content": {"a": {"b": [1.0, 1, None]}}},
        )
    ],
    "WorkingMemoryUpdated.replace-text": [
        TEXT,
        (
            "WorkingMemoryUpdated",
            "t1",
            {"scope": "thread", "mode": "replace", "content": "# Name\n- Sam\n"},
        ),
    ],
    "WorkingMemoryUpdated.append": [TEXT, ("WorkingMemoryUpdated", "t1", {**TEXT[2]})],
    "WorkingMemoryUpdated.edit": [
        TEXT,
        (
            "WorkingMemoryUpdated",
            "t1",
            {
                "scope": "thread",
                "mode": "edit",
                "content": {"search": "Sam", "replacement": "Samuel"},
            },
        ),
    ],
    "WorkingMemoryUpdated.rejected": [
        TEXT,
        ("WorkingMemoryUpdated", "t1", {"scope": "thread", "mode": "merge", "content": {"a": 1}}),
    ],
    "WorkingMemoryUpdated.reverts": [
        TEXT,
        (
            "WorkingMemoryUpdated",
            "t1",
            {
                "scope": "thread",
                "mode": "replace",
                "content": "- Samuel",
                "reverts": {"sequence": 12, "path": None},
            },
        ),
    ],
    "WorkingMemoryDefined.template": [
        ("WorkingMemoryDefined", "t1", {"scope": "thread", "template": "# Name", "reason": "why"})
    ],
    "WorkingMemoryDefined.schema": [
        (
            "WorkingMemoryDefined",
            None,
            {"scope": "resource", "json_schema": {"type": "object", "required": ["name"]}},
        )
    ],
    "MessageAppended": [APPEND],
    "MessageAppended.unchanged": [APPEND, APPEND],
    "MessageUpdated": [
        APPEND,
        (
            "MessageUpdated",
            "t1",
            {
                "id": "m17",
                "patch": {"role": "tool", "content": "Berlin", "metadata": {"speaker": None}},
            },
        ),
    ],
    "MessageDeleted": [APPEND, ("MessageDeleted", "t1", {"id": "m17"})],
    "ThreadCreated": [CREATE],
    "ThreadUpdated": [
        CREATE,
        ("ThreadUpdated", "t1", {"title": "Solved", "metadata": {"open": False}}),
    ],
    "ThreadDeleted": [CREATE, APPEND, ("ThreadDeleted", "t1", {})],
    "ThreadArchived": [CREATE, ("ThreadArchived", "t1", {})],
    "ThreadUnarchived": [
        CREATE,
        ("ThreadArchived", "t1", {}),
        ("ThreadUnarchived", "t1", {}),
    ],
    "ThreadCloned": [
        APPEND,
        (
            "ThreadCloned",
            "t1",
            {
                "source": {"resource": "user_123", "thread": "t0", "sequence": 7},
                "cut": {"last": 1, "upto": "m17", "since": "2026-11-21T10:00:00Z"},
                "messages": {"m17": "m17"},
            },
        ),
    ],
    "ParkedDiscarded": [
        ("ThreadCreated", "t1", {"nonsense": True}),
        (
            "ParkedDiscarded",
            "t1",
            {"sequence": 1, "index": 0, "fold_version": 2, "reason": "published by mistake"},
        ),
    ],
    "ResourceUpdated": [("ResourceUpdated", None, {"metadata": {"plan": "pro", "gone": None}})],
    "Erased.resource": [APPEND, ("Erased", None, {"target": "resource", "reason": "asked to"})],
    "Erased.thread": [APPEND, ("Erased", "t1", {"target": "thread"})],
    "Erased.message": [APPEND, ("Erased", "t1", {"target": "message", "message": "m17"})],
    "Erased.event": [APPEND, ("Erased", "t1", {"target": "event", "position": [1, 0]})],
    "Redacted": [("Redacted", None, {"erasure": 9, "sequences": [[1, 3], [5, 5]]})],
    "Restated": [
        (
            "Restated",
            "t1",
            {
                "erasure": 9,
                "position": [4, 1],
                "subject": "memfold.events.3.user_123.t1.messages.support-bot",
                "time_ns": 1764000000123456789,
                "event": "eyJpZCI6ImUifQ==",
            },
        )
    ],
    "ErasureCompleted": [
        (
            "ErasureCompleted",
            None,
            {"erasure": 9, "engine": "7c0f", "stores": {"log": 3, "generations": 2}},
        )
    ],
}


def messages(published: list[Published]) -> list[dict[str, Any]]:
    """Return the NATS messages of a case, as the stream stores them."""
    found = []
    for number, (type_, thread, data) in enumerate(published):
        event = {**ATTRIBUTES, "id": f"0192f6c0-{number}", "type": type_, "data": data}
        if thread is not None:
            event["threadid"] = thread
        subject = stored(FACETS[type_], resource="user_123", thread=thread, actor=ACTOR)
        found.append({"subject": subject, "payload": event})
    return found


def folded(case: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the last message of a case does: its digest, its outcome and what it puts."""
    log = Log()
    for message in case:
        log.put(message["subject"], message["payload"])
    (event,) = read(case[-1]["subject"], case[-1]["payload"], sequence=log.sequence)
    assert isinstance(event, Event)
    step = log.steps[-1]
    groups: dict[str, Mapping[Any, Any] | None] = {
        "memories": step.memories,
        "threads": step.threads,
        "resources": step.resources,
        "messages": step.messages,
    }
    if step.parked is not None:
        groups["parked"] = dict([step.parked])
    puts = {
        f"{name} {key}": None if entity is None else asdict(entity)
        for name, group in groups.items()
        for key, entity in (group or {}).items()
    }
    recorded = {
        "digest": event.digest.hex(),
        "outcome": asdict(step.outcome),
        "puts": puts,
        "keyframe": step.keyframe is not None,
    }
    return dict(json.loads(encode_text(recorded)))


def schemas() -> dict[str, Any]:
    """Return the JSON Schema of the envelope and of each type's data."""
    return {
        "envelope": Envelope.model_json_schema(),
        "WorkingMemoryUpdated": TypeAdapter(WorkingMemoryUpdated).json_schema(),
        **{cls.type: cls.model_json_schema() for cls in DATA_TYPES},
    }


def write() -> None:
    """Write the golden files that are missing; what is there stays as it is."""
    EVENTS.mkdir(exist_ok=True)
    for name, published in CASES.items():
        path = EVENTS / f"{name}.json"
        if not path.exists():
            case = messages(published)
            content = {"messages": case, "last": folded(case)}
            path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if not SCHEMAS.exists():
        SCHEMAS.write_text(json.dumps(schemas(), indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    write()
