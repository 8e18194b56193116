"""Carries out an erasure: the record, what survives, the deletions in the streams, the engines.

What if it dies in between? The record comes first and names no contents, what explains a hole comes
before the hole, and whatever was done is skipped the next time: run it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from memfold.audit.heads import audit_stream, leaves_subject, read_block
from memfold.building import Prepared, build
from memfold.chunks import stream_name
from memfold.erased_keys import ErasedKeys
from memfold.erasure import (
    FACET,
    Erasure,
    ranges,
    restatements,
    same_token,
)
from memfold.erasure_search import Found, Progress, Search, loosely, matching
from memfold.errors import (
    EngineUnavailable,
    KeyMissing,
    LogDiverged,
    NotYetConsistent,
    StreamMissing,
    TooLarge,
)
from memfold.ids import encode_token
from memfold.jetstream import (
    NO_STREAM,
    JetStreamError,
    api,
    erase_message,
    read_last,
)
from memfold.limits import BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX
from memfold.reads import Read
from memfold.subjects import Address

if TYPE_CHECKING:
    from memfold.client import Client
    from memfold.provenance import Position
    from memfold.wire import Recorded

TIMEOUT_S: Final = 600.0
LEAVES_S: Final = 60.0
"""How long the engines have for publishing the leaves of what is to go."""
POLL_S: Final = 0.1
RANGES_MAX: Final = 10_000
"""Ranges of sequences in one ``Redacted``."""
RESTATED_BYTES_MAX: Final = PAYLOAD_BYTES_MAX // 2
RESTATED_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class ErasureReport(Read):
    """What an erasure has done, or with ``dry_run`` would do.

    ``erasure`` is the sequence of its record, 0 in a dry run. ``messages`` of the event stream held
    what was erased, ``events`` of them; ``restated`` other events were in the same messages and
    were said again. ``chunks`` of attachments were deleted. ``engines`` names those that have
    dropped their copies, with how much it was. ``keys`` of the erased resource were destroyed: what
    was sealed under them opens nowhere. ``replicas`` is that of the event stream: above 1, see
    ``remains``, which says in sentences what is left elsewhere.
    """

    dry_run: bool
    erasure: int
    resource: str | None
    thread: str | None
    target: str
    messages: int
    events: int
    restated: int
    chunks: int
    engines: dict[str, dict[str, int]]
    replicas: int
    remains: tuple[str, ...]
    sequences: tuple[tuple[int, int], ...] = ()
    keys: int = 0


class Eraser:
    """One erasure by one client, who must be allowed to delete from the streams."""

    def __init__(
        self,
        client: Client,
        resource: str | None,
        thread: str | None,
        target: str,
        *,
        message: str | None = None,
        position: Position | None = None,
        progress: Progress | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._client = client
        self._address = Address(resource, thread, FACET, client.actor)
        self._target = target
        self._message = message
        self._position = position
        erasure = Erasure(0, resource, thread, target, message, position)
        self._progress = progress or _untold
        self._search = Search(client, erasure, self._progress)
        self._timeout_s = timeout_s
        self._stream = client.namespace

    async def run(self, *, reason: str | None, dry_run: bool) -> ErasureReport:
        """Erase, or say what would be erased.

        Raises:
            ReadOnly: nothing was sent.
            PublishDenied: this user may not erase; nothing was erased.
            TooLarge: a large event that was parked shares its message with erased ones and cannot
                be said again; nothing was deleted. Erase the whole thread or resource.
            KeyMissing: which messages are about to go cannot be told without keys; nothing was
                published.
            StreamMissing, EngineUnavailable, BrokerUnavailable, NotYetConsistent: run it again.
        """
        if not dry_run:
            self._client.check_writable()
        info = await self._info()
        sequence = int(info["state"]["last_seq"]) + 1
        keys = ErasedKeys(self._client, self._address.resource, self._target)
        if not dry_run:
            if self._target != "resource":
                # What cannot be said again must be told before anything is hidden.
                before = await self._search.run(sequence)
                self._restated(sequence, before)
                self._check_readable(before)
            # Before the record: what is sealed under another key by then comes after it.
            keys.retire()
            sequence = await self._record(reason)
        found = await self._search.run(sequence)
        restated = self._restated(sequence, found)
        chunks = 0
        if not dry_run:
            chunks = await self._delete(sequence, found, restated)
            engines = await self._engines(sequence)
            await keys.destroy(sequence)
        else:
            engines = {}
        sequences = ranges(sorted(message.sequence for message, _ in found.parts))
        return ErasureReport(
            dry_run=dry_run,
            erasure=0 if dry_run else sequence,
            resource=self._address.resource,
            thread=self._address.thread,
            target=self._target,
            messages=len(found.parts),
            events=sum(len(part.covered) for _, part in found.parts),
            restated=len(restated),
            chunks=chunks,
            engines=engines,
            replicas=int(info["config"]["num_replicas"]),
            remains=(*_remains(info), *keys.remains(found)),
            sequences=tuple((first, last) for first, last in sequences),
            keys=keys.destroyed,
        )

    def _check_readable(self, found: Found) -> None:
        """Refuse what hides its attachments from this client: they would stay.

        Raises:
            KeyMissing: sealed messages would go, and there are no keys here.
        """
        if self._client.keys is None and found.sealed_messages:
            message = (
                "which attachments sealed messages refer to cannot be told without keys: configure "
                "them (keys=, MEMFOLD_KEYS), or erase the whole resource"
            )
            raise KeyMissing(message)

    async def _record(self, reason: str | None) -> int:
        """Publish the record of the erasure: from its fold on nobody is shown the target."""
        data: dict[str, Any] = {"target": self._target}
        if self._message is not None:
            data["message"] = self._message
        if self._position is not None:
            data["position"] = list(self._position)
        if reason is not None:
            data["reason"] = reason
        record = build(self._address, "Erased", data)
        receipt = await self._client.publish([record], alone=True)
        await receipt.applied()
        return receipt.sequence

    async def _info(self) -> dict[str, Any]:
        try:
            return await api(self._client.connection, f"STREAM.INFO.{self._stream}")
        except JetStreamError as error:
            if error.code == NO_STREAM:
                message = f"namespace {self._stream} has no streams"
                raise StreamMissing(message) from None
            raise

    def _restated(self, erasure: int, found: Found) -> list[tuple[Address, dict[str, Any]]]:
        restated: list[tuple[Address, dict[str, Any]]] = []
        for message, part in found.parts:
            for data in restatements(erasure, message, part):
                if len(data["event"]) > PAYLOAD_BYTES_MAX - 8192:
                    text = (
                        f"message {message.sequence} holds another event that is too large to be "
                        "said again: erase the whole thread or resource"
                    )
                    raise TooLarge(text, reason="event_too_large")
                restated.append((self._owner(message), data))
        return restated

    def _owner(self, message: Recorded) -> Address:
        """Return the address under which what survives of a message is said again."""
        tokens = message.subject.split(".")
        address = self._address
        resource = address.resource if same_token(tokens[3], address.resource) else None
        thread = None if tokens[4] == "_" else address.thread or loosely(tokens[4])
        return Address(resource, thread, FACET, address.actor)

    async def _delete(
        self, erasure: int, found: Found, restated: Sequence[tuple[Address, dict[str, Any]]]
    ) -> int:
        """Delete in the streams, and return how many chunks of attachments it were."""
        sequences = sorted(message.sequence for message, _ in found.parts)
        if not sequences:
            return await self._delete_resource_blobs()
        await self._wait_for_leaves(sequences[-1])
        spans = ranges(sequences)
        for start in range(0, len(spans), RANGES_MAX):
            data = {"erasure": erasure, "sequences": spans[start : start + RANGES_MAX]}
            await self._client.publish([build(self._address, "Redacted", data)], alone=True)
        for batch in _batches(restated):
            await self._client.publish(batch, alone=True)
        # The messages go last: where it is cut, they alone can name the attachments again.
        chunks = await self._delete_resource_blobs() + await self._delete_orphans(erasure, found)
        for done, sequence in enumerate(sequences):
            await erase_message(self._client.connection, self._stream, sequence)
            self._progress("deleting", done + 1, len(sequences))
        return chunks

    async def _wait_for_leaves(self, sequence: int) -> None:
        """Wait until the leaf of a message is published: later nobody can compute it."""
        deadline = asyncio.get_running_loop().time() + LEAVES_S
        stream, subject = audit_stream(self._stream), leaves_subject(self._stream)
        while True:
            block = await read_last(self._client.connection, stream, subject)
            if block is not None:
                try:
                    first, leaves = read_block(block.payload)
                except ValueError:
                    message = f"the newest message of {stream} is no block of leaves"
                    raise LogDiverged(message) from None
                if first + len(leaves) - 1 >= sequence:
                    return
            self._progress("waiting for the leaves", 0, None)
            if asyncio.get_running_loop().time() > deadline:
                message = (
                    f"no engine has published the leaf of message {sequence}: nothing was deleted. "
                    "Look at `audit` in its status, then run the erasure again"
                )
                raise EngineUnavailable(message)
            await asyncio.sleep(POLL_S)

    async def _engines(self, erasure: int) -> dict[str, dict[str, int]]:
        """Wait for the engine that answers to have dropped its copies; return all that have."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            status = await self._client.queries.ask("status", None, fresh=False)
            # Behind all events that the message before it can hold.
            asked = {"after": [erasure - 1, BATCH_EVENTS_MAX], "limit": 1}
            answer = await self._client.queries.ask("erasures", self._address.resource, asked)
            [found] = [each for each in answer["erasures"] if each["sequence"] == erasure]
            engines = {each["engine"]: each["stores"] for each in found["completed"]}
            if status["engine"] in engines:
                return engines
            self._progress("waiting for the engine", 0, None)
            if asyncio.get_running_loop().time() > deadline:
                message = (
                    "the engine has not written its files anew in time: it goes on with that, and "
                    "its log says what keeps it"
                )
                raise NotYetConsistent(message)
            await asyncio.sleep(POLL_S)

    async def _delete_resource_blobs(self) -> int:
        resource = self._address.resource
        if self._target != "resource" or resource is None:
            return 0
        return await self._delete_blobs(f"{self._stream}.blob.{encode_token(resource)}.>")

    async def _delete_orphans(self, erasure: int, found: Found) -> int:
        """Delete the attachments that only what was erased has referred to.

        An engine says so once it has dropped its own copies of that.
        """
        resource = self._address.resource
        if resource is None or self._target == "resource":
            return 0
        hashes, deleted = sorted(found.hashes), 0
        self._progress("waiting for the engine", 0, None)
        for start in range(0, len(hashes), 1000):
            part = hashes[start : start + 1000]
            answer = await self._client.queries.ask(
                "attachments",
                resource,
                {"hashes": part},
                min_sequence=erasure,
                timeout_s=self._timeout_s,
            )
            for sha256 in set(part) - set(answer["referred"]):
                deleted += await self._delete_blobs(
                    f"{self._stream}.blob.{encode_token(resource)}.{sha256}.>"
                )
        return deleted

    async def _delete_blobs(self, filter_: str) -> int:
        stream, deleted = stream_name(self._stream), 0
        async for chunk in matching(self._client, stream, filter_, 1 << 62):
            await erase_message(self._client.connection, stream, chunk.sequence)
            deleted += 1
            self._progress("deleting attachments", deleted, None)
        return deleted


