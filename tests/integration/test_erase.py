"""Erasing: gone from every file, neighbours untouched, the same for an engine that comes later."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

import memfold
from memfold import Memory, Message
from memfold.building import build
from memfold.erasing import Eraser
from memfold.errors import EngineUnavailable, NotYetConsistent, Rejected
from memfold.jetstream import api, erase_message, read_recorded
from memfold.limits import FOLD_VERSION
from memfold.subjects import Address
from memfold_consumers.erasing import Erasing
from memfold_consumers.settings import EngineSettings
from memfold_projections.content import content_digests
from memfold_projections.store import Store
from support.broker import Broker, running_broker
from support.bytes_left import columns_with, files_with
from support.engine import running_engine
from support.verifying import places, verify

pytestmark = pytest.mark.integration

SECRET = "xylophone-4711-confidential"
NEAR = "neighbour-0815-stays"


@asynccontextmanager
async def engine(broker: Broker, data: Path) -> AsyncGenerator[Memory]:
    settings = EngineSettings(data=data, head_s=0.1)
    async with (
        running_engine(broker.url, data, settings=settings),
        memfold.connect(broker.url, actor="bot") as memory,
    ):
        yield memory


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    (tmp_path / "broker").mkdir()
    async with running_broker(tmp_path / "broker") as running:
        yield running


async def write_all(memory: Memory) -> None:
    """Write the secret and its neighbours, in batches and alone, in every kind of event."""
    alice, bob = memory.resource("alice"), memory.resource("bob")
    thread = alice.thread("t1")
    await thread.append(
        [
            Message(id="m0", role="user", content=f"{NEAR} before"),
            Message(id="m1", role="user", content=f"said {SECRET}"),
            Message(id="m2", role="user", content=f"{NEAR} after", metadata={"n": 1}),
        ]
    )
    await thread.update_message("m1", metadata={"note": SECRET})
    await alice.thread("t2").append(Message(id="m1", role="user", content=f"{NEAR} elsewhere"))
    await alice.working_memory.merge({"city": NEAR})
    await bob.working_memory.merge({"city": NEAR})
    await (await bob.thread("t1").append(Message(id="m1", role="user", content=NEAR))).applied()


def fresh_engine_is_the_same(old: Path, new: Path) -> None:
    """Hold the files of two engines against each other: content, log, leaves."""
    stores = [Store(directory, "memfold") for directory in (old, new)]
    try:
        one, other = stores
        upto = min(one.sequence, other.sequence)
        assert upto == max(one.sequence, other.sequence)
        assert content_digests(one.generation) == content_digests(other.generation)
        logs = [[m for page in store.log.read(0) for m in page] for store in stores]
        assert logs[0] == logs[1]
        assert one.log.tail(10_000) == other.log.tail(10_000)
    finally:
        for store in stores:
            store.close()


async def settled(memory: Memory, engines: int) -> None:
    """Wait until every erasure was completed by so many engines, and all are at the end."""
    at: dict[str, int] = {}
    async with asyncio.timeout(60):
        while True:
            status = await memory.status()
            at[status["engine"]] = status["checkpoint"]
            last = status["stream"]["last_sequence"]
            told = [len(each["completed"]) for each in await memory.erasures()]
            if min(told, default=0) >= engines and list(at.values()) == [last] * engines:
                return
            await asyncio.sleep(0.02)


async def test_a_message_goes_and_its_neighbours_in_the_batch_stay_as_they_were(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        await write_all(memory)
        thread = memory.resource("alice").thread("t1")
        before = [message for message in await thread.messages() if message.id != "m1"]
        history = [change for change in await thread.history() if SECRET not in str(change.data)]
        report = await thread.erase("m1", reason="asked for")
        assert (report.messages, report.events, report.restated) == (2, 2, 2)
        assert await thread.messages() == before
        changes = [change for change in await thread.history() if change.outcome == "applied"]
        assert [c for c in changes if c.type == "MessageAppended"] == history
        elsewhere = await memory.resource("alice").thread("t2").messages()
        assert [message.content for message in elsewhere] == [f"{NEAR} elsewhere"]
        async with engine(broker, tmp_path / "two") as again:
            await settled(again, 2)
            assert await again.resource("alice").thread("t1").messages() == before
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []
    assert files_with(tmp_path / "broker", NEAR) != []
    fresh_engine_is_the_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("target", ["thread", "resource"])
async def test_a_thread_or_a_resource_goes_with_all_that_it_had(
    broker: Broker, tmp_path: Path, target: str
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        await write_all(memory)
        alice, bob = memory.resource("alice"), memory.resource("bob")
        thread = alice.thread("t1")
        await thread.create(title=SECRET)
        await thread.working_memory.replace(f"- {SECRET}")
        bad = "memfold.publish.alice.t1.messages.bot"
        await memory._client.connection.client.publish(bad, f"no json {SECRET}".encode())
        others = [await bob.working_memory.get(), await bob.thread("t1").messages()]
        if target == "thread":
            await thread.erase()
            assert [each.id for each in await alice.threads()] == ["t2"]
            memory_left = await alice.working_memory.get()
            assert memory_left is not None
            assert memory_left.content == {"city": NEAR}
        else:
            await alice.working_memory.merge({"more": SECRET})
            await alice.update(metadata={"name": SECRET})
            await alice.erase()
            assert await alice.get() is None
            assert await alice.threads() == []
            assert await alice.working_memory.get() is None
        assert await thread.messages() == []
        assert await thread.working_memory.get() is None
        assert await memory.parked("alice") == []
        left = [await bob.working_memory.get(), await bob.thread("t1").messages()]
        assert [str(each).split("sequence")[0] for each in left] == [
            str(each).split("sequence")[0] for each in others
        ]
        async with engine(broker, tmp_path / "two") as again:
            await settled(again, 2)
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []
    fresh_engine_is_the_same(tmp_path / "one", tmp_path / "two")


async def test_one_event_of_a_memory_goes_and_the_memory_is_what_the_others_make_of_it(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        alice = memory.resource("alice")
        await alice.working_memory.merge({"city": NEAR})
        told = await alice.working_memory.merge({"city": SECRET, "pet": "cat"})
        await alice.working_memory.merge({"name": "Alice"})
        report = await memory.erase_event((told.sequence, told.index))
        assert (report.resource, report.thread, report.target) == ("alice", None, "event")
        state = await alice.working_memory.get()
        assert state is not None
        assert state.content == {"city": NEAR, "name": "Alice"}
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []


async def test_what_survived_one_erasure_can_be_erased_by_a_later_one(
    broker: Broker, tmp_path: Path
) -> None:
    """Said again, it lives under another sequence; its own position still names it."""
    async with engine(broker, tmp_path / "one") as memory:
        thread = memory.resource("alice").thread("t")
        receipt = await thread.append(
            [
                Message(id="a", role="user", content=f"{SECRET} one"),
                Message(id="b", role="user", content=f"{SECRET} two"),
                Message(id="c", role="user", content=f"{SECRET} three"),
                Message(id="d", role="user", content=NEAR),
            ]
        )
        await thread.erase("a")
        await memory.erase_event((receipt.sequence, 1), resource="alice", thread="t")
        await thread.erase("c")
        assert [(m.id, m.position) for m in await thread.messages()] == [
            ("d", (receipt.sequence, 3))
        ]
        async with engine(broker, tmp_path / "two") as again:
            await settled(again, 2)
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []
    fresh_engine_is_the_same(tmp_path / "one", tmp_path / "two")


async def test_an_erasure_is_told_complete_behind_a_page_of_others(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of erasures comes in pages, the oldest first: of one here, as of 1,000 else."""
    async with engine(broker, tmp_path / "one") as memory:
        thread = memory.resource("alice").thread("t1")
        await thread.append(Message(id="m", role="user", content=SECRET))
        address = Address("alice", "t1", "erasure", "bot")
        others = [
            build(address, "Erased", {"target": "message", "message": f"no{number}"})
            for number in range(3)
        ]
        await memory._client.publish(others, alone=True)
        queries = memory._client.queries
        ask = queries.ask

        async def short(operation: str, resource: Any, arguments: Any = None, **named: Any) -> Any:  # noqa: ANN401
            if operation == "erasures":
                arguments = {**(arguments or {}), "limit": 1}
            return await ask(operation, resource, arguments, **named)

        monkeypatch.setattr(queries, "ask", short)
        report = await thread.erase("m")
        assert report.events == 1
        assert list(report.engines) == [(await memory.status())["engine"]]
        assert len(await memory.erasures()) == len(others) + 1
    assert files_with(tmp_path, SECRET) == []


