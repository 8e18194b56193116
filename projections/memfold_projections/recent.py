"""Recent state in memory, encoded for serving: a current snapshot of an active thread costs no SQL.

Filled by the writer after each commit and by readers that had to ask the file. One lock makes a
snapshot one state at one sequence. Bounded; the least recently used goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from memfold_projections.parked import ParkedCounts, with_parked
from memfold_projections.views import (
    NO_ACTIVITY,
    Activity,
    memory_json,
    message_json,
    thread_json,
)

if TYPE_CHECKING:
    from memfold.provenance import Position
    from memfold.state import MemoryKey, Message, Thread, ThreadKey
    from memfold_projections.generation import Folded

TAIL_MESSAGES: Final = 64
"""Messages kept per thread."""
TAIL_BYTES_MAX: Final = 1024 * 1024
"""Bytes of messages kept per thread: about as many as one answer holds."""
BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of each kind (memories, threads, tails) kept in all."""

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """A dictionary bounded in bytes, forgetting the least recently used."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return an entry and mark it as used."""
        found = self._items.get(key)
        if found is None:
            return None
        self._items.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Add or replace an entry of ``size`` bytes."""
        self.drop(key)
        self._items[key] = (value, size)
        self._bytes += size
        while self._bytes > self._bytes_max:
            _, (_, gone) = self._items.popitem(last=False)
            self._bytes -= gone

    def drop(self, key: K) -> None:
        """Remove an entry if it is there."""
        found = self._items.pop(key, None)
        if found is not None:
            self._bytes -= found[1]


@dataclass(slots=True)
class Tail:
    """The newest messages of one thread, oldest first; ``complete``: there are no others."""

    complete: bool
    messages: deque[bytes] = field(default_factory=deque[bytes])
    _bytes: int = 0

    def append(self, encoded: bytes) -> None:
        """Add the newest message; the oldest may go."""
        self.messages.append(encoded)
        self._bytes += len(encoded)
        while len(self.messages) > TAIL_MESSAGES or self._bytes > TAIL_BYTES_MAX:
            self._bytes -= len(self.messages.popleft())
            self.complete = False

    def last(self, count: int) -> list[bytes] | None:
        """Return the newest ``count`` messages, None if they are not all known."""
        if count > len(self.messages) and not self.complete:
            return None
        return list(self.messages)[-count:] if count else []

    def size(self) -> int:
        """Return the bytes held."""
        return 256 + self._bytes


@dataclass(slots=True)
class _News:
    """What a batch did to the messages of one thread."""

    begun: bool = False
    stale: bool = False
    messages: list[Message] = field(default_factory=list["Message"])

    def add(self, message: Message | None, position: Position) -> None:
        """Count in a message put at ``position``; one changed in place or gone spoils the tail."""
        if message is None or message.position != position:
            self.stale = True
        else:
            self.messages.append(message)

    def encode(self, thread: str) -> list[bytes]:
        """Return the newest of the messages, encoded."""
        return [message_json(thread, message) for message in self.messages[-TAIL_MESSAGES:]]

    def extend(self, tail: Tail | None, added: list[bytes]) -> Tail | None:
        """Return the tail after this batch, None if it is no longer known."""
        if self.stale:
            return None
        if self.begun:
            tail = Tail(complete=True)
        if tail is None:
            return None
        if len(self.messages) > len(added):
            tail = Tail(complete=False)
        for message in added:
            tail.append(message)
        return tail


@dataclass(frozen=True, slots=True)
class Shown:
    """A thread with what its messages say of it, and both as they are served."""

    thread: Thread | None
    activity: Activity
    encoded: bytes


@dataclass(frozen=True, slots=True)
class Hit:
    """A snapshot found in memory, in encoded parts."""

    sequence: int
    resource_memory: bytes
    thread_memory: bytes
    thread: bytes
    messages: list[bytes]
    parked: int = 0


class Recent:
    """The recent state at one sequence. Safe from any thread."""

    def __init__(self, sequence: int, parked: ParkedCounts | None = None) -> None:
        self.sequence = sequence
        self.parked = parked or ParkedCounts()
        """Replaced as a whole, with the sequence."""
        self._lock = threading.Lock()
        self._memories: Bounded[MemoryKey, bytes] = Bounded(BYTES_MAX)
        self._threads: Bounded[ThreadKey, Shown] = Bounded(BYTES_MAX)
        self._tails: Bounded[ThreadKey, Tail] = Bounded(BYTES_MAX)

    def snapshot(self, resource: str, thread: str | None, last: int) -> Hit | None:
        """Return everything of a snapshot, None if a part of it is not in memory."""
        with self._lock:
            resource_memory = self._memories.get((resource, None))
            if resource_memory is None:
                return None
            if thread is None:
                if last:
                    return None
                parked = self.parked.seen_from(resource, None)
                return Hit(self.sequence, resource_memory, b"null", b"null", [], parked)
            thread_memory = self._memories.get((resource, thread))
            state = self._threads.get((resource, thread))
            tail = self._tails.get((resource, thread))
            if thread_memory is None or state is None or tail is None:
                return None
            messages = tail.last(last)
            if messages is None:
                return None
            shown = with_parked(state.encoded, self.parked.of_thread(resource, thread))
            parked = self.parked.seen_from(resource, thread)
            return Hit(self.sequence, resource_memory, thread_memory, shown, messages, parked)

    def remember(
        self,
        sequence: int,
        memories: dict[MemoryKey, bytes],
        threads: dict[ThreadKey, Shown],
        tails: dict[ThreadKey, Tail],
    ) -> None:
        """Keep what a reader found in the file at ``sequence``, unless the state has moved on."""
        with self._lock:
            if sequence == self.sequence:
                self._put(memories, threads, tails)

    def publish(self, folded: Folded) -> None:
        """Take over what a committed batch changed."""
        memories = {key: memory_json(memory) for key, memory in folded.changes.memories.items()}
        threads: dict[ThreadKey, Thread] = {}
        news: dict[ThreadKey, _News] = {}
        for event, step in folded.steps:
            position = (event.sequence, event.index)
            for key, thread in (step.threads or {}).items():
                threads[key] = thread
                if thread.began == position or not thread.live:
                    news[key] = _News(begun=True)
            for (resource, name, _), message in (step.messages or {}).items():
                news.setdefault((resource, name), _News()).add(message, position)
        # Encoded before the lock is taken, so that readers wait for pointers only.
        added = {key: each.encode(key[1]) for key, each in news.items()}
        shown = self._shown(threads, news)
        parked = self.parked.after(step for _, step in folded.steps)
        with self._lock:
            for key in shown.keys() | news.keys() | threads.keys():
                self._threads.drop(key)
            tails: dict[ThreadKey, Tail] = {}
            for key, each in news.items():
                tail = each.extend(self._tails.get(key), added[key])
                self._tails.drop(key)
                if tail is not None:
                    tails[key] = tail
                # A new thread has no memory of its own; knowing that saves a look into the file.
                if each.begun and key not in memories and self._memories.get(key) is None:
                    self._memories.put(key, b"null", 64)
            self._put(memories, shown, tails)
            self.sequence, self.parked = folded.sequence, parked

    def _shown(
        self, threads: dict[ThreadKey, Thread], news: dict[ThreadKey, _News]
    ) -> dict[ThreadKey, Shown]:
        """Return the changed threads of which everything is known without the file."""
        keys = threads.keys() | news.keys()
        with self._lock:
            known = {key: self._threads.get(key) for key in keys}
        found: dict[ThreadKey, Shown] = {}
        for key in keys:
            old, new = known[key], news.get(key)
            thread = threads.get(key) or (None if old is None else old.thread)
            if thread is None or (new is not None and new.stale):
                continue
            if new is not None and new.begun:
                activity = NO_ACTIVITY
            elif old is not None:
                activity = old.activity
            else:
                continue
            for message in [] if new is None else new.messages:
                activity = activity.and_of(message)
            found[key] = Shown(thread, activity, thread_json(*key, thread, activity))
        return found

    def _put(
        self,
        memories: dict[MemoryKey, bytes],
        threads: dict[ThreadKey, Shown],
        tails: dict[ThreadKey, Tail],
    ) -> None:
        for memory_key, memory in memories.items():
            self._memories.put(memory_key, memory, 256 + len(memory))
        for thread_key, thread in threads.items():
            self._threads.put(thread_key, thread, 512 + 2 * len(thread.encoded))
        for thread_key, tail in tails.items():
            self._tails.put(thread_key, tail, tail.size())
