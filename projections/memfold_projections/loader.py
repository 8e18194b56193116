"""Loads into the fold's state what a batch of events can touch. Reads only, a query per table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from memfold.definitions import Definition
from memfold.events import (
    Erased,
    MessageAppended,
    MessageDeleted,
    MessageUpdated,
    ParkedDiscarded,
)
from memfold.state import (
    EventKey,
    Memory,
    MemoryKey,
    MessageKey,
    ParkedEvent,
    State,
    ThreadKey,
)
from memfold.wire import Event, Unreadable
from memfold_projections.bloom import Bloom, local_hash, stable_hash
from memfold_projections.database import OPEN
from memfold_projections.rows import (
    MEMORY_COLUMNS,
    MESSAGE_COLUMNS,
    RESOURCE_COLUMNS,
    THREAD_COLUMNS,
    memory_from,
    message_from,
    resource_from,
    thread_from,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from memfold.events import Data
    from memfold.provenance import Position
    from memfold.subjects import Address

K = TypeVar("K")

FIND_RESOURCES: Final = f"""
SELECT {RESOURCE_COLUMNS} FROM resource WHERE valid_to = {OPEN}
AND id IN (SELECT unnest($1::TEXT[]))
"""  # noqa: S608  # constants only
FIND_THREADS: Final = f"""
SELECT {THREAD_COLUMNS} FROM thread JOIN
    (SELECT unnest($1::TEXT[]) AS resource, unnest($2::TEXT[]) AS id) AS wanted
    USING (resource, id)
WHERE valid_to = {OPEN}
"""  # noqa: S608  # constants only
FIND_THREADS_OF: Final = f"""
SELECT {THREAD_COLUMNS} FROM thread
WHERE valid_to = {OPEN} AND live AND resource IN (SELECT unnest($1::TEXT[]))
"""  # noqa: S608  # constants only
FIND_MEMORIES_OF: Final = """
SELECT resource, thread FROM working_memory WHERE resource IN (SELECT unnest($1::TEXT[]))
"""
FIND_MEMORIES: Final = f"""
SELECT {MEMORY_COLUMNS} FROM working_memory JOIN
    (SELECT unnest($1::TEXT[]) AS resource, unnest($2::TEXT[]) AS thread) AS wanted
    USING (resource, thread)
"""  # noqa: S608  # constants only
FIND_DEFINITIONS: Final = f"""
SELECT memory, kind, body FROM definition
WHERE valid_to = {OPEN} AND memory IN (SELECT unnest($1::INTEGER[]))
"""  # noqa: S608  # constants only
FIND_MESSAGES: Final = f"""
SELECT {MESSAGE_COLUMNS} FROM message JOIN
    (SELECT unnest($1::INTEGER[]) AS thread, unnest($2::TEXT[]) AS id) AS wanted
    USING (thread, id)
WHERE valid_to = {OPEN}
"""  # noqa: S608  # constants only
FIND_SEEN: Final = """
SELECT seen.source, seen.id, digest, sequence, index FROM seen JOIN
    (SELECT unnest($1::UBIGINT[]) AS hash, unnest($2::TEXT[]) AS source, unnest($3::TEXT[]) AS id)
    AS wanted USING (hash, source, id)
"""


FIND_PARKED: Final = """
SELECT parked.sequence, parked.index, resource, thread, gone_sequence FROM parked JOIN
    (SELECT unnest($1::BIGINT[]) AS sequence, unnest($2::INTEGER[]) AS index) AS wanted
    USING (sequence, index)
