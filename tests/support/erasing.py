"""An erasure as its client carries it out, in a stream that is a list."""

from __future__ import annotations

from typing import Any

import orjson

from memfold.erasure import Erasure, gone, part_of, ranges, restatements
from memfold.erasure_records import ErasureRecords
from memfold.leaf import leaf_hash
from memfold.subjects import Address
from memfold.wire import Event, Recorded, read_message
from support.log import NAMESPACE, envelope


class Stream:
    """Recorded messages by sequence; what is deleted leaves a hole, and its leaf stays known."""

    def __init__(self, messages: list[Recorded]) -> None:
        self.last = messages[-1].sequence if messages else 0
        self.messages = {message.sequence: message for message in messages}
        self.leaves = {message.sequence: leaf_hash(message) for message in messages}
        self.recorded: dict[int, Recorded] = {}
        """All records, also those that a later erasure has deleted."""
        self.time_ns = max((message.time_ns for message in messages), default=0)

    def record(
        self, type_: str, data: dict[str, Any], resource: str | None, thread: str | None
    ) -> Recorded:
        """Record one event of the facet erasure."""
        self.last += 1
        self.time_ns += 1_000_000
        subject = f"{NAMESPACE}.events.3.{Address(resource, thread, 'erasure', 'bot').tokens()}"
        event = envelope(type_, data, id=f"record-{self.last}")
        message = Recorded(self.last, self.time_ns, subject, orjson.dumps(event))
        self.messages[self.last] = self.recorded[self.last] = message
        self.leaves[self.last] = leaf_hash(message)
        return message

    def erase(
        self, target: str, resource: str | None, thread: str | None = None, **more: object
    ) -> list[Recorded]:
        """Erase, from the record to the deletions; return what was recorded for it."""
        data = {"target": target, **more}
        recorded = [self.record("Erased", data, resource, thread)]
        position = more.get("position")
        erasure = Erasure(
            recorded[0].sequence,
            resource,
            thread,
            target,
            str(more["message"]) if "message" in more else None,
            (position[0], position[1]) if isinstance(position, list) else None,
        )
        found = [
            (message, part)
            for message in self.messages.values()
            if (part := part_of(erasure, message)) is not None
        ]
        if not found:
            return recorded
        sequences = ranges(sorted(message.sequence for message, _ in found))
        redacted = {"erasure": erasure.sequence, "sequences": sequences}
        recorded.append(self.record("Redacted", redacted, resource, thread))
        for message, part in found:
            for said in restatements(erasure.sequence, message, part):
                address = message.subject.split(".")
                owner = None if address[3] == "_" else resource
                inside = None if address[4] == "_" else thread or _decoded(address[4])
                recorded.append(self.record("Restated", said, owner, inside))
        for message, _ in found:
            del self.messages[message.sequence]
        return recorded

    def as_read_by_a_new_engine(self) -> list[Recorded]:
        """Return the messages from the first on, holes filled from the records."""
        holes = ErasureRecords()
        for message in self.messages.values():
            if message.subject.split(".")[5] == "erasure":
                for event in read_message(NAMESPACE, message, time_us=0):
                    if isinstance(event, Event):
                        holes.add(event)
        assert holes.unexplained(1, 0) == []
        found: list[Recorded] = []
        for sequence in range(1, self.last + 1):
            message_ = self.messages.get(sequence)
            if message_ is None:
                assert holes.explains(sequence)
                message_ = holes.message(sequence, self.leaves[sequence])
            found.append(message_)
        return found


def _decoded(token: str) -> str:
    from memfold.ids import decode_token

    return decode_token(token)


__all__ = ["Stream", "gone"]
