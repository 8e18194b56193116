"""Whatever is changed in a copy of the log, a head or the projection: verify names its place."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

import memfold
from memfold import Memory, Message, Receipt
from memfold.audit.heads import Head, encode_block, read_head
from memfold.errors import StorageError
from memfold.jetstream import api
from memfold_consumers.settings import EngineSettings
from memfold_projections.refolding import Beside
from support.broker import bare_client, running_broker
from support.engine import running_engine
from support.jobs import run_job
from support.verifying import places, verify

pytestmark = pytest.mark.faults

EVENTS = 40
LARGE = 30_000


@dataclass
class World:
    """A broker's and an engine's directory, both stopped."""

    broker: Path
    engine: Path

    @contextmanager
    def log(self) -> Generator[duckdb.DuckDBPyConnection]:
        with duckdb.connect(str(self.engine / "log.duckdb")) as connection:
            yield connection

    def change(self, *statements: str) -> None:
        with self.log() as log:
            for statement in statements:
                log.execute(statement)

    @asynccontextmanager
    async def running(self, head_s: float = 100) -> AsyncGenerator[tuple[Memory, str]]:
        settings = EngineSettings(data=self.engine, head_s=head_s)
        async with (
            running_broker(self.broker) as broker,
            running_engine(broker.url, self.engine, settings=settings),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            yield memory, broker.url

    async def report(self, **arguments: object) -> dict[str, Any]:
        async with self.running() as (memory, _):
            return await verify(memory, **arguments)

    def heads(self) -> list[Head]:
        return [read_head(line) for line in (self.engine / "heads.ndjson").read_bytes().split()]


async def fill(memory: Memory, first: int, count: int) -> None:
    alice = memory.resource("alice")
    receipts: list[Receipt] = []
    for number in range(first, first + count, 2):
        said = await alice.thread("t").append(
            Message(id=f"m{number}", role="user", content=f"number {number}")
        )
        done = await alice.working_memory.merge({f"k{number % 7}": number}, because=said)
        receipts.append(done)
    await receipts[-1].applied()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Fold some messages in three runs, so that there are three heads."""
    root = tmp_path_factory.mktemp("prepared")
    world = World(root / "broker", root / "engine")
    world.broker.mkdir()

    async def prepare() -> None:
        for run in range(4):
            async with world.running() as (memory, _):
                await fill(memory, run * 10, 10)

    asyncio.run(prepare())
    return world


@pytest.fixture
def world(prepared: World, tmp_path: Path) -> World:
    shutil.copytree(prepared.broker, tmp_path / "broker")
    shutil.copytree(prepared.engine, tmp_path / "engine")
    return World(tmp_path / "broker", tmp_path / "engine")


async def test_a_clean_log_is_not_accused(world: World) -> None:
    report = await world.report()
    assert report["findings"] == []
    assert report["ok"] is True
    assert report["size"] == EVENTS
    assert report["heads"] == {"published": 4, "file": 4, "given": 0, "agree": 8, "ahead": 0}
    names = ["log", "published", "tree", "stream", "refold"]
    assert [each["name"] for each in report["phases"]] == names
    assert [each["checked"] for each in report["phases"]] == [EVENTS] * 5
    assert report["root"] == world.heads()[-1].root.hex()
    assert sorted((world.engine / "generations").glob("*.duckdb")) == [
        world.engine / "generations" / "000001.duckdb"
    ]


async def test_a_clean_log_is_not_accused_while_others_write(world: World) -> None:
    async with world.running(head_s=0.01) as (memory, _):
        writing = asyncio.create_task(fill(memory, EVENTS, 300))
        for _ in range(3):
            report = await verify(memory)
            assert report["findings"] == []
        await writing
        report = await verify(memory)
    assert (report["ok"], report["size"]) == (True, EVENTS + 300)