"""


class Loader:
    """What is known in memory of the tables: entities, their integer keys, two Bloom filters."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.state = State()
        self.thread_keys: dict[ThreadKey, int] = {}
        self.memory_keys: dict[MemoryKey, int] = {}
        self.hashes: dict[EventKey, int] = {}
        self.seen = Bloom(self._count("SELECT count(*) FROM seen"))
        self._fill(self.seen, "SELECT hash FROM seen")
        self.messages = Bloom(self._count("SELECT count(*) FROM message"))
        cursor = connection.execute("SELECT thread, id FROM message")
        while rows := cursor.fetchmany(10_000):
            self.messages.update(local_hash(thread, id_) for thread, id_ in rows)

    def _count(self, statement: str) -> int:
        row = self._connection.execute(statement).fetchone()
        return 0 if row is None else int(row[0])

    def _fill(self, bloom: Bloom, statement: str) -> None:
        cursor = self._connection.execute(statement)
        while rows := cursor.fetchmany(10_000):
            bloom.update(row[0] for row in rows)

    def load(self, events: Sequence[Event | Unreadable]) -> None:
        """Bring every entity into ``state`` that folding these events can read."""
        # One subject has one address, kept by the reader, and a batch has few of them.
        addresses = list({id(event.address): event.address for event in events}.values())
        readable = [event for event in events if isinstance(event, Event)]
        acts = [event for event in readable if event.address.facet == "erasure"]
        resources: dict[str, None] = {}
        threads: dict[ThreadKey, None] = {}
        memories: dict[MemoryKey, None] = {}
        for address in addresses:
            if address is None:
                continue
            resource, thread = address.resource, address.thread
            if resource is not None:
                resources[resource] = None
                if thread is not None:
                    threads[resource, thread] = None
            if address.facet != "messages":
                memories[resource, thread] = None
                memories[resource, None] = None
                memories[None, None] = None
        erased = [event.address.resource for event in acts if _erases(event.data, "resource")]
        self._load_resources([name for name in resources if name not in self.state.resources])
        self._load_threads([key for key in threads if key not in self.state.threads])
        if erased:
            self._load_all_of([name for name in erased if name is not None], memories)
        self._load_memories([key for key in memories if key not in self.state.memories])
        self._load_messages(readable, addresses)
        self._load_parked(
            [
                (act.data.sequence, act.data.index)
                for act in acts
                if isinstance(act.data, ParkedDiscarded)
            ]
        )
        self._load_seen(readable)

    def _load_resources(self, names: list[str]) -> None:
        if names:
            for row in self._connection.execute(FIND_RESOURCES, [names]).fetchall():
                self.state.resources[row[0]] = resource_from(row)

    def _load_threads(self, keys: list[ThreadKey]) -> None:
        if keys:
            found = self._connection.execute(
                FIND_THREADS, [[key[0] for key in keys], [key[1] for key in keys]]
            ).fetchall()
            for row in found:
                self.state.threads[row[1], row[2]] = thread_from(row)
                self.thread_keys[row[1], row[2]] = row[0]

    def _load_all_of(self, resources: list[str], memories: dict[MemoryKey, None]) -> None:
        """Load the live threads of resources that are erased, and name their memories."""
        for row in self._connection.execute(FIND_THREADS_OF, [resources]).fetchall():
            key = (row[1], row[2])
            if key not in self.state.threads:
                self.state.threads[key] = thread_from(row)
                self.thread_keys[key] = row[0]
        for resource, thread in self._connection.execute(FIND_MEMORIES_OF, [resources]).fetchall():
            memories[resource, thread or None] = None

    def _load_memories(self, keys: list[MemoryKey]) -> None:
        if not keys:
            return
        found = self._connection.execute(
            FIND_MEMORIES, [[key[0] or "" for key in keys], [key[1] or "" for key in keys]]
        ).fetchall()
        # Most memories are new at first: an empty one stands for "looked up, not there".
        self.state.memories.update(dict.fromkeys(keys, Memory()))
        definitions = {
            row[0]: Definition(row[1], row[2])
            for row in self._connection.execute(
                FIND_DEFINITIONS, [[row[0] for row in found]]
            ).fetchall()
        }
        for row in found:
            key = (row[1] or None, row[2] or None)
            self.state.memories[key] = memory_from(row, definitions.get(row[0]))
            self.memory_keys[key] = row[0]

    def _load_messages(self, events: Sequence[Event], addresses: Sequence[Address | None]) -> None:
        live = {id(address): self._live_thread(address) for address in addresses}
        wanted: dict[tuple[int, str], MessageKey] = {}
        for event in events:
            found = live[id(event.address)]
            if found is None:
                continue
            name = _message_id(event.data)
            if name and local_hash(found[0], name) in self.messages:
                wanted[found[0], name] = (*found[1], name)
        if wanted:
            rows = self._connection.execute(
                FIND_MESSAGES, [[key for key, _ in wanted], [name for _, name in wanted]]
            ).fetchall()
            for row in rows:
                self.state.messages[wanted[row[0], row[1]]] = message_from(row)

    def _load_parked(self, positions: list[Position]) -> None:
        if positions:
            columns = [list(column) for column in zip(*positions, strict=True)]
            for row in self._connection.execute(FIND_PARKED, columns).fetchall():
                self.state.parked[row[0], row[1]] = ParkedEvent(
                    row[2] or None, row[3] or None, discarded=row[4] is not None
                )

    def _live_thread(self, address: Address | None) -> tuple[int, ThreadKey] | None:
        """Return the live thread whose messages a subject may speak of, with its integer key.

        Messages of an ended incarnation are not met again, not even under their own ids.
        """
        if address is None or address.facet not in {"messages", "erasure"}:
            return None
        if address.resource is None or address.thread is None:
            return None
        key = (address.resource, address.thread)
        thread = self.state.threads.get(key)
        return None if thread is None or not thread.live else (self.thread_keys[key], key)

    def _load_seen(self, events: Sequence[Event]) -> None:
        """Note the ids of these events, and bring those that are known into ``state.seen``."""
        hits: list[tuple[int, str, str]] = []
        for event in events:
            source, id_ = event.envelope.source, event.envelope.id
            value = self.hashes[source, id_] = stable_hash(source, id_)
            # Also an id that is new is in the file once this batch is, or this loader is dropped.
            if self.seen.put(value):
                hits.append((value, source, id_))
        if hits:
            columns = [list(column) for column in zip(*hits, strict=True)]
            for source, id_, digest, sequence, index in self._connection.execute(
                FIND_SEEN, columns
            ).fetchall():
                self.state.seen[source, id_] = (digest, (sequence, index))

    def forget(self, entities_max: int) -> None:
        """Drop what belongs to one batch, and the longest known entities above the bound.

        Call only between batches, after commit: what is dropped is loaded again on demand.
        """
        state = self.state
        state.messages.clear()
        state.seen.clear()
        state.parked.clear()
        self.hashes.clear()
        for entities in (state.resources, state.threads, state.memories):
            drop(entities, entities_max)
        _keep_only(self.thread_keys, state.threads)
        _keep_only(self.memory_keys, state.memories)


def _keep_only(keys: dict[K, int], known: dict[K, Any]) -> None:
    if len(keys) > len(known):
        for key in [key for key in keys if key not in known]:
            del keys[key]


def drop(entities: dict[Any, Any], entities_max: int) -> None:
    """Drop the oldest entries of a dictionary above a bound."""
    for key in list(entities)[: max(0, len(entities) - entities_max)]:
        del entities[key]


def _message_id(data: Data) -> str:
    """Return the message id that an event of a message, or its erasure, is about, else ""."""
    if isinstance(data, MessageAppended):
        return data.message.id
    if isinstance(data, MessageUpdated | MessageDeleted):
        return data.id
    return data.message or "" if isinstance(data, Erased) else ""


def _erases(data: Data, target: str) -> bool:
    return isinstance(data, Erased) and data.target == target
