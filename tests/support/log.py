"""A log in memory for tests of the pure core: publish events, fold them, look at what came out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from memfold.canonical import encode_text
from memfold.fold import apply, evolve
from memfold.gate import parse
from memfold.state import Document, Memory, MemoryKey, Message, Resource, State, Thread
from memfold.steps import Outcome, Step
from memfold.subjects import Address, Facet
from memfold.wire import Event, Recorded, Unreadable, read_message

NAMESPACE = "memfold"
TIME = "2026-11-21T10:00:00Z"
FACETS: dict[str, Facet] = {
    "WorkingMemoryUpdated": "memory",
    "WorkingMemoryDefined": "memory",
    "MessageAppended": "messages",
    "MessageUpdated": "messages",
    "MessageDeleted": "messages",
    "ThreadCreated": "thread",
    "ThreadUpdated": "thread",
    "ThreadDeleted": "thread",
    "ThreadArchived": "thread",
    "ThreadUnarchived": "thread",
    "ThreadCloned": "thread",
    "ResourceUpdated": "resource",
    "Erased": "erasure",
    "Redacted": "erasure",
    "Restated": "erasure",
    "ErasureCompleted": "erasure",
    "ParkedDiscarded": "erasure",
}


def stored(
    facet: Facet, *, resource: str | None = "u1", thread: str | None = None, actor: str = "bot"
) -> str:
    """Return the subject as the stream stores it."""
    return f"{NAMESPACE}.events.3.{Address(resource, thread, facet, actor).tokens()}"


def envelope(type_: str, data: object, **attributes: object) -> dict[str, Any]:
    """Return an event that names neither resource nor thread unless ``attributes`` do."""
    return {
        "specversion": "1.0",
        "id": "e1",
        "type": type_,
        "source": "bot",
        "time": TIME,
        "dataversion": 1,
        "data": data,
        **attributes,
    }


def read(subject: str, payload: object, *, sequence: int = 1) -> list[Event | Unreadable]:
    """Read one message; a payload that is not bytes is written as JSON first."""
    raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    return list(
        read_message(NAMESPACE, Recorded(sequence, 0, subject, raw), time_us=sequence * 1_000_000)
    )


@dataclass
class Log:
    """A log and the state folded from it. Sequence n is recorded at n seconds after 1970."""

    state: State = field(default_factory=State)
    sequence: int = 0
    steps: list[Step] = field(default_factory=list)

    def put(self, subject: str, payload: object) -> list[Outcome]:
        """Record one message and fold it; return the outcome of each of its events."""
        self.sequence += 1
        outcomes = []
        for event in read(subject, payload, sequence=self.sequence):
            step = evolve(self.state, event)
            apply(self.state, step)
            self.steps.append(step)
            outcomes.append(step.outcome)
        return outcomes

    def publish(
        self,
        type_: str,
        data: object,
        *,
        resource: str | None = "u1",
        thread: str | None = None,
        **attributes: object,
    ) -> Outcome:
        """Record one event under a fresh id (unless given) and return its outcome."""
        subject = stored(FACETS[type_], resource=resource, thread=thread)
        event = envelope(type_, data, **{"id": f"e{self.sequence + 1}", **attributes})
        (outcome,) = self.put(subject, event)
        return outcome

    def append(self, id_: str, text: str = "hello", thread: str = "t1", **more: Any) -> Outcome:  # noqa: ANN401  # passed on
        """Append a message of the user to a thread."""
        message = {"id": id_, "role": "user", "content": text, **more.pop("message", {})}
        return self.publish("MessageAppended", {"message": message}, thread=thread, **more)

    def update(self, mode: str, content: object, thread: str | None = None, **more: Any) -> Outcome:  # noqa: ANN401  # passed on
        """Update the working memory of the resource, or of a thread."""
        scope = "resource" if thread is None else "thread"
        data = {"scope": scope, "mode": mode, "content": content}
        return self.publish("WorkingMemoryUpdated", data, thread=thread, **more)

    def define(
        self,
        thread: str | None = None,
        *,
        template: str | None = None,
        json_schema: dict[str, Any] | None = None,
    ) -> Outcome:
        """Define the working memory of the resource, or of a thread; neither takes it away."""
        scope = "resource" if thread is None else "thread"
        data = {"scope": scope, "template": template, "json_schema": json_schema}
        return self.publish("WorkingMemoryDefined", data, thread=thread)

    def memory(self, thread: str | None = None) -> Memory:
        """Return a working memory's facet, an empty one where there is none."""
        return self.state.memories.get(("u1", thread), Memory())

    def document(self, thread: str | None = None) -> Document:
        """Return the document of a working memory that has one."""
        document = self.memory(thread).document
        assert document is not None
        return document

    def content(self, thread: str | None = None) -> object:
        """Return the content of a working memory, None where there is none."""
        document = self.memory(thread).document
        return None if document is None else document.content

    def messages(self, thread: str = "t1") -> list[Message]:
        """Return a thread's messages in their order."""
        found = [m for key, m in self.state.messages.items() if key[:2] == ("u1", thread)]
        return sorted(found, key=lambda message: message.position)

    def thread(self, thread: str = "t1") -> Thread:
        """Return a thread."""
        return self.state.threads["u1", thread]

    def resource(self) -> Resource:
        """Return the resource."""
        return self.state.resources["u1"]


def dump(state: State) -> str:
    """Return all of a state as canonical JSON, to compare two of them."""
    return encode_text(
        [
            sorted([[_text(key), asdict(memory)] for key, memory in state.memories.items()]),
            sorted([[list(key), asdict(thread)] for key, thread in state.threads.items()]),
            sorted([[key, asdict(resource)] for key, resource in state.resources.items()]),
            sorted([[list(key), asdict(message)] for key, message in state.messages.items()]),
            sorted([[list(key), value[0].hex(), value[1]] for key, value in state.seen.items()]),
        ]
    )


def _text(key: MemoryKey) -> list[str]:
    return [part or "" for part in key]


def decoded(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return a value as it comes back from its canonical text."""
    return parse(encode_text(value).encode())
