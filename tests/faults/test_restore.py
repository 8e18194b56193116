"""A stream that was lost, cut off, forked or spoilt, and is filled again from the engine's log."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from nats.aio.client import Client

import memfold
from memfold import Memory, Message
from memfold.erasing import Eraser
from memfold.errors import StorageError, UnsafeStream
from memfold.jetstream import api
from memfold.leaf import leaf_hash
from memfold.refilled import Refilled
from memfold.streams import ensure_streams
from memfold_consumers.diagnosis import stream_info
from memfold_consumers.jobs import Progress
from memfold_consumers.nats_client import open_client
from memfold_consumers.restoring import Restoring
from memfold_consumers.settings import EngineSettings
from memfold_consumers.stream_reading import read_stream
from memfold_projections.content import content_digests
from memfold_projections.log import Log
from memfold_projections.store import Store
from support.broker import Broker, bare_client, running_broker
from support.engine import running_engine

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]


@asynccontextmanager
async def memory_at(broker: Broker, engine: Path) -> AsyncGenerator[Memory]:
    async with (
        running_engine(broker.url, engine),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        yield memory


async def write(memory: Memory, first: int, count: int) -> None:
    alice = memory.resource("alice")
    thread = alice.thread("t")
    for number in range(first, first + count):
        await thread.append(Message(id=f"m{number}", role="user", content=f"text {number}"))
    await (await alice.working_memory.merge({f"k{first}": count})).applied()


async def restored(broker: Broker, engine: Path, *, dry_run: bool = False) -> dict[str, Any]:
    connection = await open_client(servers=broker.url, log=False)
    try:
        with closing(Store(engine, "memfold")) as store:
            settings = EngineSettings(data=engine)
            done = await Restoring(connection, settings, store, Progress()).run(dry_run=dry_run)
    finally:
        await connection.leave(1.0)
    return done.to_json()


async def leaves(client: Client) -> dict[int, bytes]:
    last = (await api(client, "STREAM.INFO.memfold"))["state"]["last_seq"]
    return {
        message.sequence: leaf_hash(message)
        async for messages in read_stream(client, "memfold", last)
        for message in messages
    }


def logged(engine: Path) -> dict[int, bytes]:
    with closing(Log(engine / "log.duckdb", "memfold")) as log:
        return log.leaves(0, log.sequence)


def content(engine: Path) -> dict[str, str]:
    store = Store(engine, "memfold")
    digests = content_digests(store.generation)
    store.close()
    return digests


async def check_whole(
    broker: Broker, engine: Path, erased: frozenset[int] = frozenset()
) -> list[str]:
    """Both the old engine and a new one have all; return the ids of the messages."""
    async with memory_at(broker, engine) as memory:
        await write(memory, 1000, 1)
        served = await memory.resource("alice").thread("t").messages()
    fresh = engine.parent / "fresh"
    last = max(logged(engine))
    async with memory_at(broker, fresh) as memory:
        while (await memory.status())["checkpoint"] < last:  # noqa: ASYNC110 - it catches up.
            await asyncio.sleep(0.01)
        assert await memory.resource("alice").thread("t").messages() == served
    assert logged(fresh) == logged(engine)
    assert content(fresh) == content(engine)
    async with bare_client(broker.url) as client:
        own = logged(engine)
        assert await leaves(client) == {key: own[key] for key in own if key not in erased}
        await ensure_streams(client, "memfold")
    assert (await restored(broker, engine))["found"] == "intact"
    assert not left_over(engine)
    return [message.id for message in served]


def left_over(engine: Path) -> list[Path]:
    return list(engine.glob("restore*"))


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    for name in ("broker", "engine", "fresh"):
        (tmp_path / name).mkdir()
    return tmp_path / "engine"


@asynccontextmanager
async def rolled_back(engine: Path, kept: int, lost: int) -> AsyncGenerator[Broker]:
    """Run a server that has forgotten its last messages, as after a power cut; ours has them."""
    data = engine.parent / "broker"
    async with running_broker(data) as broker:
        async with memory_at(broker, engine) as memory:
            await write(memory, 0, kept)
        await broker.kill()
        shutil.copytree(data / "nats", data / "before")
        await broker.start()
        async with memory_at(broker, engine) as memory:
            await write(memory, kept, lost)
        await broker.kill()
        shutil.rmtree(data / "nats")
        (data / "before").rename(data / "nats")
        await broker.start()
        yield broker


async def halted(broker: Broker, engine: Path) -> bool:
    async with memory_at(broker, engine) as memory:
        return bool((await memory.status())["state"] == "halted")


@pytest.mark.parametrize("created_again", [False, True])
async def test_a_lost_stream_is_filled_again(engine: Path, *, created_again: bool) -> None:
    """Deleted, or deleted and created again by an engine: all of it comes back, times included."""
    async with running_broker(engine.parent / "broker") as broker:
        async with memory_at(broker, engine) as memory:
            await write(memory, 0, 20)
        before = logged(engine)
        async with bare_client(broker.url) as client:
            for name in ("memfold", "memfold-audit"):
                await api(client, f"STREAM.DELETE.{name}")
        if created_again:
            assert await halted(broker, engine)
        found = await restored(broker, engine, dry_run=True)
        assert (found["found"], found["done"], found["log"]) == ("lost", False, 21)
        assert found["stream"] == (0 if created_again else None)
        done = await restored(broker, engine)
        assert (done["done"], done["refilled"], done["published"]) == (True, 21, 0)
        assert logged(engine) == before
        assert len(await check_whole(broker, engine)) == 21


async def test_a_truncated_stream_gets_its_end_back(engine: Path) -> None:
    """In its place: what the stream still has is not touched."""
    async with rolled_back(engine, 10, 15) as broker:
        assert await halted(broker, engine)
        done = await restored(broker, engine)
        assert (done["found"], done["stream"], done["whole"]) == ("truncated", 11, 11)
        assert (done["refilled"], done["published"], done["file"]) == (16, 0, None)
        async with bare_client(broker.url) as client:
            config = (await api(client, "STREAM.INFO.memfold"))["config"]
        assert Refilled.of(config).ranges == ((12, 27),)
        assert len(await check_whole(broker, engine)) == 26


@pytest.mark.parametrize("since", [3, 40])
async def test_what_a_forked_stream_has_accepted_follows_the_log(engine: Path, since: int) -> None:
    """Shorter or longer than the log: nobody's event is lost, and the log's come first."""
    async with rolled_back(engine, 10, 15) as broker:
        async with (
            bare_client(broker.url) as client,
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            thread = memory.resource("alice").thread("t")
            for number in range(since):
                await thread.append(Message(id=f"f{number}", role="user", content="since"))
            # What was lost is published again by whoever retries: once more is not twice.
            again = await api(client, "STREAM.MSG.GET.memfold", {"seq": 3})
            assert again["message"]["seq"] == 3
        assert await halted(broker, engine)
        dry = await restored(broker, engine, dry_run=True)
        assert (dry["found"], dry["whole"], dry["foreign"]) == ("forked", 11, since)
        done = await restored(broker, engine)
        assert (done["refilled"], done["published"], done["done"]) == (27, since, True)
        ids = await check_whole(broker, engine)
        assert ids == [
            *(f"m{number}" for number in range(25)),
            *(f"f{number}" for number in range(since)),
            "m1000",
        ]


async def test_a_stream_that_lacks_a_message_in_the_middle_is_made_anew(engine: Path) -> None:
    """And one that has another message in a place keeps that out of the log, but in a file."""
    async with running_broker(engine.parent / "broker") as broker:
        async with memory_at(broker, engine) as memory:
            await write(memory, 0, 20)
        async with bare_client(broker.url) as client:
            await api(client, "STREAM.MSG.DELETE.memfold", {"seq": 7})
        done = await restored(broker, engine)
        assert (done["found"], done["whole"], done["own"]) == ("damaged", 6, 20)
        assert (done["refilled"], done["published"], done["file"]) == (21, 0, None)
        assert len(await check_whole(broker, engine)) == 21


async def test_odd_messages_come_back_as_they_were(engine: Path) -> None:
    """Wildcards in a subject, no message id, one id twice, batches."""
    async with running_broker(engine.parent / "broker") as broker:
        async with bare_client(broker.url) as client:
            await ensure_streams(client, "memfold", duplicate_window_s=0.1)
            js = client.jetstream()
            for number, subject in enumerate(
                ("alice.t.messages.*", "alice.>.messages.bot", "%5F.t.messages.bot", "a.b.c.d")
            ):
                headers = None if number % 2 else {"Nats-Msg-Id": "same \u00e4"}
                await js.publish(f"memfold.publish.{subject}", b"[]", headers=headers)
                await asyncio.sleep(0.2)  # Beyond the duplicate window.
            async with memory_at(broker, engine) as memory:
                await write(memory, 0, 6)
            expected = logged(engine)
            await api(client, "STREAM.DELETE.memfold")
            done = await restored(broker, engine)
            assert (done["refilled"], done["done"]) == (11, True)
            found = await leaves(client)
        assert found == expected
        assert (await restored(broker, engine))["found"] == "intact"


async def test_what_was_erased_is_not_put_back(engine: Path) -> None:
    """A whole message, and one event of a batch; the stream keeps its holes, with their leaves."""
    async with running_broker(engine.parent / "broker") as broker:
        async with memory_at(broker, engine) as memory:
            await write(memory, 0, 6)
            thread = memory.resource("alice").thread("t")
            for name in "bc":
                batch = [Message(id=f"{name}{n}", role="user", content="x") for n in range(3)]
                await thread.append(batch)
            await thread.erase(message="m2", reason="asked")
            await thread.erase(message="b1", reason="asked")
            while (await memory.status())["lag"]:  # noqa: ASYNC110 - it records the erasures.
                await asyncio.sleep(0.01)
        async with bare_client(broker.url) as client:
            before = await leaves(client)
            gone = frozenset(range(1, max(before))) - before.keys()
            assert len(gone) == 2
            await api(client, "STREAM.DELETE.memfold")
            assert (await restored(broker, engine))["done"] is True
            after = await leaves(client)
        assert {key: after.get(key) for key in before} == before
        assert after.keys() == before.keys()
        # What survives of a batch that was put back keeps the time of its first recording.
        async with memory_at(broker, engine) as memory:
            thread = memory.resource("alice").thread("t")
            report = await thread.erase(message="c1", reason="asked")
            while (await memory.status())["lag"]:  # noqa: ASYNC110 - it records the erasure.
                await asyncio.sleep(0.01)
        gone |= {first for first, _ in report.sequences}
        ids = await check_whole(broker, engine, gone)
        assert ids == ["m0", "m1", "m3", "m4", "m5", "b0", "b2", "c0", "c2", "m1000"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE event SET payload = '{}'::BLOB WHERE sequence = 9",
        "DELETE FROM event WHERE sequence = 9",
        "UPDATE event SET redacted = true WHERE sequence = 9",
    ],
)
async def test_a_log_that_does_not_fit_its_leaves_restores_nothing(
    engine: Path, damage: str
) -> None:
    """It would be the only copy; nothing is changed. An erasure that took nothing excuses none."""
    async with rolled_back(engine, 5, 5) as broker:
        with closing(duckdb.connect(str(engine / "log.duckdb"))) as file:
            file.execute(damage)
        with pytest.raises(StorageError, match="message 9 "):
            await restored(broker, engine)
        async with bare_client(broker.url) as client:
            await ensure_streams(client, "memfold")
            assert (await api(client, "STREAM.INFO.memfold"))["state"]["last_seq"] == 6


async def test_an_erasure_that_was_cut_off_does_not_hinder_a_restore(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No record says what it deletes, but the file was written anew without that."""

    async def died(*_: object) -> None:
        raise ConnectionError

    async with running_broker(engine.parent / "broker") as broker:
        async with memory_at(broker, engine) as memory:
            await write(memory, 0, 6)
            monkeypatch.setattr(Eraser, "_delete", died)
            with pytest.raises(ConnectionError):
                await memory.resource("alice").thread("t").erase(message="m2")
            while not [each for each in await memory.erasures() if each["completed"]]:  # noqa: ASYNC110 - it drops its copies.
                await asyncio.sleep(0.01)
        monkeypatch.undo()
        log = shutil.copy(engine / "log.duckdb", engine.parent / "kept.duckdb")
        with closing(duckdb.connect(str(engine / "log.duckdb"))) as file:
            file.execute("DELETE FROM event WHERE sequence = 5")
        async with bare_client(broker.url) as client:
            await api(client, "STREAM.DELETE.memfold")
            with pytest.raises(StorageError, match="no erasure says why"):
                await restored(broker, engine)
            shutil.copy(log, engine / "log.duckdb")
            assert (await restored(broker, engine))["done"] is True
            assert 3 not in await leaves(client)


