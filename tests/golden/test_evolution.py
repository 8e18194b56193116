"""The worked example of docs/audit/schema-evolution.md: a field renamed, then one split in two."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
import pytest
from pydantic import TypeAdapter

from memfold import wire
from memfold.events import Data, ThreadCreated
from memfold.upcast import Upcaster
from memfold.wire import Event, Recorded, read_message
from support.log import envelope, stored


def rename_title(data: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had ``title``, version 2 has ``subject``."""
    return {("subject" if name == "title" else name): value for name, value in data.items()}


def split_subject(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 had ``subject``, as in "billing: a refund"; version 3 has ``category``, too."""
    category, colon, subject = data.get("subject", "").partition(": ")
    if not colon:
        category, subject = "", category
    return {**data, "category": category, "subject": subject}


UPCASTERS: dict[tuple[str, int], Upcaster] = {
    ("ThreadCreated", 1): rename_title,
    ("ThreadCreated", 2): split_subject,
}


class ThreadCreatedThree(ThreadCreated):
    """The shape of version 3; the fields of version 1 are gone from it."""

    version: ClassVar[int] = 3

    title: str = ""
    category: str = ""
    subject: str = ""


@pytest.fixture(autouse=True)
def _third_version(monkeypatch: pytest.MonkeyPatch) -> None:
    validator = TypeAdapter[Data](ThreadCreatedThree).validator
    monkeypatch.setitem(wire._READERS, "ThreadCreated", (3, "thread", validator))


def read(version: int, data: dict[str, Any], **more: str) -> Event:
    event = envelope("ThreadCreated", data, dataversion=version, **more)
    recorded = Recorded(1, 0, stored("thread", thread="t1"), orjson.dumps(event))
    [found] = read_message("memfold", recorded, time_us=1, upcasters=UPCASTERS)
    assert isinstance(found, Event), found
    return found


@pytest.mark.parametrize(
    ("version", "data"),
    [
        (1, {"title": "billing: a refund", "metadata": {"a": 1}}),
        (2, {"subject": "billing: a refund", "metadata": {"a": 1}}),
        (3, {"category": "billing", "subject": "a refund", "metadata": {"a": 1}}),
    ],
)
def test_every_version_reads_as_the_newest(version: int, data: dict[str, Any]) -> None:
    found = read(version, data).data
    assert isinstance(found, ThreadCreatedThree)
    assert (found.category, found.subject, found.metadata) == ("billing", "a refund", {"a": 1})


def test_what_was_optional_before_stays_so() -> None:
    for version in (1, 2, 3):
        found = read(version, {}).data
        assert isinstance(found, ThreadCreatedThree)
        assert (found.category, found.subject) == ("", "")


def test_an_event_keeps_its_identity_whatever_reads_it() -> None:
    """So one that is published again is the same event after an upgrade as before."""
    upcast = read(1, {"title": "billing: a refund"})
    assert read(1, {"title": "billing: a refund"}, salt="another").digest == upcast.digest
    newest = read(3, {"category": "billing", "subject": "a refund"})
    assert newest.digest != upcast.digest
