"""Is the stream still the log that was folded? Asked on start, on reconnect and every minute.

A stream can lose its tail or be replaced behind our back, and its sequences start again as if
nothing had been. So its last message that we know is compared with the leaf we stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.errors import LogDiverged, StreamMissing
from memfold.jetstream import NO_STREAM, JetStreamError, api, read_recorded
from memfold.leaf import leaf_hash
from memfold.refilled import Refilled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nats.aio.client import Client

SURVIVORS_TRIED_MAX: Final = 100


async def check_alignment(
    connection: Client,
    stream: str,
    leaves: Sequence[tuple[int, bytes]],
    explain: Callable[[int, int], Awaitable[None]],
) -> int:
    """Compare the stream with our newest leaves (newest first); return its last sequence.

    ``explain`` raises ``LogDiverged`` for missing messages that no erasure explains.

    Raises:
        LogDiverged: the stream ends before our checkpoint, begins behind it, or holds another
            message where we have folded one.
        StreamMissing: there is no such stream.
        nats.errors.Error, JetStreamError: the broker did not answer; try again.
    """
    try:
        info = await api(connection, f"STREAM.INFO.{stream}")
    except JetStreamError as error:
        if error.code == NO_STREAM:
            message = f"the stream {stream} does not exist"
            raise StreamMissing(message) from None
        raise
    state, refilled = info["state"], Refilled.of(info["config"])
    last, first = int(state["last_seq"]), int(state["first_seq"])
    checkpoint = leaves[0][0] if leaves else 0
    if last < checkpoint:
        message = (
            f"the stream ends at {last}, but {checkpoint} messages were folded: it lost "
            f"{checkpoint - last} of them. Folding has stopped; what was folded is kept."
        )
        raise LogDiverged(message)
    if first > checkpoint + 1:
        await explain(checkpoint + 1, first - 1)
    for sequence, leaf in leaves:
        recorded = await read_recorded(connection, stream, sequence, refilled=refilled)
        if recorded is None:
            continue
        if leaf_hash(recorded) != leaf:
            message = (
                f"the stream's message {sequence} is not the one that was folded: the stream was "
                "truncated or replaced. Folding has stopped; what was folded is kept."
            )
            raise LogDiverged(message)
        break
    return last
