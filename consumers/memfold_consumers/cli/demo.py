"""``memfold demo``: agents in processes of their own write one memory at once; nothing is lost.

Owns the order of the parts and the proof; a directory that it made is gone in the end.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memfold.building import new_id
from memfold_consumers.cli.access import log_to_stderr
from memfold_consumers.cli.demo_proof import Check, check_log, check_outcomes, refold
from memfold_consumers.cli.errors import FAILURE, OK, UsageError
from memfold_consumers.cli.options import Options
from memfold_consumers.cli.output import Printer, pretty, write_json
from memfold_consumers.cli.sample import CLERKS, HOST, THREAD, expected_memory
from memfold_consumers.local_engine import ensure_engine, local
from memfold_consumers.ownership import engine_running, prepare_directory

if TYPE_CHECKING:
    from memfold import Memory

ACTOR: Final = "narrator"
RESOURCE: Final = "user_nora"
LINGER_S: Final = 0.2
AGENTS_S: Final = 60.0
ENGINE_END_S: Final = 30.0
PAUSE_S: Final = 1.5
POLL_S: Final = 0.05
SHOWN_PATH: Final = ("travel", "seat")

Receipt = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where the demonstration takes place, and how it is told."""

    directory: Path
    namespace: str
    resource: str
    out: Printer
    pause_s: float

    async def part(self, title: str) -> None:
        """Begin a part, after a pause in which the last one can be read."""
        await asyncio.sleep(self.pause_s)
        self.out.line()
        self.out.heading(title)


async def demo(options: Options, *, fast: bool) -> int:
    """Play the demonstration; the proof's failure is the command's."""
    log_to_stderr()
    if options.nats is not None:
        message = "the demonstration starts a server of its own: leave --nats out"
        raise UsageError(message)
    with _directory(options.data) as directory:
        stage = _Stage(
            directory=directory,
            namespace=options.memory,
            resource=RESOURCE if options.data is None else f"{RESOURCE}_{new_id()[-6:]}",
            out=Printer(stderr=options.json),
            pause_s=0.0 if fast or options.json or not sys.stdout.isatty() else PAUSE_S,
        )
        try:
            checks = await _play(stage)
        finally:
            ended = await _engine_ended(directory)
        checks += await _again(stage, ended=ended)
    proved = all(check.holds for check in checks)
    if options.json:
        write_json({"proved": proved, "checks": [check.to_json() for check in checks]})
    return OK if proved else FAILURE


