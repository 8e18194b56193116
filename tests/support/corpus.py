"""The corpus: recorded event streams of each released version, and what folding them gave.

`python -m support.corpus` in tests/ (or `make corpus`) writes the directory of the version at hand
if there is none. It never touches one that is there: what was recorded is what was published.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from memfold.fold import apply, evolve
from memfold.state import State
from memfold.upcast import UPCASTERS, Upcaster
from memfold.wire import Event, Recorded, Unreadable, read_message
from support.golden import CASES, MESSAGE
from support.log import FACETS, NAMESPACE, dump, envelope, stored
from support.scenario import make_log
from support.shared import ROOT

HERE = ROOT / "tests" / "corpus"
SECOND_NS = 1_000_000_000
BEGAN_NS = 1_795_255_200 * SECOND_NS
"""2026-11-21 10:00 UTC."""


def streams() -> dict[str, list[Recorded]]:
    """Return the streams of this version: one told by hand, and one with everything in it."""
    return {"story": list(_story()), "everything": make_log(2026, 400)}


def _story() -> Iterator[Recorded]:
    """Yield every event type and mode, every outcome, a batch, and each way to be parked."""
    written: list[tuple[str, object]] = []
    for name, case in CASES.items():
        thread = name.replace(".", "-").lower()
        for number, (type_, scoped, data) in enumerate(case):
            place = None if scoped is None else thread
            given = json.loads(json.dumps(data))
            if type_ == "ParkedDiscarded":
                given["sequence"] = len(written)
            event = envelope(type_, given, id=f"{name}-{number}")
            written.append((stored(FACETS[type_], thread=place), event))
    batch = [
        envelope("MessageAppended", {"message": {**MESSAGE, "id": f"b{n}"}}, id=f"b{n}")
        for n in range(3)
    ]
    batch[1]["data"] = {"nonsense": True}
    appended = stored("messages", thread="batch")
    written += [(appended, batch), (appended, batch[0]), (appended, {**batch[0], "time": None})]
    memory = stored("memory", thread=None)
    unknown = envelope("Unheard", {}, id="unknown")
    written += [
        (memory, unknown),
        (memory, {**unknown, "type": "WorkingMemoryDefined", "dataversion": 99}),
        (memory, {**unknown, "type": "ResourceUpdated"}),
        (memory, {**unknown, "type": "WorkingMemoryDefined", "source": "somebody"}),
        (memory, b'{"a":1,"a":2}'),
        (memory, b"\xff"),
        (memory, b"[]"),
        (memory, b"{"),
        (f"{NAMESPACE}.events.3.a%2eb._.memory.bot", b"{}"),
        (f"{NAMESPACE}.elsewhere", b"{}"),
    ]
    for sequence, (subject, payload) in enumerate(written, start=1):
        raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        yield Recorded(sequence, BEGAN_NS + sequence * SECOND_NS, subject, raw, f"id-{sequence}")


def read(stream: Path) -> Iterator[Recorded]:
    """Yield the messages of a file, one a line."""
    for line in stream.read_bytes().splitlines():
        raw = json.loads(line)
        payload = raw.get("payload")
        yield Recorded(
            raw["sequence"],
            raw["time_ns"],
            raw["subject"],
            base64.b64decode(raw["base64"]) if payload is None else payload.encode(),
            raw["msg_id"],
        )


def line(message: Recorded) -> bytes:
    """Return a message on one line, its payload as text where it is some."""
    shown: dict[str, Any] = {
        "sequence": message.sequence,
        "time_ns": message.time_ns,
        "subject": message.subject,
        "msg_id": message.msg_id,
    }
    try:
        shown["payload"] = message.payload.decode()
    except UnicodeDecodeError:
        shown["base64"] = base64.b64encode(message.payload).decode()
    return json.dumps(shown, ensure_ascii=False).encode() + b"\n"


def fold(
    messages: Iterator[Recorded], upcasters: Mapping[tuple[str, int], Upcaster] = UPCASTERS
) -> tuple[dict[str, Any], State, list[tuple[Event | Unreadable, str, str]]]:
    """Fold a stream; return its digests, its state, and what became of each event."""
    state = State()
    told: list[tuple[Event | Unreadable, str, str]] = []
    identities = hashlib.sha256()
    time_us = 0
    for message in messages:
        time_us = max(time_us, message.time_ns // 1000)
        for event in read_message(NAMESPACE, message, time_us=time_us, upcasters=upcasters):
            step = evolve(state, event)
            apply(state, step)
            told.append((event, step.outcome.kind, step.outcome.reason))
            identities.update(event.digest if isinstance(event, Event) else b"-")
    outcomes = [[event.sequence, event.index, kind, reason] for event, kind, reason in told]
    digests = {
        "events": len(told),
        "identities": identities.hexdigest(),
        "outcomes": hashlib.sha256(orjson.dumps(outcomes)).hexdigest(),
        "state": hashlib.sha256(dump(state).encode()).hexdigest(),
        "kinds": dict(sorted(Counter(kind for _, kind, _ in told).items())),
    }
    return digests, state, told


def write(home: Path = HERE) -> bool:
    """Write the directory of this version; tell whether there was none."""
    directory = home / version("memfold")
    if directory.exists():
        return False
    directory.mkdir(parents=True)
    digests = {}
    for name, messages in streams().items():
        file = directory / f"{name}.ndjson"
        file.write_bytes(b"".join(map(line, messages)))
        digests[name] = fold(read(file))[0]
    (directory / "digests.json").write_text(json.dumps(digests, indent=1) + "\n", "utf-8")
    return True


if __name__ == "__main__":
    write()
