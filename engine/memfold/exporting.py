"""Exports of the log: recorded messages with their proofs, as lines that check themselves.

What the lines are like, and what makes them right, is in ``memfold.audit.check_export``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from memfold.audit.check_export import FORMAT, Check, Wrong, canonical
from memfold.errors import LogDiverged, NotYetConsistent
from memfold.recorded import Asked, RecordedMessage, read_recorded_pages
from memfold.requests import Queries

PROOFS_MAX: Final = 300
"""Proofs in one answer: 40 nodes of 67 bytes each would fill it."""
OLDER_MAX: Final = 16
"""Older trees in one answer."""
HEADS_MAX: Final = 1000
"""Older trees in one export."""
PATIENCE_S: Final = 600.0
"""How long an engine may take to compute the tree for the first time."""
PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported: a resource, one thread of it, or (None) the whole log.

    ``heads`` are the sizes of older trees that the export proves to be the beginning of its own.
    """

    namespace: str
    resource: str | None
    thread: str | None = None
    heads: Sequence[int] = ()


@dataclass(slots=True)
class Export:
    """One export on its way; each line is checked as its reader will check it."""

    queries: Queries
    wanted: Wanted
    size: int
    """Messages in the tree: all up to this sequence are exported."""
    count: int = 0
    _check: Check = field(default_factory=Check)
    _hash: Any = field(default_factory=hashlib.sha256)

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the lines.

        Raises:
            LogDiverged: what the engine says does not fit together.
        """
        wanted = self.wanted
        older = sorted({each for each in wanted.heads if 0 < each < self.size})[-HEADS_MAX:]
        root = (await self._prove([], []))["root"]
        heads: list[dict[str, Any]] = []
        for start in range(0, len(older), OLDER_MAX):
            sizes = older[start : start + OLDER_MAX]
            found = (await self._prove([], sizes))["older"]
            heads += [{"size": size, **proved} for size, proved in zip(sizes, found, strict=True)]
        yield self._line(
            {
                "kind": "header",
                "format": FORMAT,
                "namespace": wanted.namespace,
                "resource": wanted.resource,
                "thread": wanted.thread,
                "size": self.size,
                "root": root,
                "heads": heads,
            }
        )
        asked = Asked(
            wanted.resource,
            wanted.thread,
            upto=self.size,
            whole_log=wanted.resource is None,
            min_sequence=self.size,
        )
        async for page, _ in read_recorded_pages(self.queries, asked):
            for start in range(0, len(page), PROOFS_MAX):
                part = page[start : start + PROOFS_MAX]
                proofs = (await self._prove([each.sequence for each in part], []))["proofs"]
                for message, proof in zip(part, proofs, strict=True):
                    yield self._line(_message(message, proof))
                    self.count += 1
        digest = self._hash.hexdigest()
        yield self._line({"kind": "end", "count": self.count, "sha256": digest})

    async def _prove(self, sequences: list[int], older: list[int]) -> dict[str, Any]:
        asked = {"size": self.size, "sequences": sequences, "older": older}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.queries.ask(
                        "proofs", self.wanted.resource, asked, min_sequence=self.size
                    )
                except NotYetConsistent:
                    await asyncio.sleep(PAUSE_S)

    def _line(self, value: dict[str, Any]) -> bytes:
        line = canonical(value)
        try:
            self._check.take(line)
        except Wrong as error:
            problem = f"the engine's log does not fit together, line {self._check.line}: {error}"
            raise LogDiverged(problem) from None
        self._hash.update(line)
        return line


def _message(message: RecordedMessage, proof: list[str]) -> dict[str, Any]:
    if message.redacted:
        # What is left of it proves nothing: the leaf is that of what was recorded.
        return {
            "kind": "erased",
            "sequence": message.sequence,
            "leaf": message.leaf,
            "proof": proof,
        }
    return {
        "kind": "message",
        "sequence": message.sequence,
        "time_ns": message.time_ns,
        "subject": message.subject,
        "msg_id": message.msg_id,
        "payload": base64.b64encode(message.payload).decode(),
        "proof": proof,
    }