async def test_a_publisher_cannot_claim_to_have_been_put_back(engine: Path) -> None:
    """The header counts only where the stream's settings say so."""
    async with running_broker(engine.parent / "broker") as broker:
        async with bare_client(broker.url) as client:
            await ensure_streams(client, "memfold")
            claimed = orjson.dumps({"time": 5, "id": "x", "subject": "memfold.events.1.eve"})
            await client.jetstream().publish(
                "memfold.publish.alice.t.messages.bot",
                b"{}",
                headers={"Memfold-Recorded": claimed.decode()},
            )
        async with memory_at(broker, engine) as memory:
            assert (await memory.status())["checkpoint"] == 1
        with closing(Log(engine / "log.duckdb", "memfold")) as log:
            ((message,),) = log.read(0)
        assert message.time_ns > 5
        assert message.subject.endswith("alice.t.messages.bot")
        assert message.msg_id == ""


@pytest.mark.timeout(300)
async def test_a_restore_that_is_killed_is_run_again(engine: Path) -> None:
    """At each of its steps: no engine starts on half a stream, and in the end all is there."""
    async with rolled_back(engine, 150, 750) as broker:
        async with memfold.connect(broker.url, actor="bot") as memory:
            thread = memory.resource("alice").thread("t")
            for number in range(150):
                await thread.append(Message(id=f"f{number}", role="user", content="since"))
        reached = 0
        async with bare_client(broker.url) as client:
            for step in STEPS:
                reached += await killed_at(step, broker, engine, client)
                info = await stream_info(client, "memfold")
                if info is not None and info["config"]["subjects"] == ["memfold.refill.>"]:
                    with pytest.raises(UnsafeStream, match="being restored"):
                        await ensure_streams(client, "memfold")
        # What is over in a moment may be missed, but not all of it.
        assert reached >= len(STEPS) - 2
        await restored(broker, engine)
        ids = await check_whole(broker, engine)
        assert ids[:900] == [f"m{number}" for number in range(900)]
        assert ids[900:] == [*(f"f{number}" for number in range(150)), "m1000"]


