"""An engine's share in attachments: serving them from the blob stream, and sweeping."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from memfold_consumers.blob_stream import BlobStream
from memfold_consumers.blobs import Blobs
from memfold_consumers.copies import Copies
from memfold_consumers.sweeping import OLDER_THAN_S, Sweeper, sweep_for_ever
from memfold_projections.attachments import referred

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from memfold.jetstream import Requester
    from memfold_consumers.checkpoint import Checkpoint
    from memfold_consumers.settings import EngineSettings
    from memfold_projections.store import Store

FOLD_S: Final = 60.0
"""How long a sweep waits for the fold to come to the stream's end."""


class Attached:
    """What an engine has to do with attachments; ``blobs`` answers the queries."""

    def __init__(
        self, connection: Requester, settings: EngineSettings, store: Store, checkpoint: Checkpoint
    ) -> None:
        self._stream = BlobStream(connection, settings.namespace)
        self._copies = Copies(self._stream)
        self._store = store
        self._checkpoint = checkpoint
        self._every_s = settings.sweep_s
        self.blobs = Blobs(
            self._stream,
            self._copies,
            referred=self.referred,
            sequence=lambda: checkpoint.sequence,
        )

    async def referred(
        self, resource: str, hashes: Sequence[str], min_sequence: int = 0
    ) -> set[str]:
        """Return the attachments that the events of a resource refer to, up to a sequence.

        Raises:
            NotYetConsistent, LogDiverged: the fold does not come there.
        """
        await self._checkpoint.reach(min_sequence, timeout_s=FOLD_S)
        return await asyncio.to_thread(referred, self._store.generation, resource, hashes)

    @asynccontextmanager
    async def sweeping(self) -> AsyncGenerator[None]:
        """Sweep in the background for the length of a block, if the settings say so."""
        if not self._every_s:
            yield
            return
        task = asyncio.create_task(sweep_for_ever(self._sweeper, self._every_s))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _sweeper(self) -> Sweeper:
        return Sweeper(self._stream, self._copies, self.referred, older_than_s=OLDER_THAN_S)
