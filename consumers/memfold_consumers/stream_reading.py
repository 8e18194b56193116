"""Reads a stream from its first message to its last, whatever is missing in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from memfold.errors import BrokerUnavailable
from memfold.jetstream import NO_STREAM, JetStreamError, api, read_recorded
from memfold.refilled import Refilled
from memfold_consumers.intake import Intake, IntakeLost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client

    from memfold.wire import Recorded

SILENT_S: Final = 2.0
"""Nothing for so long: the next message is asked for by itself."""
LOST_MAX: Final = 5


async def last_sequence(connection: Client, stream: str) -> int | None:
    """Return the sequence of a stream's last message, None if there is no such stream.

    Raises as ``memfold.jetstream.api``.
    """
    try:
        info = await api(connection, f"STREAM.INFO.{stream}")
    except JetStreamError as error:
        if error.code == NO_STREAM:
            return None
        raise
    return int(info["state"]["last_seq"])


async def read_stream(
    connection: Client, stream: str, upto: int, *, after: int = 0
) -> AsyncGenerator[list[Recorded]]:
    """Yield what the stream has behind one sequence up to another, in chunks, in order.

    Raises:
        BrokerUnavailable: the server does not deliver what it has.
    """
    lost = 0
    while after < upto:
        try:
            async with Intake(connection, stream, after, gaps=True) as intake:
                while after < upto:
                    if not await intake.wait(SILENT_S):
                        # Erased meanwhile, or the server cannot read it: what is the next?
                        config = (await api(connection, f"STREAM.INFO.{stream}"))["config"]
                        found = await read_recorded(
                            connection,
                            stream,
                            after + 1,
                            subject_filter=">",
                            refilled=Refilled.of(config),
                        )
                        if found is None or found.sequence > upto:
                            return
                        yield [found]
                        after = found.sequence
                        break
                    messages = [each for each in await intake.take() if each.sequence <= upto]
                    if not messages:
                        return
                    yield messages
                    after, lost = messages[-1].sequence, 0
        except IntakeLost as error:
            lost += 1
            if lost == LOST_MAX:
                message = f"the server does not deliver the stream {stream}: {error}"
                raise BrokerUnavailable(message) from None
