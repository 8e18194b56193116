"""What becomes of the keys of a resource that is erased: whoever erases it destroys them, too.

What no deletion in the stream reaches, a replica's log or a backup, then opens nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memfold.erasure_search import matching
from memfold.ids import encode_token
from memfold.jetstream import api
from memfold.sealed import keyids

if TYPE_CHECKING:
    from memfold.client import Client
    from memfold.erasure_search import Found


class ErasedKeys:
    """The keys of an erased resource: retired before its record, destroyed after all else.

    A crash in between leaves them retired, and the next erasure destroys them.
    """

    def __init__(self, client: Client, resource: str | None, target: str) -> None:
        self._client = client
        self._resource = resource if target == "resource" else None
        self._retired: frozenset[str] = frozenset()
        self._needed: frozenset[str] = frozenset()
        self._carried_out = False
        self.destroyed = 0
        """How many keys were there before and are gone: an engine may have been the one."""

    def retire(self) -> None:
        """Let writers seal under new keys from now on."""
        keys = self._client.keys
        if keys is not None and self._resource is not None:
            self._retired = frozenset(keys.retire(self._resource))

    async def destroy(self, erasure: int) -> None:
        """Destroy what was retired, but for a key that something after the record needs."""
        keys, resource = self._client.keys, self._resource
        self._carried_out = True
        if keys is None or resource is None:
            return
        stream, after = self._client.namespace, set[str]()
        filter_ = f"{stream}.events.*.{encode_token(resource)}.>"
        # Whoever publishes later finds the key retired, and publishes again.
        info = await api(self._client.connection, f"STREAM.INFO.{stream}")
        before = int(info["state"]["last_seq"]) + 1
        async for message in matching(self._client, stream, filter_, before, after=erasure):
            after.update(keyids(message.payload))
        self._needed = self._retired & after
        gone = sorted(self._retired - self._needed)
        keys.destroy(resource, gone)
        self.destroyed = sum(keys.find(resource, keyid) is None for keyid in gone)

    def remains(self, found: Found) -> tuple[str, ...]:
        """Say what the keys mean for what an erasure does not reach."""
        told: list[str] = []
        if found.sealed and self._resource is not None and self._client.keys is None:
            told.append(
                f"{found.sealed} of its events were sealed, and this client has no keys: copies "
                "open as before, so erase again with the keys (keys=, MEMFOLD_KEYS)"
            )
        elif (
            self._carried_out and found.sealed and self._resource is not None and not self.destroyed
        ):
            told.append(
                f"{found.sealed} of its events were sealed, and no key of theirs was destroyed: "
                "copies open as before, so erase again with the keys that they were sealed under"
            )
        if self.destroyed:
            share = f"; {found.plain} of its events were not sealed" if found.plain else ""
            told.append(
                "copies of what was sealed open nowhere any more, unless somebody has kept a copy "
                f"of the keys{share}"
            )
        if self._needed:
            told.append(
                f"{len(self._needed)} keys are kept, for something behind the erasure was sealed "
                "under them: erase again"
            )
        return tuple(told)
