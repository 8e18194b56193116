"""A real nats-server for one test, and what its streams hold. It listens on loopback only."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import nats
from nats.aio.client import Client

from memfold.jetstream import api, read_recorded
from memfold.wire import Recorded
from memfold_consumers.nats_probe import HOST, answers, find_nats_server, free_port, server_name

DEADLINE_S: Final = 20.0
CONFIG: Final = """\
server_name: "{name}"
listen: "{host}:{port}"
jetstream {{ store_dir: "nats" }}
{more}
"""


class Broker:
    """A nats-server with JetStream that can be killed and started again on its port and store."""

    def __init__(self, data: Path, more: str = "") -> None:
        self.data = data
        self.port = free_port()
        self._more = more
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    async def start(self) -> None:
        """Start the server and return once it answers."""
        config = self.data / "nats.conf"
        name = server_name(self.data)
        config.write_text(CONFIG.format(name=name, host=HOST, port=self.port, more=self._more))
        self._process = await asyncio.create_subprocess_exec(
            str(find_nats_server()),
            *("-c", str(config)),
            cwd=self.data,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
        async with asyncio.timeout(DEADLINE_S):
            while not await answers(self.url, self.data):  # noqa: ASYNC110 - another process.
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """End the server at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal: one that is stopped keeps its connections and says nothing."""
        assert self._process is not None
        self._process.send_signal(number)


@asynccontextmanager
async def running_broker(data: Path, more: str = "") -> AsyncGenerator[Broker, None]:
    """Run a server for the length of a block; ``more`` is added to its configuration."""
    broker = Broker(data, more)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.kill()


@asynccontextmanager
async def bare_client(url: str) -> AsyncGenerator[Client, None]:
    """Connect with nats-py alone: the other publisher, in any language."""
    client = await nats.connect(url, reconnect_time_wait=0.1, max_reconnect_attempts=-1)
    try:
        yield client
    finally:
        await client.close()


async def stored(client: Client, stream: str) -> list[Recorded]:
    """Return every message of a stream, in order."""
    state = (await api(client, f"STREAM.INFO.{stream}"))["state"]
    read = [
        await read_recorded(client, stream, sequence)
        for sequence in range(max(state["first_seq"], 1), state["last_seq"] + 1)
    ]
    return [message for message in read if message is not None]
