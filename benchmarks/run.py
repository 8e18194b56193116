"""``make bench``: publish, fold and read, as ratios to the raw parts in the same run.

These figures say how much memfold adds to NATS and DuckDB on this machine, now; absolute times
move with the machine. Pairs are measured in turn (ours, bare, ours, bare, ...).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import nats
import orjson

import memfold
from memfold.wire import Recorded
from memfold_consumers.local_engine import ensure_engine, local
from memfold_consumers.nats_server import NatsServer
from memfold_projections.content import differences, frozen
from memfold_projections.store import Store

TEXT = "I moved to Berlin last week and still look for a flat near the park. " * 2
CATCH_UP_EVENTS = 20_000
BATCH = 100
WARM_UP_ROUNDS = 20
BARE_INSERT = """
INSERT INTO message SELECT unnest($1::INTEGER[]), unnest($2::TEXT[]), unnest($3::TEXT[])
"""


@dataclass(frozen=True)
class Figure:
    """One measured pair; ``better`` says which way the target points."""

    name: str
    value: float
    unit: str
    target: float
    better: str
    detail: str

    @property
    def met(self) -> bool:
        """Whether the target holds."""
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


async def main() -> int:
    """Run all benchmarks and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=600, help="samples of each latency")
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="memfold-bench-") as directory:
        data = Path(directory)
        figures += await publish_and_read(data / "live", options.rounds)
        figures += await catch_up(data / "single", batch=1)
        figures += await catch_up(data / "batched", batch=BATCH)
        figures.append(fold_and_insert(data / "fold"))
        figures += rebuild(data / "rebuild")
    if options.json:
        print(json.dumps([{**vars(each), "met": each.met} for each in figures], indent=2))
    else:
        for each in figures:
            sign = "<=" if each.better == "lower" else ">="
            verdict = "ok  " if each.met else "MISS"
            print(
                f"{verdict} {each.name:<34} {each.value:>10,.2f} {each.unit:<9} "
                f"target {sign} {each.target:<8,g} {each.detail}"
            )
    return 0