def _untold(phase: str, done: int, total: int | None) -> None:
    del phase, done, total


def _batches(restated: Sequence[tuple[Address, dict[str, Any]]]) -> list[list[Prepared]]:
    """Return events to publish together: of one address, as many as fit a message."""
    batches: list[list[Prepared]] = []
    size = 0
    for address, data in restated:
        event = build(address, "Restated", data)
        size += len(event.payload)
        last = batches[-1] if batches else None
        if (
            last is None
            or last[0].address != address
            or size > RESTATED_BYTES_MAX
            or len(last) == RESTATED_MAX
        ):
            batches.append([event])
            size = len(event.payload)
        else:
            last.append(event)
    return batches


def _remains(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what an erasure does not reach."""
    found: list[str] = []
    if info["config"]["num_replicas"] > 1:
        found.append(
            "the event stream is replicated: the servers keep deleted messages in their Raft logs "
            "until those are compacted"
        )
    mirrors = [each["name"] for each in info.get("mirrors") or ()]
    if info.get("alternates") and len(info["alternates"]) > 1:
        mirrors = [
            each["name"] for each in info["alternates"] if each["name"] != info["config"]["name"]
        ]
    if mirrors:
        found.append(f"mirrors keep what they have copied: {', '.join(mirrors)}")
    found.append("backups, exports and logs of other programs are not reached")
    return tuple(found)