EVENT = "UPDATE event SET {} WHERE sequence = 17"
CHANGES: dict[str, tuple[list[str], tuple[str, int | None]]] = {
    "payload": (
        [EVENT.format("payload = encode(replace(decode(payload), 'number', 'nunber'))")],
        ("event_changed", 17),
    ),
    "subject": ([EVENT.format("subject = subject || 'x'")], ("event_changed", 17)),
    "msg_id": ([EVENT.format("msg_id = msg_id || 'x'")], ("event_changed", 17)),
    "time": ([EVENT.format("time_ns = time_ns + 1")], ("event_changed", 17)),
    "log time": ([EVENT.format("time_us = time_us + 1")], ("event_changed", 17)),
    "log time back": ([EVENT.format("time_us = time_us - 1")], ("event_changed", 17)),
    "leaf": (
        ["UPDATE leaf SET hash = hash[:31] || '\\x00'::BLOB WHERE sequence = 17"],
        ("event_changed", 17),
    ),
    "short leaf": (
        ["UPDATE leaf SET hash = '\\x00'::BLOB WHERE sequence = 17"],
        ("event_changed", 17),
    ),
    "deleted": (["DELETE FROM event WHERE sequence = 17"], ("event_missing", 17)),
    "deleted leaf": (["DELETE FROM leaf WHERE sequence = 17"], ("leaf_missing", 17)),
    "deleted both": (
        ["DELETE FROM event WHERE sequence = 17", "DELETE FROM leaf WHERE sequence = 17"],
        ("leaf_missing", 17),
    ),
    "inserted": (
        ["INSERT INTO event SELECT * FROM event WHERE sequence = 17"],
        ("event_inserted", 17),
    ),
    "inserted leaf": (
        ["INSERT INTO leaf SELECT * FROM leaf WHERE sequence = 17"],
        ("leaf_inserted", 17),
    ),
    "inserted in front": (
        ["INSERT INTO event SELECT * REPLACE (0 AS sequence) FROM event WHERE sequence = 17"],
        ("event_inserted", 0),
    ),
    "inserted behind": (
        ["INSERT INTO leaf SELECT * REPLACE (99 AS sequence) FROM leaf WHERE sequence = 17"],
        ("leaf_inserted", 99),
    ),
    "swapped": (
        ["UPDATE event SET sequence = 37 - sequence WHERE sequence IN (17, 20)"],
        ("event_changed", 17),
    ),
    "swapped with their leaves": (
        [
            "UPDATE event SET sequence = 37 - sequence WHERE sequence IN (17, 20)",
            "UPDATE leaf SET sequence = 37 - sequence WHERE sequence IN (17, 20)",
        ],
        ("event_changed", 17),
    ),
    "truncated": (["DELETE FROM event WHERE sequence > 35"], ("event_missing", 36)),
    "checkpoint doubled": (
        ["INSERT INTO checkpoint SELECT * FROM checkpoint"],
        ("table_differs", None),
    ),
    "time of the checkpoint": (
        ["UPDATE checkpoint SET time_us = time_us + 1"],
        ("table_differs", None),
    ),
    "rewritten": (["UPDATE checkpoint SET rewrite = 1"], ("table_differs", None)),
    "no erasure": (["INSERT INTO erased VALUES (17, 1, 1)"], ("table_differs", 17)),
    "erasure to come": (["INSERT INTO erased VALUES (99, 1, 1)"], ("table_differs", 99)),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_table_is_reported_with_its_place(world: World, change: str) -> None:
    statements, (kind, sequence) = CHANGES[change]
    world.change(*statements)
    report = await world.report()
    assert report["ok"] is False
    assert (kind, sequence) in places(report)
    # Whatever else differs for it, no message before it is accused.
    others = {place for name, place in places(report) if name != "refold_differs"}
    first = 0 if sequence is None else sequence
    assert all(place is None or place >= first for place in others)


async def test_a_message_changed_with_its_leaf_does_not_fit_what_is_elsewhere(world: World) -> None:
    """Whoever controls the engine's disk alone is found by the stream and the published leaves."""
    from memfold.leaf import leaf_hash
    from memfold.wire import Recorded

    with world.log() as log:
        row = log.execute(
            "SELECT sequence, time_ns, subject, payload, msg_id FROM event WHERE sequence = 17"
        ).fetchone()
        assert row is not None
        forged = Recorded(row[0], row[1], row[2], row[3].replace(b"number", b"nunber"), row[4])
        log.execute("UPDATE event SET payload = ? WHERE sequence = 17", [forged.payload])
        log.execute("UPDATE leaf SET hash = ? WHERE sequence = 17", [leaf_hash(forged)])
    for name in ("heads.ndjson", "tree.json"):
        (world.engine / name).unlink()
    found = places(await world.report())
    assert {("published_differs", 17), ("stream_changed", 17), ("head_differs", 20)} <= found
    # That its own heads are gone is told of each of them.
    others = {place for kind, place in found if kind != "head_missing" and place is not None}
    assert min(others) == 17


async def test_a_changed_head_is_reported_with_its_line(world: World) -> None:
    path = world.engine / "heads.ndjson"
    lines = path.read_bytes().splitlines(keepends=True)
    kept = tuple(lines)
    for number in (2, 4):
        head = read_head(lines[number - 1])
        forged = Head(head.size, head.root[:31] + b"\0", head.time, head.engine)
        path.write_bytes(b"".join([*kept[: number - 1], forged.encode() + b"\n", *kept[number:]]))
        found = (await world.report(quick=True))["findings"]
        assert [(each["kind"], each["where"]) for each in found if each["sequence"]][-1] == (
            "head_differs",
            f"heads.ndjson line {number}",
        )
    (world.engine / "incidents.ndjson").unlink()
    for word, kind in ((b"engine", "head_differs"), (b"root", "head_unreadable")):
        line = kept[1].replace(b'"%b":"' % word, b'"%b":"X' % word)
        path.write_bytes(b"".join([kept[0], line, *kept[2:]]))
        found = (await world.report(quick=True))["findings"][0]
        assert (found["kind"], found["where"]) == (kind, "heads.ndjson line 2")


Lines = list[bytes]
LINES: dict[str, tuple[Callable[[Lines], Lines], set[tuple[str, int | None]]]] = {
    "first gone": (lambda lines: lines[1:], {("head_missing", 10)}),
    "last left": (
        lambda lines: lines[-1:],
        {("head_missing", size) for size in (10, 20, 30)},
    ),
    "swapped": (lambda lines: [lines[1], lines[0], *lines[2:]], {("head_misplaced", 10)}),
    "doubled": (lambda lines: [lines[0], *lines], {("head_misplaced", 10)}),
    "forged": (
        lambda lines: [Head(10, read_head(lines[0]).root, "2020", "x").encode(), *lines[1:]],
        {("head_missing", 10)},
    ),
    "all gone": (
        lambda _: [],
        {
            ("heads_rolled_back", None),
            ("head_missing", 10),
            ("head_missing", 20),
            ("head_missing", 30),
            ("head_missing", 40),
        },
    ),
}


@pytest.mark.parametrize("change", LINES)
async def test_a_line_of_heads_that_is_gone_or_misplaced_is_reported(
    world: World, change: str
) -> None:
    edit, expected = LINES[change]
    path = world.engine / "heads.ndjson"
    path.write_bytes(b"".join(line + b"\n" for line in edit(path.read_bytes().splitlines())))
    assert places(await world.report(quick=True)) == expected
    seen = {place for place in expected if place[0] == "head_misplaced"}
    assert places(await world.report(quick=True, acknowledge=True)) == seen
    assert places(await world.report(quick=True)) == seen


async def test_heads_of_another_engine_in_the_place_of_its_own_are_reported(world: World) -> None:
    other = world.engine.with_name("other")
    async with (
        running_broker(world.broker) as broker,
        running_engine(broker.url, other),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        await fill(memory, EVENTS, 2)
    shutil.copy(other / "heads.ndjson", world.engine / "heads.ndjson")
    report = await world.report(quick=True)
    assert {("head_missing", size) for size in (10, 20, 30, 40)} <= places(report)


async def test_a_new_engine_id_accuses_no_head_of_the_one_before(world: World) -> None:
    (world.engine / "engine-id").unlink()
    async with world.running() as (memory, _):
        await fill(memory, EVENTS, 2)
    async with world.running() as (memory, _):
        assert places(await verify(memory)) == set()
    assert len({head.engine for head in world.heads()}) == 2


async def test_an_audit_stream_that_goes_while_the_engine_runs_is_reported(world: World) -> None:
    async with world.running(head_s=0.01) as (memory, url), bare_client(url) as bare:
        root = (await verify(memory, quick=True))["root"]
        async with asyncio.timeout(20):
            while (await memory.status())["audit"]["root"] != root:  # noqa: ASYNC110 - another task
                await asyncio.sleep(0.01)
        await api(bare, "STREAM.DELETE.memfold-audit")
        report = await verify(memory)
    assert places(report) == {("published_missing", 1)}


async def test_heads_that_were_kept_elsewhere_are_compared(world: World) -> None:
    kept = [[head.size, head.root.hex(), "line 1"] for head in world.heads()]
    assert (await world.report(quick=True, heads=kept))["heads"]["given"] == 4
    other = [[20, "00" * 32, "line 7"], [500, "00" * 32, "line 8"]]
    report = await world.report(only_heads=True, heads=other)
    assert [(each["kind"], each["sequence"], each["where"]) for each in report["findings"]] == [
        ("head_differs", 20, "given line 7"),
        ("log_truncated", EVENTS + 1, "given line 8"),
    ]


async def test_forged_leaves_and_heads_are_reported(world: World) -> None:
    """The engine halts at once, and verifies halted as it does."""
    async with world.running(), bare_client_of(world) as bare:
        js = bare.jetstream()
        await js.publish("memfold.audit.leaves", encode_block(EVENTS + 1, [bytes(32)]))
        await js.publish("memfold.audit.heads", Head(EVENTS - 5, bytes(32)).encode())
        await js.publish("memfold.audit.heads", b"{}")
        await js.publish("memfold.audit.leaves", b"x")
    async with world.running() as (memory, _):
        await fill(memory, EVENTS, 2)
        found = places(await verify(memory))
    assert {
        ("published_differs", EVENTS + 1),
        ("head_differs", EVENTS - 5),
        ("published_unreadable", None),
    } <= found


@asynccontextmanager
async def bare_client_of(world: World) -> AsyncGenerator[Any]:
    port = (world.broker / "nats.conf").read_text().split("127.0.0.1:")[1].split('"')[0]
    async with bare_client(f"nats://127.0.0.1:{port}") as bare:
        yield bare


async def test_a_message_deleted_from_the_stream_is_reported(world: World) -> None:
    async with world.running() as (memory, url), bare_client(url) as bare:
        for sequence in (11, 12, 23):
            await api(bare, "STREAM.MSG.DELETE.memfold", {"seq": sequence})
        report = await verify(memory)
    assert places(report) == {("stream_missing", 11), ("stream_missing", 23)}


async def test_a_stream_that_was_replaced_is_reported_by_a_halted_engine(world: World) -> None:
    shutil.rmtree(world.broker)
    world.broker.mkdir()
    async with running_broker(world.broker) as broker:
        other = world.engine.with_name("other")
        async with (
            running_engine(broker.url, other),
            memfold.connect(broker.url, actor="bot") as memory,
        ):
            await fill(memory, 0, 30)
    async with world.running() as (memory, _):
        assert (await memory.status())["state"] == "halted"
        found = places(await verify(memory))
    assert {("stream_changed", 1), ("stream_truncated", 31)} <= found


def block_file(world: World, stream: str) -> Path:
    (block,) = world.broker.glob(f"nats/jetstream/$G/streams/{stream}/msgs/*.blk")
    return block


def flip(at: float) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[int(len(content) * at)] ^= 0x10

    return change


def cut(content: bytearray) -> None:
    del content[len(content) * 3 // 4 :]


@pytest.mark.parametrize("stream", ["memfold", "memfold-audit"])
@pytest.mark.parametrize("how", [flip(0.1), flip(0.5), flip(0.93), cut])
@pytest.mark.parametrize("index", ["kept", "lost"])
async def test_a_byte_changed_in_a_stream_s_file_is_reported(
    world: World, stream: str, how: Callable[[bytearray], None], index: str
) -> None:
    block = block_file(world, stream)
    content = bytearray(block.read_bytes())
    how(content)
    block.write_bytes(content)
    if index == "lost":
        (block.parent / "index.db").unlink(missing_ok=True)
    report = await world.report()
    assert report["ok"] is False
    kinds = {kind for kind, _ in places(report)}
    if stream == "memfold":
        assert kinds & {"stream_missing", "stream_truncated", "stream_changed"}
    else:
        assert kinds & {"published_missing", "published_differs", "audit_rolled_back"}


async def test_a_projection_that_was_changed_does_not_fit_a_refold(world: World) -> None:
    generation = world.engine / "generations" / "000001.duckdb"
    with duckdb.connect(str(generation)) as connection:
        connection.execute(
            "UPDATE message SET content = replace(content, 'number', 'nunber') "
            "WHERE valid_from = 17"
        )
    report = await world.report()
    assert places(report) == {("refold_differs", 17)}
    assert "message" in report["findings"][0]["text"]


@pytest.mark.parametrize(
    "error",
    [
        duckdb.TransactionException("Failed to commit: could not write: No space left on device"),
        StorageError("000002.duckdb cannot be opened"),
    ],
)
async def test_a_refold_that_cannot_be_written_accuses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    async with world.running() as (memory, url), bare_client(url) as bare:
        monkeypatch.setattr(Beside, "fold_log", fail)
        failed = await run_job(bare, world.engine, "verify")
        assert failed["code"] == "storage_error"
        assert "Findings so far: 0" in failed["message"]
        monkeypatch.undo()
        assert (await verify(memory))["ok"] is True


async def test_what_was_erased_is_listed_and_no_finding(world: World) -> None:
    """Of a message in a batch, too; what goes without a record is still found beside it."""
    async with world.running() as (memory, url), bare_client(url) as bare:
        thread = memory.resource("alice").thread("t")
        batch = [Message(id=f"b{n}", role="user", content="in a batch") for n in range(3)]
        await (await thread.append(batch)).applied()
        await thread.erase("b1", reason="asked for")
        await thread.erase("m4", reason="asked for")
        await fill(memory, EVENTS, 2)
        report = await verify(memory)
        assert report["findings"] == []
        assert [each["target"] for each in report["erasures"]] == ["message", "message"]
        await api(bare, "STREAM.MSG.DELETE.memfold", {"seq": 23})
        assert places(await verify(memory)) == {("stream_missing", 23)}