async def publish_and_read(data: Path, rounds: int) -> list[Figure]:
    """Measure publishing, writing until visible, and snapshots against bare NATS."""
    async with local(data, actor="bench") as memory:
        info = await ensure_engine(data)
        bare = await nats.connect(info.url)
        js = bare.jetstream()
        await js.add_stream(name="bare", subjects=["bare.>"])
        thread = memory.resource("alice").thread("t1")
        number = 0

        async def ours() -> None:
            await thread.append(memfold.Message(role="user", content=TEXT))

        payload = orjson.dumps(_event(0))

        async def raw() -> None:
            nonlocal number
            number += 1
            await js.publish("bare.alice.t1", payload, headers={"Nats-Msg-Id": f"b{number}"})

        publish = await paired(ours, raw, rounds)

        async def visible() -> None:
            await thread.append(memfold.Message(role="user", content=TEXT))
            await thread.snapshot(last=20)

        seen = await sampled(visible, rounds // 2)
        request = orjson.dumps({"thread": "t1", "last": 20})
        reply = (await bare.request("memfold.query.snapshot.alice", request)).data
        responder = await _started(ECHO, info.url, given=base64.b64encode(reply))

        async def snapshot() -> None:
            await thread.snapshot(last=20)

        async def snapshot_raw() -> None:
            await bare.request("memfold.query.snapshot.alice", request)

        async def echo() -> None:
            await bare.request("bench.echo", request)

        reads = await paired(snapshot_raw, echo, rounds)
        client_reads = await paired(snapshot, echo, rounds)
        await _ended(responder)
        await bare.close()
    return [
        _ratio("publish / bare publish", publish, 1.3),
        _ratio("snapshot / bare request", reads, 2.0),
        _ratio("snapshot() in Python / bare request", client_reads, 2.5),
        Figure("write to visible, p50", seen * 1e3, "ms", 15, "lower", "append, then snapshot"),
    ]


ECHO = """
import asyncio, base64, nats, sys
async def main():
    connection = await nats.connect(sys.argv[1])
    data = base64.b64decode(sys.stdin.buffer.read())
    async def answer(message): await message.respond(data)
    await connection.subscribe("bench.echo", cb=answer)
    await connection.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
ENGINE = """
import asyncio, sys
from pathlib import Path
from memfold_consumers.engine import run_engine
def ready(): print("ready", flush=True)
asyncio.run(run_engine(url=sys.argv[1], data=Path(sys.argv[2]), namespace="memfold",
                       stop=asyncio.Event(), on_ready=ready))
"""


async def _started(code: str, *arguments: str, given: bytes = b"") -> asyncio.subprocess.Process:
    """Start a Python process and wait until it says that it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(given)
    process.stdin.close()
    async for line in process.stdout:
        if line == b"ready\n":
            return process
    message = f"the process ended: {await process.wait()}"
    raise RuntimeError(message)


async def _ended(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def catch_up(data: Path, *, batch: int) -> list[Figure]:
    """Measure how fast a new engine folds a stream that is already there."""
    count = CATCH_UP_EVENTS * (5 if batch > 1 else 1)
    async with NatsServer(data) as server:
        connection = await nats.connect(server.url)
        await memfold.ensure_streams(connection, "memfold")
        for start in range(0, count, batch):
            events = [_event(number) for number in range(start, start + batch)]
            payload = orjson.dumps(events if batch > 1 else events[0])
            subject = f"memfold.publish.u{start % 7}.t1.messages.bench"
            if start + batch < count and start % 1000:
                await connection.publish(subject, payload)
            else:
                # Waits for the server now and then, and at the end for all.
                await connection.jetstream().publish(subject, payload)
        last = (await connection.jetstream().stream_info("memfold")).state.last_seq
        process = await _started(ENGINE, server.url, str(data / "engine"))
        began = time.perf_counter()
        reply = await connection.request("memfold.query.status._", b"{}", timeout=30)
        behind = last - int(orjson.loads(reply.data)["checkpoint"])
        request = {"thread": "t1", "min_sequence": last, "wait_ms": 30_000, "last": 1}
        await connection.request("memfold.query.snapshot.u1", orjson.dumps(request), timeout=40)
        rate = behind * batch / (time.perf_counter() - began)
        await _ended(process)
        await connection.close()
    name = f"catch-up, batches of {batch}" if batch > 1 else "catch-up, single events"
    target = 20_000 if batch > 1 else 8_000
    detail = f"{behind * batch:,} events from the stream"
    return [Figure(name, rate, "events/s", target, "higher", detail)]


def fold_and_insert(data: Path) -> Figure:
    """Measure folding in process against inserting the same messages into one bare table."""
    count = CATCH_UP_EVENTS // 2
    log = [
        Recorded(
            n + 1,
            n,
            "memfold.events.1.u1.t1.messages.bench",
            orjson.dumps([_event(n * BATCH + k) for k in range(BATCH)]),
        )
        for n in range(count // BATCH)
    ]
    store = Store(data, "memfold")
    began = time.perf_counter()
    for start in range(0, len(log), 20):
        store.fold(log[start : start + 20])
    ours = time.perf_counter() - began
    store.close()
    connection = duckdb.connect(str(data / "bare.duckdb"))
    connection.execute("CREATE TABLE message (thread INTEGER, id TEXT, content TEXT)")
    began = time.perf_counter()
    for start in range(0, count, 2000):
        numbers = list(range(start, start + 2000))
        connection.execute(BARE_INSERT, [[1] * 2000, [f"m{n}" for n in numbers], [TEXT] * 2000])
    bare = time.perf_counter() - began
    connection.close()
    detail = f"{count / ours:,.0f} against {count / bare:,.0f} rows/s; log, digests, provenance"
    return Figure("fold / bare DuckDB insert", ours / bare, "x", 20, "lower", detail)


def rebuild(data: Path) -> list[Figure]:
    """Measure folding a generation anew from the event table, and the comparison."""
    gc.set_threshold(100_000, 50, 50)  # As an engine has it.
    count = CATCH_UP_EVENTS * 5
    store = Store(data, "memfold")
    for start in range(0, count, 2000):
        store.fold(
            [
                Recorded(
                    n + 1,
                    n,
                    f"memfold.events.1.u{n % 97}.t{n % 11}.messages.bench",
                    orjson.dumps(_event(n)),
                )
                for n in range(start, start + 2000)
            ]
        )
    store.tidy()
    with store.beside() as beside:
        began = time.perf_counter()
        beside.fold_log()
        rate = count / (time.perf_counter() - began)
        began = time.perf_counter()
        with frozen(store.generation) as live, frozen(beside.generation) as fresh:
            assert differences(live, fresh, lambda _: None) == []
        compared = count / (time.perf_counter() - began)
        began = time.perf_counter()
        store.adopt(beside)
        pause_ms = (time.perf_counter() - began) * 1e3
    store.close()
    detail = f"{count:,} single events; compared with the live one at {compared:,.0f} events/s"
    return [
        Figure("rebuild from the event table", rate, "events/s", 20_000, "higher", detail),
        Figure(
            "live fold paused for the swap", pause_ms, "ms", 100, "lower", "nothing left to fold"
        ),
    ]


def _event(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"0192f6c0-0000-7000-8000-{number:012d}",
        "type": "MessageAppended",
        "source": "bench",
        "time": "2026-11-21T10:00:00Z",
        "dataversion": 1,
        "salt": "AAAAAAAAAAAAAAAAAAAAAA==",
        "data": {"message": {"id": f"m{number}", "role": "user", "content": TEXT}},
    }


async def sampled(work: Callable[[], Awaitable[None]], rounds: int) -> float:
    """Return the median seconds of one call."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        await work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def paired(
    first: Callable[[], Awaitable[None]], second: Callable[[], Awaitable[None]], rounds: int
) -> tuple[float, float]:
    """Return both medians, measured in turn after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + WARM_UP_ROUNDS):
        for work, kept in ((first, times[0]), (second, times[1])):
            began = time.perf_counter()
            await work()
            if round_ >= WARM_UP_ROUNDS:
                kept.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def _ratio(name: str, pair: tuple[float, float], target: float) -> Figure:
    ours, bare = pair
    detail = f"{ours * 1e3:.2f} against {bare * 1e3:.2f} ms, p50"
    return Figure(name, ours / bare, "x", target, "lower", detail)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
