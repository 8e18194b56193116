"""Old wire forms reach today's models through a chain of upcasters."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from memfold.errors import InvalidEvent
from memfold.events import MessageAppended
from memfold.upcast import Upcaster, upcast
from memfold.wire import Event, Recorded, Unreadable, read_message
from support.log import envelope, stored


def wrap_text(data: dict[str, Any]) -> dict[str, Any]:
    """Bring version 1, {"text": ...}, to version 2, {"body": {...}}."""
    return {"body": {"content": data["text"]}}


def name_role(data: dict[str, Any]) -> dict[str, Any]:
    """Bring version 2 to version 3, which names the role."""
    return {"body": {**data["body"], "role": "user"}}


CHAIN: dict[tuple[str, int], Upcaster] = {("Said", 1): wrap_text, ("Said", 2): name_role}


def test_a_chain_brings_each_version_to_the_current_one() -> None:
    current = {"body": {"content": "hi", "role": "user"}}
    assert upcast("Said", 1, {"text": "hi"}, current=3, upcasters=CHAIN) == current
    assert upcast("Said", 2, {"body": {"content": "hi"}}, current=3, upcasters=CHAIN) == current
    assert upcast("Said", 3, current, current=3, upcasters=CHAIN) is current


@pytest.mark.parametrize(("type_", "version"), [("Said", 0), ("Said", 4), ("Other", 1)])
def test_a_version_without_a_way_to_the_current_one_is_unknown(type_: str, version: int) -> None:
    with pytest.raises(InvalidEvent) as caught:
        upcast(type_, version, {"text": "hi"}, current=3, upcasters=CHAIN)
    assert caught.value.reason == "unknown_version"


def test_data_that_an_upcaster_cannot_take_is_invalid_and_stops_nothing() -> None:
    with pytest.raises(InvalidEvent) as caught:
        upcast("Said", 1, {"S3CRET": 1}, current=3, upcasters=CHAIN)
    assert caught.value.reason == "invalid_data"
    assert "S3CRET" not in str(caught.value)


def old_message(upcasters: dict[tuple[str, int], Upcaster]) -> Event | Unreadable:
    """Read a message whose data has the made-up version 0 of MessageAppended."""
    # The envelope starts at version 1, so the class stands one version above what it is.
    event = envelope("MessageAppended", {"id": "m1", "role": "user", "content": "hi"})
    recorded = Recorded(1, 0, stored("messages", thread="t1"), orjson.dumps(event))
    (read,) = read_message("memfold", recorded, time_us=1, upcasters=upcasters)
    return read


def test_reading_upcasts_before_the_model_sees_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest stays that of the bytes in the log, whichever code reads them."""
    from memfold import wire  # patched below

    _, facet, validator = wire._READERS["MessageAppended"]
    monkeypatch.setitem(wire._READERS, "MessageAppended", (2, facet, validator))
    without = old_message({})
    assert isinstance(without, Unreadable)
    assert without.reason == "unknown_version"

    def mutate(data: dict[str, Any]) -> dict[str, Any]:
        """Even a step that changes its input in place leaves the digest alone."""
        data["message"] = {key: data.pop(key) for key in ("id", "role", "content")}
        return data

    read = old_message({("MessageAppended", 1): mutate})
    assert isinstance(read, Event)
    assert isinstance(read.data, MessageAppended)
    assert read.data.message.content == "hi"
    again = old_message(
        {("MessageAppended", 1): lambda data: {"message": {**data, "content": "other"}}}
    )
    assert isinstance(again, Event)
    assert again.digest == read.digest
