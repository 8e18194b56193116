"""``memfold parked``: lists, shows, gives up and folds again what could not be understood."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from memfold.canonical import is_array
from memfold.errors import InvalidEvent, MemfoldError, NotFound
from memfold.gate import parse
from memfold.recorded import Asked, RecordedMessage, read_recorded_messages
from memfold_consumers.cli.access import Access, engine
from memfold_consumers.cli.errors import OK, REFUSED, UsageError
from memfold_consumers.cli.jobs import run_job
from memfold_consumers.cli.output import Printer, write_json
from memfold_consumers.cli.reading import ACTOR, check, check_known, read_all

if TYPE_CHECKING:
    from memfold_consumers.cli.options import Options

Answer = dict[str, Any]

_POSITION: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,3}))?")
_FIELDS: Final = ("sequence", "index", "time", "resource", "thread", "reason", "detail")


async def listed(options: Options, resource: str | None, *, everything: bool) -> int:
    """Print the events that could not be understood, with their reasons."""
    check(resource, None)
    async with engine(options, actor=ACTOR) as access:
        asked = {"everything": everything}
        found, sequence, _ = await read_all(access, "parked", resource, asked)
        if not found and resource is not None:
            await check_known(access, resource, None, sequence)
    if options.json:
        write_json({"parked": found, "sequence": sequence})
    elif not found:
        Printer(stderr=True).line("nothing is parked")
    else:
        columns = ["#sequence", "#index", *_FIELDS[2:], *(["discarded"] if everything else [])]
        rows = [[each[name] for name in _FIELDS] for each in found]
        if everything:
            rows = [[*row, _told(each["discarded"])] for row, each in zip(rows, found, strict=True)]
        Printer().table(columns, rows)
    return OK


async def show(options: Options, position: str) -> int:
    """Print what was published, safe for a terminal."""
    place = _position(position)
    async with engine(options, actor=ACTOR) as access:
        parked, _ = await _find(access, place)
        message = await _message(access, place[0])
    payload = message.payload
    try:
        text: str | None = payload.decode()
    except UnicodeDecodeError:
        text = None
    if options.json:
        write_json(
            {
                "parked": parked,
                "subject": message.subject,
                "msg_id": message.msg_id,
                "payload": base64.b64encode(payload).decode(),
                "text": text,
            }
        )
        return OK
    out = Printer()
    rows: Answer = {**parked, "discarded": _told(parked["discarded"])}
    for name, value in {**rows, "subject": message.subject, "bytes": len(payload)}.items():
        out.line(f"{name}\t{'' if value is None else value}")
    out.line()
    out.block(_part(payload, place[1]) if text is not None else _escaped(payload))
    return OK


async def discard(options: Options, position: str, reason: str) -> int:
    """Publish that a parked event is given up, and print what became of that."""
    place = _position(position)
    if not reason.strip():
        problem = "--reason says why: it is kept in the log"
        raise UsageError(problem)
    async with engine(options, actor=ACTOR) as access:
        parked, fold_version = await _find(access, place)
        address = access.client.address(parked["resource"], parked["thread"], "erasure")
        data = {
            "sequence": place[0],
            "index": place[1],
            "fold_version": fold_version,
            "reason": reason,
        }
        receipt = await access.client.write(address, [("ParkedDiscarded", data)])
        [outcome] = await receipt.outcomes()
    told = {
        "sequence": place[0],
        "index": place[1],
        "outcome": outcome.kind,
        "recorded": receipt.sequence,
    }
    if options.json:
        write_json(told)
    else:
        Printer().line(f"{place[0]}.{place[1]} {outcome.kind}, recorded at {receipt.sequence}")
    return OK if outcome.kind in {"applied", "unchanged"} else REFUSED


async def redrive(options: Options) -> int:
    """Have the engine fold again, if that changes anything, and print what became of each."""
    async with engine(options, actor=ACTOR) as access:
        found, *_ = await read_all(access, "parked", None, {"check": True})
        ready = [each for each in found if each["readable"]]
        told: list[Answer] = []
        if ready:
            Printer(stderr=True).line(
                f"{len(ready)} of {len(found)} parked events can be read by now: folding again"
            )
            await run_job(access, "rebuild")
            told = [await _outcome(access, each) for each in ready]
    if options.json:
        write_json({"redriven": told})
    elif not told:
        Printer(stderr=True).line(f"none of {len(found)} parked events can be read by this engine")
    else:
        names = ("sequence", "index", "outcome", "reason")
        rows = [[each[name] for name in names] for each in told]
        Printer().table(("#sequence", "#index", "outcome", "reason"), rows)
    return OK


async def _outcome(access: Access, parked: Answer) -> Answer:
    sequence, index = parked["sequence"], parked["index"]
    answer = await access.ask("outcome", None, {"positions": [[sequence, index + 1]]})
    outcome = answer["outcomes"][0][index]
    return {
        "sequence": sequence,
        "index": index,
        "outcome": outcome["kind"],
        "reason": outcome["reason"] or None,
    }


async def _find(access: Access, place: tuple[int, int]) -> tuple[Answer, int]:
    """Return a parked event, discarded or not, and the fold version it is parked by."""
    minimum = await access.last_sequence()
    asked = {"after": [place[0], place[1] - 1], "limit": 1, "everything": True}
    answer = await access.ask("parked", None, asked, min_sequence=minimum)
    for each in answer["parked"]:
        if (each["sequence"], each["index"]) == place:
            return each, int(answer["fold_version"])
    message = f"nothing is parked at {place[0]}.{place[1]}"
    raise NotFound(message)


async def _message(access: Access, sequence: int) -> RecordedMessage:
    asked = Asked(None, after=sequence - 1, upto=sequence, whole_log=True, min_sequence=sequence)
    async for message in read_recorded_messages(access.client.queries, asked):
        return message
    problem = f"the log has no message {sequence} any more"
    raise MemfoldError(problem)


def _position(given: str) -> tuple[int, int]:
    match = _POSITION.fullmatch(given)
    if match is None:
        problem = f"a position is SEQUENCE or SEQUENCE.INDEX, not {given!r}"
        raise UsageError(problem)
    return int(match[1]), int(match[2] or 0)


def _part(payload: bytes, index: int) -> str:
    """Return one event of a batch that can be taken apart, else all of the message."""
    try:
        parsed = parse(payload)
    except InvalidEvent:
        return payload.decode()
    if is_array(parsed) and index < len(parsed):
        parsed = parsed[index]
    return orjson.dumps(parsed, option=orjson.OPT_INDENT_2).decode()


def _escaped(payload: bytes) -> str:
    """Return bytes that are no text: ASCII as it is, the others as hexadecimal escapes."""
    return payload.decode("ascii", "backslashreplace")


def _told(discarded: Answer | None) -> str | None:
    if discarded is None:
        return None
    return f"{discarded['time']} by {discarded['actor']}: {discarded['reason']}"
