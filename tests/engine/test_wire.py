"""Reading a message: each event is readable or parked by itself, and nothing is ever raised."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from memfold.errors import InvalidEvent
from memfold.events import MemoryMerged, MessageAppended
from memfold.limits import EVENT_BYTES_MAX
from memfold.subjects import Address
from memfold.wire import Event, Unreadable, digest, message_digests, read_event
from support.log import envelope, read, stored

MESSAGES = stored("messages", thread="t1")
MEMORY = stored("memory")
BODY = {"message": {"id": "m1", "role": "user", "content": "hi"}}
MERGE = {"scope": "resource", "mode": "merge", "content": {"a": 1}}


def message(**attributes: object) -> dict[str, Any]:
    return envelope("MessageAppended", deepcopy(BODY), **attributes)


def merge(**fields: object) -> dict[str, Any]:
    return envelope("WorkingMemoryUpdated", {**MERGE, **fields})


def reasons(subject: str, payload: object) -> list[str]:
    """Return the reason of each event, empty for a readable one."""
    return [item.reason if isinstance(item, Unreadable) else "" for item in read(subject, payload)]


def event_of_size(size: int) -> dict[str, Any]:
    """Return an event whose canonical bytes without salt are ``size``."""
    event = message()
    event["data"]["message"]["content"] = ""
    event["data"]["message"]["content"] = "x" * (size - len(orjson.dumps(event)))
    return event


def test_an_event_is_read_at_its_position_with_the_address_of_its_subject() -> None:
    (event,) = read(MESSAGES, message(salt="c2FsdA=="), sequence=7)
    assert isinstance(event, Event)
    assert (event.sequence, event.index, event.time_us) == (7, 0, 7_000_000)
    assert event.address == Address("u1", "t1", "messages", "bot")
    assert isinstance(event.data, MessageAppended)
    assert event.data.message.content == "hi"
    assert event.envelope.time == datetime(2026, 11, 21, 10, tzinfo=UTC)


def test_unknown_envelope_attributes_are_ignored_as_cloudevents_asks() -> None:
    assert reasons(MESSAGES, message(traceparent="00-1", datacontenttype="application/json")) == [
        ""
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "Unheard"}, "unknown_type"),
        ({"type": "ThreadCreated"}, "facet_mismatch"),
        ({"type": "WorkingMemoryUpdated"}, "facet_mismatch"),
        ({"dataversion": 2}, "unknown_version"),
        ({"dataversion": 2**64 - 1}, "unknown_version"),
        ({"source": "other"}, "source_mismatch"),
        ({"source": ""}, "source_mismatch"),
        ({"resourceid": "u2"}, "resource_mismatch"),
        ({"threadid": "t2"}, "thread_mismatch"),
        ({"specversion": "0.3"}, "invalid_envelope"),
        ({"specversion": 1.0}, "invalid_envelope"),
        ({"id": ""}, "invalid_envelope"),
        ({"id": "é" * 129}, "invalid_envelope"),
        ({"id": 5}, "invalid_envelope"),
        ({"type": ""}, "invalid_envelope"),
        ({"type": "x" * 65}, "invalid_envelope"),
        ({"source": None}, "invalid_envelope"),
        ({"dataversion": 0}, "invalid_envelope"),
        ({"dataversion": True}, "invalid_envelope"),
        ({"dataversion": 1.0}, "invalid_envelope"),
        ({"incarnation": 0}, "invalid_envelope"),
        ({"salt": "x" * 65}, "invalid_envelope"),
        ({"causationid": ""}, "invalid_envelope"),
        ({"data": None}, "invalid_data"),
        ({"data": []}, "invalid_data"),
        ({"data": "text"}, "invalid_data"),
        ({"data": {}}, "invalid_data"),
        ({"data": {**BODY, "more": 1}}, "invalid_data"),
        ({"data": {"message": {**BODY["message"], "role": "robot"}}}, "invalid_data"),
        ({"data": {"message": {**BODY["message"], "content": 5}}}, "invalid_data"),
        ({"data": {"message": {**BODY["message"], "content": ["text"]}}}, "invalid_data"),
        ({"data": {"message": {**BODY["message"], "id": ""}}}, "invalid_data"),
    ],
)
def test_an_event_that_does_not_fit_is_parked_under_its_reason(
    change: dict[str, object], reason: str
) -> None:
    assert reasons(MESSAGES, {**message(), **change}) == [reason]


@pytest.mark.parametrize("missing", ["specversion", "id", "type", "source", "data"])
def test_what_an_event_cannot_do_without(missing: str) -> None:
    event = message()
    del event[missing]
    expected = "invalid_data" if missing == "data" else "invalid_envelope"
    assert reasons(MESSAGES, event) == [expected]


@pytest.mark.parametrize("payload", [b"1", b"null", b'"text"', b"true", b"[[]]", b"[null]"])
def test_json_that_is_no_event_is_an_invalid_envelope(payload: bytes) -> None:
    assert reasons(MESSAGES, payload) == ["invalid_envelope"]


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-21T10:00:00Z",
        "2026-11-21t10:00:00z",
        "2026-11-21 10:00:00.123456789+00:00",
        "2026-11-21T10:00:00.1-23:59",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        None,
    ],
)
def test_times_are_those_of_rfc_3339(time: str | None) -> None:
    assert reasons(MESSAGES, message(time=time)) == [""]


@pytest.mark.parametrize(
    "time",
    [
        0,
        1795255200,
        1795255200.5,
        "1795255200",
        "2026-11-21",
        "2026-11-21T10:00:00",
        "2026-11-21T10:00Z",
        "2026-11-21T24:00:00Z",
        "2026-02-30T10:00:00Z",
        "2026-11-21T10:00:00+0100",
        "2026-11-21T10:00:00+24:00",
        "2026-W47-6T10:00:00Z",
        "２026-11-21T10:00:00Z",  # noqa: RUF001  # a digit, but not one of JSON's writers
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        True,
        {},
    ],
)
def test_other_times_are_refused(time: object) -> None:
    """Readers disagree on numbers and short forms, and UTC cannot write what lies outside it."""
    assert reasons(MESSAGES, message(time=time)) == ["invalid_envelope"]
    body = {"message": {**BODY["message"], "created_at": time}}
    assert reasons(MESSAGES, envelope("MessageAppended", body)) == ["invalid_data"]


@pytest.mark.parametrize(
    ("subject", "event", "reason"),
    [
        (MEMORY, merge(scope="thread"), "scope_mismatch"),
        (stored("memory", thread="t1"), merge(), "scope_mismatch"),
        (stored("messages"), message(), "scope_mismatch"),
        (stored("thread"), envelope("ThreadDeleted", {}), "scope_mismatch"),
        (
            stored("resource", thread="t1"),
            envelope("ResourceUpdated", {"metadata": {}}),
            "scope_mismatch",
        ),
        (stored("memory", resource=None), merge(), "resource_mismatch"),
        (
            stored("resource", resource=None),
            envelope("ResourceUpdated", {"metadata": {}}),
            "resource_mismatch",
        ),
        (MEMORY, {**merge(), "threadid": "t1"}, "thread_mismatch"),
        (stored("memory", resource=None), {**merge(), "resourceid": "_"}, "resource_mismatch"),
        (MEMORY, merge(scope=None), "invalid_data"),
        (MEMORY, merge(mode="upsert"), "invalid_data"),
        (MEMORY, merge(content="text"), "invalid_data"),
        (MEMORY, merge(content=[1]), "invalid_data"),
        (MEMORY, merge(mode="append"), "invalid_data"),
        (MEMORY, merge(mode="edit", content={"search": "", "replacement": "x"}), "invalid_data"),
        (MEMORY, merge(evidence=[{"thread": "t1"}]), "invalid_data"),
        (
            MEMORY,
            envelope(
                "WorkingMemoryDefined", {"scope": "resource", "template": "x", "json_schema": {}}
            ),
            "invalid_data",
        ),
    ],
)
def test_the_subject_is_the_authority_on_scope(
    subject: str, event: dict[str, Any], reason: str
) -> None:
    assert reasons(subject, event) == [reason]


def test_a_definition_may_be_published_for_the_whole_namespace() -> None:
    event = envelope("WorkingMemoryDefined", {"scope": "resource", "template": "# Name"})
    assert reasons(stored("memory", resource=None), event) == [""]


def test_a_definition_for_a_thread_of_no_resource_has_no_subject() -> None:
    """It once reached the fold and stopped it."""
    event = envelope("WorkingMemoryDefined", {"scope": "thread", "template": "# Name"})
    (item,) = read(stored("memory", resource=None, thread="t1"), event)
    assert isinstance(item, Unreadable)
    assert (item.reason, item.address) == ("subject_invalid", None)


def test_a_subject_that_is_not_ours_parks_the_message_without_an_address() -> None:
    for subject, reason in [
        ("memfold.events.3.a%2eb.t1.messages.bot", "subject_not_canonical"),
        ("memfold.events.3.u1.t1.chat.bot", "subject_invalid"),
        ("other.subject", "subject_invalid"),
    ]:
        (item,) = read(subject, message())
        assert isinstance(item, Unreadable)
        assert (item.reason, item.address, item.index) == (reason, None, 0)


def test_one_bad_event_leaves_its_neighbours_readable() -> None:
    bad: dict[str, Any] = {**message(id="e2"), "type": "Unheard"}
    deep: dict[str, Any] = message(id="e3")
    for _ in range(70):
        deep = {"data": deep}
    items = read(MESSAGES, [message(), bad, deep, 5, message(id="e5", big=1e308)])
    assert [item.index for item in items] == [0, 1, 2, 3, 4]
    assert reasons(MESSAGES, [message(), bad, deep, 5, message(id="e5")]) == [
        "",
        "unknown_type",
        "too_deep",
        "invalid_envelope",
        "",
    ]


def test_numbers_out_of_bounds_park_their_event_alone() -> None:
    text = orjson.dumps(message()).decode()
    for number, reason in [
        ("NaN", "number_not_finite"),
        ("1e400", "number_not_finite"),
        ("18446744073709551616", "number_out_of_range"),
    ]:
        bad = text.replace('"data":{', f'"n":{number},"data":{{')
        assert reasons(MESSAGES, f"[{bad},{text}]".encode()) == [reason, ""]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "not_utf8"),
        (b"{", "not_json"),
        (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"a":"\\ud800"}', "lone_surrogate"),
        (b"[" * 5000, "too_deep"),
        (b"[]", "batch_empty"),
    ],
)
def test_a_message_that_cannot_be_taken_apart_is_parked_whole(payload: bytes, reason: str) -> None:
    (item,) = read(MESSAGES, payload)
    assert isinstance(item, Unreadable)
    assert (item.index, item.reason) == (0, reason)
    assert item.address == Address("u1", "t1", "messages", "bot")


def test_a_batch_holds_at_most_1000_events() -> None:
    batch = [message(id=f"e{number}") for number in range(1001)]
    assert reasons(MESSAGES, batch) == ["batch_too_large"]
    assert reasons(MESSAGES, batch[:1000]) == [""] * 1000


def test_an_event_has_64_levels_alone_and_in_a_batch() -> None:
    """The array around a batch is not a level of its events."""

    def deep(levels: int) -> dict[str, Any]:
        content: Any = 1
        for _ in range(levels - 2):
            content = {"a": content}
        return merge(content=content)

    assert reasons(MEMORY, deep(64)) == [""]
    assert reasons(MEMORY, [deep(64)]) == [""]
    assert reasons(MEMORY, deep(65)) == ["too_deep"]
    assert reasons(MEMORY, [deep(65), deep(64)]) == ["too_deep", ""]


def test_the_size_limit_of_an_event_is_exact_alone_and_in_a_batch() -> None:
    fits, over = event_of_size(EVENT_BYTES_MAX), event_of_size(EVENT_BYTES_MAX + 1)
    assert reasons(MESSAGES, fits) == [""]
    assert reasons(MESSAGES, over) == ["event_too_large"]
    assert reasons(MESSAGES, [message(id="e0"), over, fits]) == ["", "event_too_large", ""]
    assert reasons(MESSAGES, {**fits, "salt": "x" * 64}) == [""]


def test_how_an_event_was_written_does_not_change_its_size() -> None:
    """1e15 has four bytes on the wire and eighteen in canonical form: what counts must be one."""
    event = message()
    event["data"]["message"]["metadata"] = {"n": []}
    text = orjson.dumps(event).decode()
    grown = text.replace("[]", "[" + ",".join(["1e15"] * 30_000) + "]").encode()
    assert len(grown) < EVENT_BYTES_MAX
    small = orjson.dumps(message(id="e0"))
    assert reasons(MESSAGES, grown) == ["event_too_large"]
    assert reasons(MESSAGES, b"[" + grown + b"," + small + b"]") == ["event_too_large", ""]
    spaced = orjson.dumps(event).replace(b"[]", b"[]" + b" " * EVENT_BYTES_MAX)
    assert reasons(MESSAGES, spaced) == [""]


def planted(value: Any, secret: str) -> list[Any]:  # noqa: ANN401  # any JSON value
    """Return copies of a value with the secret in place of each text, each value and each key."""
    if isinstance(value, dict):
        copies = [{**value, secret: 1}]
        for key, item in value.items():
            copies += [{**value, key: copy} for copy in planted(item, secret)]
        return copies
    if isinstance(value, list):
        copies_of_items = [[copy] for item in value for copy in planted(item, secret)]
        return [[secret], {secret: secret}, *copies_of_items]
    return [secret, [secret], {secret: secret}, secret * 100]


@pytest.mark.parametrize(
    ("subject", "event"),
    [
        (MESSAGES, message(salt="c2FsdA==", resourceid="u1", threadid="t1", causationid="c")),
        (MEMORY, merge(evidence=[{"thread": "t1", "message": "m1"}], reason="why")),
        (MEMORY, merge(mode="edit", content={"search": "a", "replacement": "b"})),
        (MESSAGES, envelope("MessageUpdated", {"id": "m1", "patch": {"role": "user"}})),
        (
            MEMORY,
            envelope("WorkingMemoryDefined", {"scope": "resource", "json_schema": {"type": "x"}}),
        ),
        (
            stored("thread", thread="t1"),
            envelope("ThreadCreated", {"title": "t", "metadata": {"a": "b"}}),
        ),
    ],
)
def test_no_reason_for_parking_quotes_what_the_event_says(
    subject: str, event: dict[str, Any]
) -> None:
    """Details outlive the payload: an erased event must not survive in them."""
    refused = 0
    for copy in planted(event, "S3CRET"):
        for item in read(subject, copy):
            if isinstance(item, Unreadable):
                refused += 1
                assert "S3CRET" not in item.detail + item.reason, copy
    assert refused > 10


def test_the_digest_leaves_out_the_salt_and_nothing_else() -> None:
    event = message()
    assert digest(event) == digest({**event, "salt": "other"})
    for key in event:
        assert digest(event) != digest({**event, key: "other"})
    assert digest(event) != digest({**event, "extra": None})
    assert len(digest(event)) == 16


def test_an_event_has_the_same_digest_alone_in_a_batch_and_for_its_publisher() -> None:
    event = message(resourceid="u1", threadid="t1")
    (alone,) = read(MESSAGES, event)
    _, batched = read(MESSAGES, [message(id="e0"), dict(reversed(event.items()))])
    assert isinstance(alone, Event)
    assert isinstance(batched, Event)
    assert alone.digest == batched.digest == digest(event)
    address = Address("u1", "t1", "messages", "bot")
    assert message_digests(orjson.dumps([event, 5]), address) == [digest(event), b""]
    assert message_digests(orjson.dumps(event), address) == [digest(event)]
    with pytest.raises(InvalidEvent):
        message_digests(b"{", address)


def test_what_the_body_leaves_to_the_subject_is_part_of_the_digest() -> None:
    """The same body about another resource is another event, not a duplicate to be skipped."""
    digests = {
        item.digest
        for subject in (
            MESSAGES,
            stored("messages", thread="t2"),
            stored("messages", resource="u2", thread="t1"),
        )
        for item in read(subject, message())
        if isinstance(item, Event)
    }
    assert len(digests) == 3


def test_one_event_can_be_read_by_itself() -> None:
    address = Address("u1", None, "memory", "bot")
    head, data = read_event(merge(), address)
    assert head.id == "e1"
    assert data == MemoryMerged(scope="resource", content={"a": 1})
    with pytest.raises(InvalidEvent) as caught:
        read_event({**merge(), "n": 2**64}, address)
    assert caught.value.reason == "number_out_of_range"
