"""A TCP proxy before a nats-server that cuts the connection at a chosen step of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 1 << 20
HOST: Final = "127.0.0.1"


class Part(Enum):
    """How much of the bytes that trigger a cut still goes through."""

    NOTHING = "nothing"
    HALF = "half"
    ALL = "all"


class _End(Exception):
    """One side has ended, so both do."""


async def _nothing() -> None:
    """Do nothing meanwhile."""


@dataclass
class Cut:
    """Cut once, when ``pattern`` passes ``to`` the server or the client.

    ``meanwhile`` runs when the connection is as good as gone and before the client can know.
    """

    to: str
    pattern: bytes
    part: Part = Part.NOTHING
    meanwhile: Callable[[], Awaitable[object]] = _nothing
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Forwards bytes both ways; ``cuts`` are taken in order, one at a time."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._upstream = (address.hostname, address.port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts: list[Cut] = []
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.url = f"nats://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio.start_server reports the end of one by cancelling as an error.
        task = asyncio.get_running_loop().create_task(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = None, None
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump("server", reader, up_writer))
                ways.create_task(self._pump("client", up_reader, writer))
        except* (OSError, _End):
            pass
        finally:
            for side in (writer, up_writer):
                if side is not None:
                    side.transport.abort()

    async def _pump(
        self, to: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        before = b""
        while chunk := await reader.read(CHUNK_BYTES):
            cut = self.cuts[0] if self.cuts else None
            # A pattern may lie across two reads.
            if cut is not None and cut.to == to and cut.pattern in before + chunk:
                self.cuts.pop(0)
                await self._finish(cut, chunk, writer)
                break
            before = chunk[-256:]
            writer.write(chunk)
            await writer.drain()
        raise _End

    async def _finish(self, cut: Cut, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        if cut.part is not Part.NOTHING:
            writer.write(chunk if cut.part is Part.ALL else chunk[: len(chunk) // 2])
            await writer.drain()
        await cut.meanwhile()
        cut.done.set()


@asynccontextmanager
async def running_proxy(url: str) -> AsyncGenerator[Proxy, None]:
    """Run a proxy before a server for the length of a block."""
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
