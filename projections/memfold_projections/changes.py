"""Collects what the steps of one batch change, as rows. No SQL here.

Versions that begin and end inside the batch stay among the rows with their interval; versions
that begin and end at one sequence were never visible and leave no row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memfold.canonical import encode_text
from memfold.events import Erased, ErasureCompleted
from memfold.wire import Event, Unreadable
from memfold_projections.bloom import local_hash
from memfold_projections.database import OPEN
from memfold_projections.documents import MEMORY, RESOURCE, THREAD, change_row, event_row
from memfold_projections.rows import Row, message_row, resource_row, thread_row

if TYPE_CHECKING:
    from memfold.definitions import Definition
    from memfold.provenance import Position
    from memfold.state import (
        Memory,
        MemoryKey,
        Message,
        MessageKey,
        Resource,
        Thread,
        ThreadKey,
    )
    from memfold.steps import Outcome, Step
    from memfold_projections.loader import Loader


Key = tuple[int | str, ...]
"""What has one open row at a time."""


@dataclass(slots=True)
class Versions:
    """Rows with validity intervals of one table, keyed by what has one open row at a time."""

    open: dict[Key, Row] = field(default_factory=dict[Key, Row])
    ended: list[Row] = field(default_factory=list[Row])
    closes: dict[Key, int] = field(default_factory=dict[Key, int])
    begun: dict[Key, int] = field(default_factory=dict[Key, int])

    def close(self, key: Key, sequence: int) -> None:
        """End the open version of a key, be it of this batch or stored before."""
        row = self.open.pop(key, None)
        if row is None:
            self.closes.setdefault(key, sequence)
            return
        if self.begun[key] < sequence:
            self.ended.append((*row, self.begun[key], sequence))

    def put(self, key: Key, row: Row, sequence: int, *, known: bool) -> None:
        """Begin a version; ``known`` says that an earlier one may be open."""
        if known:
            self.close(key, sequence)
        self.open[key] = row
        self.begun[key] = sequence

    def rows(self) -> list[Row]:
        """Return all rows to insert, in a deterministic order."""
        return self.ended + [(*row, self.begun[key], OPEN) for key, row in self.open.items()]


@dataclass(slots=True)
class Changes:
    """The rows of one batch."""

    resources: Versions = field(default_factory=Versions)
    threads: Versions = field(default_factory=Versions)
    messages: Versions = field(default_factory=Versions)
    definitions: Versions = field(default_factory=Versions)
    memories: dict[MemoryKey, Memory] = field(default_factory=dict["MemoryKey", "Memory"])
    keyframes: list[Row] = field(default_factory=list[Row])
    documents: list[Row] = field(default_factory=list[Row])
    outcomes: list[Row] = field(default_factory=list[Row])
    parked: list[Row] = field(default_factory=list[Row])
    discarded: list[Row] = field(default_factory=list[Row])
    seen: list[Row] = field(default_factory=list[Row])
    erasures: list[Row] = field(default_factory=list[Row])
    completions: list[Row] = field(default_factory=list[Row])

    def add(
        self, loader: Loader, event: Event | Unreadable, step: Step, next_keys: NextKeys
    ) -> None:
        """Add one step. Call before it is applied to the loader's state."""
        if step.resources or step.threads or step.memories:
            self._entities(loader, event, step, next_keys)
        if step.messages:
            self._messages(loader, step.messages, step.threads or {}, event.sequence)
        # Nearly every event is of a message and was applied: all else costs it one look.
        address, outcome = event.address, step.outcome
        if address is None or address.facet != "messages":
            row = change_row(loader, event, step)
            if row is not None:
                self.documents.append(row)
        if step.seen is not None:
            key, digest, position = step.seen
            self.seen.append((loader.hashes[key], *key, digest, *position))
        if outcome.kind != "applied" or outcome.detail:
            self._outcome(event, outcome)
        elif step.parked is not None:
            self._discard(event, step.parked[0])
        if address is not None and address.facet == "erasure" and outcome.kind == "applied":
            self._record(event)

    def _entities(
        self, loader: Loader, event: Event | Unreadable, step: Step, next_keys: NextKeys
    ) -> None:
        for name, resource in (step.resources or {}).items():
            self._resource(loader, name, resource, event)
        for thread_key, thread in (step.threads or {}).items():
            self._thread(loader, thread_key, thread, event, next_keys)
        for memory_key, memory in (step.memories or {}).items():
            self._memory(loader, memory_key, memory, event, next_keys)
        if step.keyframe is not None:
            document = step.keyframe.document
            self.keyframes.append(
                (
                    loader.memory_keys[step.keyframe.key],
                    *document.changed,
                    encode_text(document.content),
                    document.format,
                    document.changed_at_us,
                    encode_text(document.provenance),
                )
            )

    def _record(self, event: Event | Unreadable) -> None:
        """Note what an event of the facet ``erasure`` says of the log."""
        if isinstance(event, Unreadable):
            return
        address, data = event.address, event.data
        if isinstance(data, Erased):
            self.erasures.append(
                (
                    event.sequence,
                    event.index,
                    address.resource or "",
                    address.thread or "",
                    data.target,
                    data.message,
                    *(data.position or (None, None)),
                    address.actor,
                    data.reason,
                    event.time_us,
                )
            )
        elif isinstance(data, ErasureCompleted):
            self.completions.append(
                (data.erasure, data.engine, encode_text(data.stores), event.sequence, event.time_us)
            )

    def _thread(
        self,
        loader: Loader,
        thread_key: ThreadKey,
        thread: Thread,
        event: Event | Unreadable,
        next_keys: NextKeys,
    ) -> None:
        sequence = event.sequence
        old = loader.state.threads.get(thread_key)
        key = loader.thread_keys.get(thread_key)
        if key is None or old is None or old.incarnation != thread.incarnation:
            if key is not None:
                self.threads.close((key,), sequence)
            key = loader.thread_keys[thread_key] = next_keys.thread()
            known = False
        else:
            known = True
        self.threads.put((key,), thread_row(key, *thread_key, thread), sequence, known=known)
        if old is not None and old.live:
            self._erased(THREAD, key, event)

    def _resource(
        self, loader: Loader, name: str, resource: Resource, event: Event | Unreadable
    ) -> None:
        known = loader.state.resources.get(name)
        row = resource_row(name, resource)
        self.resources.put((name,), row, event.sequence, known=known is not None)
        if known is not None and known.live:
            self._erased(RESOURCE, known.began[0], event)

    def _memory(
        self,
        loader: Loader,
        key: MemoryKey,
        memory: Memory,
        event: Event | Unreadable,
        next_keys: NextKeys,
    ) -> None:
        sequence = event.sequence
        old = loader.state.memories.get(key)
        number = loader.memory_keys.get(key)
        if number is None:
            number = loader.memory_keys[key] = next_keys.memory()
        self.memories[key] = memory
        before: Definition | None = None if old is None else old.definition
        if memory.definition != before:
            if before is not None:
                self.definitions.close((number,), sequence)
            if memory.definition is not None:
                row = (number, memory.definition.kind, memory.definition.body)
                self.definitions.put((number,), row, sequence, known=False)
        self._erased(MEMORY, number, event)
        if old is not None and old.document is not None and memory.document is None:
            self.keyframes.append((number, sequence, event.index, None, None, None, None))
            if isinstance(event, Event) and not isinstance(event.data, Erased):
                self.documents.append(event_row(MEMORY, number, event, applied=True))

    def _erased(self, kind: int, key: int, event: Event | Unreadable) -> None:
        """Note the end of a document by an erasure; that of its subject is no event of its own."""
        if isinstance(event, Event) and isinstance(event.data, Erased):
            self.documents.append(event_row(kind, key, event, applied=True))

    def _messages(
        self,
        loader: Loader,
        messages: dict[MessageKey, Message | None],
        threads: dict[ThreadKey, Thread],
        sequence: int,
    ) -> None:
        for key, message in messages.items():
            owner = key[:2]
            if owner in threads and not threads[owner].live:
                # A thread that ends takes its messages along: its key is never read again as
                # current, so their rows stay open, whether or not they happened to be loaded.
                continue
            thread = loader.thread_keys[owner]
            if message is None:
                self.messages.close((thread, key[2]), sequence)
                continue
            known = key in loader.state.messages
            if not known:
                loader.messages.add(local_hash(thread, message.id))
            row = message_row(thread, message)
            self.messages.put((thread, message.id), row, sequence, known=known)

    def _outcome(self, event: Event | Unreadable, outcome: Outcome) -> None:
        of_sequence, of_index = outcome.of or (None, None)
        self.outcomes.append(
            (
                event.sequence,
                event.index,
                outcome.kind,
                outcome.reason,
                outcome.detail,
                of_sequence,
                of_index,
            )
        )
        if outcome.kind == "parked":
            address = event.address
            self.parked.append(
                (
                    event.sequence,
                    event.index,
                    (address.resource or "") if address is not None else "",
                    (address.thread or "") if address is not None else "",
                    outcome.reason,
                    outcome.detail,
                    event.time_us,
                    *(None, None, None, None, None),
                )
            )

    def _discard(self, event: Event | Unreadable, place: Position) -> None:
        why = getattr(event.data, "reason", "") if isinstance(event, Event) else ""
        actor = "" if event.address is None else event.address.actor
        here = (event.sequence, event.index, actor, why, event.time_us)
        self.discarded.append((*place, *here))


@dataclass(slots=True)
class NextKeys:
    """The next free integer keys; given out in the log's order, so the same on every machine."""

    next_thread: int
    next_memory: int

    def thread(self) -> int:
        """Take a thread key."""
        self.next_thread += 1
        return self.next_thread - 1

    def memory(self) -> int:
        """Take a working memory key."""
        self.next_memory += 1
        return self.next_memory - 1