@contextmanager
def _directory(given: Path | None) -> Generator[Path]:
    """Yield the directory that was asked for, or one that is deleted in the end."""
    if given is not None:
        yield prepare_directory(given)
        return
    made = Path(tempfile.mkdtemp(prefix="memfold-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


async def _play(stage: _Stage) -> list[Check]:
    stage.out.heading("1. A NATS server and an engine, on this machine")
    async with local(
        stage.directory, actor=ACTOR, namespace=stage.namespace, linger_s=LINGER_S
    ) as memory:
        info = await ensure_engine(stage.directory, namespace=stage.namespace)
        stage.out.line(f"{info.url}, everything under {stage.directory}")
        names = [HOST, *(clerk.name for clerk in CLERKS)]
        await stage.part(f"2. {len(names)} agents, {len(names)} processes, one memory, all at once")
        receipts = await _run_agents(stage, info.url, names)
        await stage.part("3. The snapshot")
        found = await _show_snapshot(stage, memory, receipts)
        await stage.part(f"4. The history of {'.'.join(SHOWN_PATH)}: who, when, why")
        await _show_history(stage, memory)
        await stage.part("5. The proof that nothing was lost")
        checks = [
            await check_outcomes(memory, stage.resource, receipts),
            await check_log(memory, stage.resource, receipts),
            Check(
                "the memory holds every key of every agent",
                found == expected_memory(),
                f"{sum(len(facts) for facts in found.values())} keys",
            ),
        ]
        _print_checks(stage.out, checks)
        return checks


async def _run_agents(stage: _Stage, url: str, names: Sequence[str]) -> list[Receipt]:
    """Start the agents, let them begin together, and collect their receipts."""
    async with asyncio.timeout(AGENTS_S), _processes(stage, url, names) as agents:
        for agent in agents:
            assert agent.stdout is not None
            await agent.stdout.readline()
        for agent in agents:
            assert agent.stdin is not None
            agent.stdin.write(b"go\n")
        told = await asyncio.gather(*(agent.communicate() for agent in agents))
    receipts = [[json.loads(line) for line in out.splitlines()] for out, _ in told]
    rows = [
        (name, agent.pid, len(mine), mine[0]["sequence"], mine[-1]["sequence"])
        for name, agent, mine in zip(names, agents, receipts, strict=True)
        if mine
    ]
    stage.out.table(("agent", "#process", "#acknowledged", "#from sequence", "#to"), rows)
    return [receipt for mine in receipts for receipt in mine]


@asynccontextmanager
async def _processes(
    stage: _Stage, url: str, names: Sequence[str]
) -> AsyncGenerator[list[Process]]:
    command = [sys.executable, "-P", "-m", "memfold_consumers.cli.demo_agent"]
    agents: list[Process] = []
    try:
        for name in names:
            arguments = [*command, url, stage.namespace, stage.resource, name]
            agents.append(await asyncio.create_subprocess_exec(*arguments, stdin=PIPE, stdout=PIPE))
        yield agents
    finally:
        for agent in agents:
            if agent.returncode is None:
                agent.kill()
                await agent.wait()


async def _show_snapshot(
    stage: _Stage, memory: Memory, receipts: Sequence[Receipt]
) -> dict[str, Any]:
    """Print it in short, and return the whole working memory."""
    handle = memory.resource(stage.resource)
    last = max((receipt["sequence"] for receipt in receipts), default=0)
    await _folded(memory, last)
    snapshot = await handle.thread(THREAD).snapshot(last=4)
    state = snapshot.working_memory
    content = state.content if state is not None and isinstance(state.content, dict) else {}
    stage.out.line(f"working memory of {stage.resource} at sequence {snapshot.sequence}:")
    clerks = {clerk.name for clerk in CLERKS}
    short = {
        topic: f"... {len(facts)} notes ..." if topic in clerks else facts
        for topic, facts in content.items()
    }
    stage.out.block(pretty(short))
    stage.out.line(f"the last {len(snapshot.messages)} messages of {THREAD}:")
    for message in snapshot.messages:
        stage.out.line(f"  {message.role}: {message.content}")
    return content


async def _show_history(stage: _Stage, memory: Memory) -> None:
    resource = memory.resource(stage.resource)
    texts = {(message.thread, message.id): message.content for message in await resource.messages()}
    topic, key = SHOWN_PATH
    rows: list[tuple[object, ...]] = []
    for change in await resource.history():
        content = change.data.get("content", {})
        if key not in content.get(topic, {}):
            continue
        named = [(each["thread"], each["message"]) for each in change.data["evidence"]]
        said = "; ".join(str(texts.get(name)) for name in named)
        time = change.time.strftime("%H:%M:%S.%f")[:-3]
        value = content[topic][key]
        rows.append((change.sequence, time, change.actor, value, change.data["reason"], said))
    columns = ("#sequence", "time", "who", "value", "why", "because of the message")
    stage.out.table(columns, rows)


async def _again(stage: _Stage, *, ended: bool) -> list[Check]:
    """Fold the log once more from nothing; only possible once the engine has let go of it."""
    if ended:
        checks = [await asyncio.to_thread(refold, stage.directory, stage.namespace)]
        _print_checks(stage.out, checks)
        return checks
    stage.out.line("(the directory's engine is used by others: it is not folded again here)")
    return []


async def _folded(memory: Memory, sequence: int) -> None:
    async with asyncio.timeout(AGENTS_S):
        while (await memory.status())["sequence"] < sequence:  # noqa: ASYNC110 - another process's.
            await asyncio.sleep(POLL_S)


async def _engine_ended(directory: Path) -> bool:
    """Wait for the engine to end after its last user; False if others use it."""
    give_up_at = asyncio.get_running_loop().time() + ENGINE_END_S
    while engine_running(directory):
        if asyncio.get_running_loop().time() > give_up_at:
            return False
        await asyncio.sleep(POLL_S)
    return True


def _print_checks(out: Printer, checks: Sequence[Check]) -> None:
    for check in checks:
        mark, style = ("yes", "green") if check.holds else ("NO", "red")
        out.line(f"  {mark:>3}  {check.claim}: {check.found}", style)
