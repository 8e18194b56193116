"""Up to where the audit stream and the own log are known to agree, and how that becomes more.

Reads only. What differs from the own log is raised; what went backwards is recorded.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from memfold.errors import LogDiverged, NotYetConsistent
from memfold_consumers.audit_stream import AuditDamaged, AuditStream, Block
from memfold_consumers.recall import LOG_ROLLED_BACK, rolled_back
from memfold_consumers.threads import in_thread
from memfold_consumers.tree_state import Published, TreeState, copy

if TYPE_CHECKING:
    from memfold.audit.heads import Head
    from memfold.audit.merkle import Tree
    from memfold_consumers.checkpoint import Checkpoint
    from memfold_consumers.incidents import Incidents
    from memfold_projections.leaves import Leaves

T = TypeVar("T")

BEHIND_S: Final = 5.0
"""How long what others have published may be ahead before ``status`` says so."""
AUDIT_ROLLED_BACK: Final = "audit_rolled_back"


class Behind(Exception):
    """What is published cannot be compared yet, or is no longer there: look again later."""


class Agreement:
    """What is published of one log, as far as it was compared. Not for other threads."""

    def __init__(
        self,
        *,
        stream: AuditStream,
        leaves: Leaves,
        checkpoint: Checkpoint,
        incidents: Incidents,
        engine: str,
        log_found: int,
    ) -> None:
        self._stream = stream
        self._leaves = leaves
        self._checkpoint = checkpoint
        self._incidents = incidents
        self._engine = engine
        self._log_found = log_found
        self.state = TreeState()
        self.own_size = 0
        """Of the largest head that this engine is known to have made."""
        self.aligned = False

    async def align(self) -> None:
        """Take what the stream ends with, and compare what came since the last run."""
        block, head = await self._stream.last_block(), await self._stream.last_head()
        found = self.state.published
        if found.leaves_place > (0 if block is None else block.place) or found.heads_place > (
            0 if head is None else head[0]
        ):
            text = "it lost blocks or heads that were in it: it was truncated or replaced"
            self._incidents.record(AUDIT_ROLLED_BACK, self._stream.name, text)
            self.state.published = found = Published()
        elif not await self._stands(found):
            # A file said so, which may be lost at any time: what the stream says counts.
            self.state.published = found = Published()
        if head is not None:
            self._look(head[1])
        if block is not None and found.leaves_place in (0, block.place):
            await self.take_block(block, first=block.first)
        if head is not None and found.heads_place == 0:
            await self.take_head(*head)
        while head is not None and found.heads_place < head[0]:
            await self.take_head(*self.there(await self._stream.next_head(found.heads_place)))
        self.aligned = True

    async def _stands(self, found: Published) -> bool:
        """Tell whether the stream has this very block and this very head at their places."""
        block = head = None
        if found.leaves_place:
            block = await self._stream.next_block(found.leaves_place - 1)
        if found.heads_place:
            head = await self._stream.next_head(found.heads_place - 1)
        tree = found.tree
        stands = (0, 0) if block is None else (block.place, block.last)
        said = (0, 0, tree.root()) if head is None else (head[0], head[1].size, head[1].root)
        return stands == (found.leaves_place, found.leaves) and said == (
            found.heads_place,
            tree.size,
            tree.root(),
        )

    def there(self, found: T | None) -> T:
        """Return what the stream must have, because it was not empty behind a place.

        Raises:
            Behind: it is gone.
        """
        if found is None:
            self.aligned = False
            message = "the audit stream lost its end"
            raise Behind(message)
        return found

    async def take_block(self, block: Block, *, first: int) -> None:
        """Compare a block that is published with the own leaves.

        Raises:
            AuditDamaged: it does not begin where one is due.
            Behind: its messages are not folded yet.
            LogDiverged: a leaf differs.
        """
        if block.first != first:
            # Either the stream is damaged, or what is known of it is wrong: it is read again.
            self.state.published, self.aligned = Published(), False
            message = (
                f"the block at {block.place} of {self._stream.name} begins with message "
                f"{block.first}, not {first}"
            )
            raise AuditDamaged(message)
        await self._reach(block.last)
        differs = await in_thread(partial(self._first_difference, block))
        if differs is not None:
            raise _differing(differs, self._stream.name)
        published = self.state.published
        published.leaves_place, published.leaves = block.place, block.last

    async def take_head(self, place: int, head: Head) -> None:
        """Compare a head that is published with the own root at its size.

        Raises:
            Behind: its messages are not folded yet.
            LogDiverged: it has another root.
        """
        self._look(head)
        published = self.state.published
        if head.size > published.tree.size:
            await self._reach(head.size)
            tree = await in_thread(partial(self._extended, published.tree, head.size))
            if tree.root() != head.root:
                await self._name_difference(head)
            published.tree = tree
        published.heads_place = place

    def _look(self, head: Head) -> None:
        """Notice a head that this engine has made and that its directory knows nothing of."""
        if head.engine != self._engine or head.size <= self.own_size:
            return
        self.own_size = head.size
        if head.size > self._log_found:
            text = rolled_back(self._log_found, head.size)
            self._incidents.record(LOG_ROLLED_BACK, "log.duckdb", text)

    async def _reach(self, last: int) -> None:
        """Let the fold come to what others have folded already."""
        try:
            await self._checkpoint.reach(last, timeout_s=BEHIND_S)
        except NotYetConsistent as error:
            message = f"leaves up to {last} are published: {error.message}"
            raise Behind(message) from None

    def _first_difference(self, block: Block) -> int | None:
        own = self._leaves.between(block.first, block.last)
        pairs = zip(own, block.leaves, strict=True)
        places = (n for n, (ours, theirs) in enumerate(pairs) if ours != theirs)
        place = next(places, None)
        return None if place is None else block.first + place

    def _extended(self, tree: Tree, size: int) -> Tree:
        own = self.state.tree
        longer = copy(own if tree.size < own.size <= size else tree)
        longer.extend(self._leaves.all(size, after=longer.size))
        return longer

    async def _name_difference(self, head: Head) -> None:
        """Find the first leaf that is not the published one; raise in any case."""
        place = 0
        while (block := await self._stream.next_block(place)) is not None:
            if block.last <= self._checkpoint.sequence:
                differs = await in_thread(partial(self._first_difference, block))
                if differs is not None:
                    raise _differing(differs, self._stream.name)
            place = block.place
        message = (
            f"the head of {head.size} messages that was published on {self._stream.name} is not "
            "that of this engine's log, though the leaves are. Folding has stopped."
        )
        raise LogDiverged(message)


def _differing(sequence: int, stream: str) -> LogDiverged:
    return LogDiverged(
        f"message {sequence} is the first whose leaf is not the one that was published on "
        f"{stream}: this engine's log, or the published leaves, were changed. Folding has stopped; "
        "what was folded is kept."
    )