Step = Callable[[Path, dict[str, Any] | None], bool]


def made_anew(info: dict[str, Any] | None, last: int) -> bool:
    return (
        info is not None
        and "memfold_restore" in (info["config"].get("metadata") or {})
        and info["state"]["last_seq"] >= last
    )


STEPS: list[Step] = [
    lambda _, info: info is not None and info["config"]["subjects"] == ["memfold.refill.>"],
    lambda data, _: (data / "restore-ahead.ndjson.new").exists(),
    lambda data, _: (data / "restore-ahead.ndjson").exists(),
    lambda data, _: (data / "restore.json").exists(),
    lambda _, info: info is None or made_anew(info, 0),
    lambda _, info: made_anew(info, 100),
    lambda _, info: made_anew(info, 300),
    lambda _, info: made_anew(info, 700),
    lambda _, info: made_anew(info, 910),
    lambda _, info: made_anew(info, 1052),
]
"""How far a restore has come, as its files and the stream show it."""


async def killed_at(step: Step, broker: Broker, engine: Path, client: Client) -> bool:
    """Start a restore and kill it at a step; tell whether it was still at work then."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "memfold_consumers.cli.main", "restore", "--yes"),
        *("--data", str(engine), "--nats", broker.url),
        stdout=asyncio.subprocess.DEVNULL,
    )
    while process.returncode is None:
        if step(engine, await stream_info(client, "memfold")):
            break
        await asyncio.sleep(0)
    alive = process.returncode is None
    if alive:
        process.kill()
    await process.wait()
    return alive