async def test_what_comes_later_begins_anew_and_a_late_write_does_not(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        late = memory.resource("alice").thread("t")
        await late.append(Message(role="user", content=SECRET))
        await late.get()
        for erase in (memory.resource("alice").thread("t").erase, memory.resource("alice").erase):
            await erase()
            with pytest.raises(Rejected) as refused:
                await (await late.append(Message(role="user", content="late"))).applied()
            assert refused.value.reason == "incarnation_ended"
            anew = memory.resource("alice").thread("t")
            await anew.append(Message(role="user", content="anew"))
            assert [message.content for message in await anew.messages()] == ["anew"]
            with pytest.raises(Rejected):
                await (await late.append(Message(role="user", content="late"))).applied()
            await late.get()


async def test_an_engine_that_was_away_fills_the_holes_and_erases_its_own_copies(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "two") as memory:
        await write_all(memory)
    async with engine(broker, tmp_path / "one") as memory:
        alice = memory.resource("alice")
        await alice.thread("t1").append(Message(id="m9", role="user", content=SECRET))
        await alice.thread("t1").erase("m1")
        await alice.thread("t1").erase("m9")
        async with engine(broker, tmp_path / "two") as again:
            await settled(again, 2)
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []
    fresh_engine_is_the_same(tmp_path / "one", tmp_path / "two")


async def test_a_hole_that_no_record_explains_stops_an_engine(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        await write_all(memory)
        await memory.resource("alice").thread("t2").erase()
        body = {"seq": 6, "no_erase": False}
        await api(memory._client.connection, "STREAM.MSG.DELETE.memfold", body)
    async with engine(broker, tmp_path / "two") as again:
        status = await again.status()
        assert status["halted"]["code"] == "log_diverged"
        assert "no message 6" in status["halted"]["message"]


async def test_a_dry_run_says_what_there_is_and_changes_nothing(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        await write_all(memory)
        before = (await memory.status())["stream"]
        report = await memory.resource("alice").erase(dry_run=True)
        assert (report.messages, report.events, report.restated) == (4, 6, 0)
        assert report.sequences == ((1, 4),)
        assert (await memory.status())["stream"] == before
        nothing = await memory.resource("nobody").erase(dry_run=True)
        assert (nothing.messages, nothing.events) == (0, 0)
        assert await memory.erasures() == []


async def test_verify_names_an_erasure_that_was_cut_off_until_it_is_run_again(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine drops its copies at the record; only the client knows what else is to go."""

    async def died(*_: object) -> None:
        raise ConnectionError

    async with engine(broker, tmp_path / "one") as memory:
        await write_all(memory)
        thread = memory.resource("alice").thread("t1")
        with monkeypatch.context() as patch:
            patch.setattr(Eraser, "_delete", died)
            with pytest.raises(ConnectionError):
                await thread.erase("m1")
        await settled(memory, 1)
        [erasure] = await memory.erasures()
        report = await verify(memory)
        assert places(report) == {("erasure_unfinished", erasure["sequence"])}
        await thread.erase("m1")
        assert (await verify(memory))["ok"]


@pytest.mark.parametrize("operation", ["STREAM.MSG.DELETE", "STREAM.MSG.GET", "publish"])
async def test_an_erasure_cut_at_any_step_is_completed_by_running_it_again(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The client dies before its n-th request, for each n until one run comes through."""

    class Died(Exception):
        pass

    calls = left = 0

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Died

    async def counted_erase(*arguments: Any) -> bool:  # noqa: ANN401
        if operation == "STREAM.MSG.DELETE":
            step()
        return await erase_message(*arguments)

    async def counted_read(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        if operation == "STREAM.MSG.GET":
            step()
        return await read_recorded(*arguments, **named)

    monkeypatch.setattr("memfold.erasing.erase_message", counted_erase)
    monkeypatch.setattr("memfold.erasure_search.read_recorded", counted_read)
    async with engine(broker, tmp_path / "one") as memory:
        publish = memory._client.publish

        async def counted_publish(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            if operation == "publish":
                step()
            return await publish(*arguments, **named)

        while True:
            left = 10**9
            thread = memory.resource("alice").thread(f"t{calls}")
            batch = [
                Message(id=f"m{n}", role="user", content=SECRET if n == 1 else NEAR)
                for n in range(3)
            ]
            await thread.append(batch)
            await thread.update_message("m1", content=f"{SECRET} again")
            left = calls
            try:
                with monkeypatch.context() as patch:
                    patch.setattr(memory._client, "publish", counted_publish)
                    await thread.erase("m1")
            except Died:
                left = 10**9
                await thread.erase("m1")
            else:
                break
            assert sorted({m.id for m in await thread.messages()}) == ["m0", "m2"]
            calls += 2 if operation == "STREAM.MSG.GET" else 1
        assert calls >= 2
        async with engine(broker, tmp_path / "two") as again:
            await settled(again, 2)
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []
    fresh_engine_is_the_same(tmp_path / "one", tmp_path / "two")


async def test_attachments_go_with_what_alone_refers_to_them(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        alice = memory.resource("alice")

        def file(word: str) -> list[dict[str, Any]]:
            data = base64.b64encode((word * 2000).encode()).decode()
            return [{"type": "file", "data": f"data:text/plain;base64,{data}"}]

        await alice.thread("t1").append(
            [
                Message(id="own", role="user", content=file(SECRET)),
                Message(id="shared", role="user", content=file(NEAR)),
            ]
        )
        await alice.thread("t2").append(Message(id="shared", role="user", content=file(NEAR)))
        report = await alice.thread("t1").erase()
        assert report.chunks == 1
        [kept] = await alice.thread("t2").messages()
        resolved = await alice.resolve(kept)
        assert isinstance(resolved.content, list)
        data = str(resolved.content[0]["data"])
        assert NEAR in base64.b64decode(data.partition(",")[2]).decode()
    assert files_with(tmp_path, SECRET) == []


@pytest.mark.parametrize("step", ["deleting", "asking", "waiting for the engine"])
async def test_attachments_of_an_erasure_that_was_cut_go_when_it_is_run_again(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The messages alone name them, so they must still be there when that is done."""

    class Died(Exception):
        pass

    left = 10**9

    def tick(phase: str) -> None:
        nonlocal left
        if phase == step:
            left -= 1
        if left < 0:
            raise Died

    async def counted(*arguments: Any) -> bool:  # noqa: ANN401
        tick("deleting")
        return await erase_message(*arguments)

    monkeypatch.setattr("memfold.erasing.erase_message", counted)
    async with engine(broker, tmp_path / "one") as memory:
        queries = memory._client.queries
        ask = queries.ask

        async def asked(operation: str, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            tick("asking" if operation == "attachments" else "")
            tick("waiting for the engine" if operation == "status" else "")
            return await ask(operation, *arguments, **named)

        cut = 0
        while True:
            thread = memory.resource("alice").thread(f"t{cut}")
            data = base64.b64encode((f"{cut} {SECRET} " * 2000).encode()).decode()
            part = {"type": "file", "data": f"data:text/plain;base64,{data}"}
            await thread.append(Message(id="m", role="user", content=[part]))
            await thread.update_message("m", metadata={"n": 1})
            left = cut
            with monkeypatch.context() as patch:
                patch.setattr(queries, "ask", asked)
                try:
                    report = await thread.erase("m")
                except Died:
                    left = 10**9
                    await thread.erase("m")
                else:
                    assert report.chunks == 1
                    break
            assert files_with(tmp_path / "broker" / "nats", f"{cut} {SECRET}") == []
            cut += 1
        # How often the engine is asked depends on how long it takes.
        assert cut == 3 if step == "deleting" else cut >= 1
    assert files_with(tmp_path, SECRET) == []


async def test_an_engine_that_has_not_dropped_its_copies_does_not_say_what_is_referred_to(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several any may answer: one that still has what was erased would keep its attachments."""
    may_go = asyncio.Event()
    work = Erasing.work

    async def held(*arguments: Any) -> dict[str, Any]:  # noqa: ANN401
        await may_go.wait()
        return await work(*arguments)

    monkeypatch.setattr(Erasing, "work", held)
    async with engine(broker, tmp_path / "one") as memory:
        thread = memory.resource("alice").thread("t")
        data = base64.b64encode(NEAR.encode() * 2000).decode()
        part = {"type": "file", "data": f"data:text/plain;base64,{data}"}
        await thread.append(Message(id="m", role="user", content=[part]))
        [message] = await thread.messages()
        [sha256] = re.findall("[0-9a-f]{64}", str(message.content))
        asked = ("attachments", "alice", {"hashes": [sha256]})
        queries = memory._client.queries
        assert (await queries.ask(*asked))["referred"] == [sha256]
        erasing = asyncio.create_task(thread.erase("m"))
        async with asyncio.timeout(60):
            while not await memory.erasures():  # noqa: ASYNC110 - it is published.
                await asyncio.sleep(0.01)
        with pytest.raises(NotYetConsistent, match="being erased"):
            await queries.ask(*asked, timeout_s=0.2)
        may_go.set()
        assert (await queries.ask(*asked))["referred"] == []
        assert (await erasing).chunks == 1


async def test_an_event_under_a_token_of_another_form_goes_with_its_resource(
    broker: Broker, tmp_path: Path
) -> None:
    """``%2e`` in lower case was parked; it means the same resource, and holds the same secrets."""
    async with engine(broker, tmp_path / "one") as memory:
        owner = memory.resource("a.b")
        await (await owner.working_memory.merge({"x": SECRET})).applied()
        client = memory._client.connection.client
        event = {"data": SECRET}
        subject = "memfold.publish.a%2eb.t.messages.bot"
        answer = orjson.loads((await client.request(subject, orjson.dumps(event))).data)
        await memory.resource("a.b").working_memory.merge({"y": 1})
        assert [each["sequence"] for each in await memory.parked()] == [answer["seq"]]
        await owner.erase()
        assert await memory.parked() == []
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []


async def publish_odd(memory: Memory, id_: str, message: str) -> int:
    """Publish a message of alice's thread t1 under another form of her token; it is parked."""
    body = {"id": message, "role": "user", "content": SECRET}
    event = {
        "specversion": "1.0",
        "id": id_,
        "type": "MessageAppended",
        "source": "bot",
        "data": {"message": body},
    }
    client = memory._client.connection.client
    subject = "memfold.publish.%61lice.t1.messages.bot"
    answer = orjson.loads((await client.request(subject, orjson.dumps(event))).data)
    return int(answer["seq"])


@pytest.mark.parametrize("target", ["message", "thread", "resource", "event"])
@pytest.mark.parametrize("before", ["nothing", "discarded", "cut off"])
async def test_an_event_under_a_token_of_another_form_is_found_for_every_target(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, before: str
) -> None:
    """Also once it was discarded, and once the engine has dropped its copy and knows of none."""

    async def died(*_: object) -> None:
        raise ConnectionError

    async with engine(broker, tmp_path / "one") as memory:
        await memory.resource("alice").thread("t1").append(Message(role="user", content=NEAR))
        place = await publish_odd(memory, "x1", "m1")
        await (await memory.resource("bob").working_memory.merge({"city": NEAR})).applied()
        [parked] = await memory.parked()
        assert parked["reason"] == "subject_not_canonical"
        if before == "discarded":
            address = Address(None, None, "erasure", "bot")
            told = {"fold_version": FOLD_VERSION, "reason": "bad"}
            data = {"sequence": place, "index": 0, **told}
            discard = build(address, "ParkedDiscarded", data)
            await (await memory._client.publish([discard], alone=True)).applied()
            assert await memory.parked() == []
        eraser = Eraser(
            memory._client,
            "alice",
            None if target == "resource" else "t1",
            target,
            message="m1" if target == "message" else None,
            position=(place, 0) if target == "event" else None,
        )
        if before == "cut off":
            with monkeypatch.context() as patch:
                patch.setattr(Eraser, "_delete", died)
                with pytest.raises(ConnectionError):
                    await eraser.run(reason=None, dry_run=False)
            await settled(memory, 1)
            assert await memory.parked() == []
        report = await eraser.run(reason=None, dry_run=False)
        assert any(first <= place <= last for first, last in report.sequences)
        assert (await verify(memory))["ok"]
    assert files_with(tmp_path, SECRET) == []
    assert columns_with(tmp_path, SECRET) == []


async def test_without_published_leaves_nothing_is_deleted(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could compute the leaf of what is gone."""
    monkeypatch.setattr("memfold.erasing.LEAVES_S", 0.2)
    async with engine(broker, tmp_path / "one") as memory:
        await write_all(memory)

        async def no_block(*_: object) -> None:
            return None

        monkeypatch.setattr("memfold.erasing.read_last", no_block)
        before = (await memory.status())["stream"]["messages"]
        eraser = Eraser(memory._client, "alice", "t1", "thread")
        with pytest.raises(EngineUnavailable, match="nothing was deleted"):
            await eraser.run(reason=None, dry_run=False)
        await settled(memory, 1)
        status = await memory.status()
        # Beside what was there: the record of the erasure, and what the engine has done about it.
        assert status["stream"]["messages"] == before + 2


async def test_the_past_behind_an_erasure_says_that_it_is_redacted(
    broker: Broker, tmp_path: Path
) -> None:
    async with engine(broker, tmp_path / "one") as memory:
        thread = memory.resource("alice").thread("t")
        first = await thread.append(Message(id="a", role="user", content=NEAR))
        second = await thread.append(Message(id="b", role="user", content=SECRET))
        await thread.erase("b")
        past = await thread.snapshot(as_of=second.sequence)
        assert [message.id for message in past.messages] == ["a"]
        assert past.redacted
        assert (await thread.working_memory.read(as_of=first.sequence)).redacted
        now = await thread.snapshot()
        assert not now.redacted
        assert not (await thread.snapshot(as_of=now.sequence)).redacted
        elsewhere = memory.resource("bob").thread("t")
        await elsewhere.append(Message(id="b", role="user", content=NEAR))
        assert not (await elsewhere.snapshot(as_of=second.sequence)).redacted
