"""What a client decides before anything is sent: events, grounds, sizes, and what it has seen."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import memfold
from memfold.because import Appended, Because, grounds
from memfold.building import Context, build, prepare
from memfold.errors import InvalidEvent, InvalidRequest, MemfoldError, TooLarge, error_classes
from memfold.landing import _place
from memfold.limits import EVENT_BYTES_MAX
from memfold.messages import Message, message_list
from memfold.reads import MessageView, Snapshot, ThreadState, WorkingMemoryState
from memfold.receipts import Receipt
from memfold.requests import Sightings, decode_error
from memfold.subjects import Address
from memfold.wire import Event, Recorded, read_message

MEMORY = Address("alice", None, "memory", "bot")
MESSAGES = Address("alice", "t", "messages", "bot")
MERGE = {"scope": "resource", "mode": "merge", "content": {"city": "Berlin"}}


def read_back(payload: bytes, address: Address) -> list[Any]:
    subject = f"memfold.events.0.{address.tokens()}"
    return list(read_message("memfold", Recorded(1, 0, subject, payload), time_us=0))


def test_what_is_built_is_what_the_fold_reads() -> None:
    built = build(MEMORY, "WorkingMemoryUpdated", MERGE, Context("cause", "run", None))
    (event,) = read_back(built.payload, MEMORY)
    assert isinstance(event, Event)
    assert event.envelope.id == built.id
    assert event.envelope.source == "bot"
    assert event.envelope.resourceid == "alice"
    assert event.envelope.threadid is None
    assert (event.envelope.causationid, event.envelope.correlationid) == ("cause", "run")
    assert event.envelope.time is not None
    assert len(base64.b64decode(event.envelope.salt or "")) == 16


def test_every_event_has_its_own_id_and_salt() -> None:
    first, second = (
        orjson.loads(build(MEMORY, "WorkingMemoryUpdated", MERGE).payload) for _ in range(2)
    )
    assert first["id"] != second["id"]
    assert first["salt"] != second["salt"]


def content(value: object) -> dict[str, Any]:
    return {"scope": "resource", "mode": "merge", "content": value}


def message(id: str, role: str) -> dict[str, Any]:
    return {"message": {"id": id, "role": role, "content": ""}}


@pytest.mark.parametrize(
    ("address", "type_", "data", "reason"),
    [
        (MEMORY, "WorkingMemoryUpdated", content({"n": float("nan")}), "number_not_finite"),
        (MEMORY, "WorkingMemoryUpdated", content({"n": 2**64}), "number_out_of_range"),
        (MEMORY, "WorkingMemoryUpdated", content({"n": "\ud800"}), "lone_surrogate"),
        (MEMORY, "WorkingMemoryUpdated", content({"n": (1,)}), "not_json"),
        (MEMORY, "WorkingMemoryUpdated", content({1: 1}), "not_json"),
        (MEMORY, "WorkingMemoryUpdated", content("text"), "invalid_data"),
        (MEMORY, "WorkingMemoryUpdated", {**MERGE, "scope": "thread"}, "scope_mismatch"),
        (MEMORY, "WorkingMemoryUpdated", {**MERGE, "mood": "merge"}, "invalid_data"),
        (MEMORY, "ThreadDeleted", {}, "facet_mismatch"),
        (MESSAGES, "MessageAppended", message("m", "me"), "invalid_data"),
        (MESSAGES, "MessageAppended", message("", "user"), "invalid_data"),
    ],
)
def test_what_the_fold_would_park_is_refused_under_the_same_reason(
    address: Address, type_: str, data: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        build(address, type_, data)
    assert caught.value.reason == reason


def test_an_event_of_another_actor_cannot_be_prepared() -> None:
    raw = orjson.loads(build(MEMORY, "WorkingMemoryUpdated", MERGE).payload)
    with pytest.raises(InvalidEvent) as caught:
        prepare(raw, Address("alice", None, "memory", "other"))
    assert caught.value.reason == "source_mismatch"


def test_an_event_may_be_exactly_as_large_as_the_limit() -> None:
    def size(length: int) -> int:
        data = {**MERGE, "mode": "replace", "content": "x" * length}
        raw = {"specversion": "1.0", "id": "e", "type": "WorkingMemoryUpdated", "source": "bot"}
        return len(prepare({**raw, "data": data}, MEMORY).payload)

    room = EVENT_BYTES_MAX - size(0)
    assert size(room) == EVENT_BYTES_MAX
    with pytest.raises(TooLarge):
        size(room + 1)


def test_messages_get_ids_and_keep_their_own() -> None:
    first, second = message_list([Message(role="user", content="a"), {"id": "m", "role": "user"}])
    assert len(first["id"]) == 36
    assert second["id"] == "m"
    assert "created_at" not in first


def receipt(resource: str = "alice") -> Receipt:
    return Receipt(7, 0, ("e1", "e2"), False, resource, "t", (("t", "m1"),))


@pytest.mark.parametrize(
    ("because", "causation", "evidence"),
    [
        (None, None, ()),
        (receipt(), "e2", (("t", "m1"),)),
        (receipt("bob"), "e2", ()),
        (("t9", "m9"), None, (("t9", "m9"),)),
        ({"thread": "t9", "id": "m9"}, None, (("t9", "m9"),)),
        (Message(id="known", role="user", content="x"), "e7", (("t7", "known"),)),
        ([receipt(), ("t9", "m9")], "e2", (("t", "m1"), ("t9", "m9"))),
        ([("t7", "known"), ("t7", "known")], "e7", (("t7", "known"),)),
    ],
)
def test_because_becomes_causation_and_evidence(
    because: Because, causation: str | None, evidence: tuple[tuple[str, str], ...]
) -> None:
    appended = Appended()
    appended.note("alice", "t7", "known", "e7")
    found = grounds(because, resource="alice", thread=None, appended=appended)
    assert (found.causation, found.evidence) == (causation, evidence)


@pytest.mark.parametrize(
    "because", [Message(role="user", content="x"), {"id": "m"}, {"role": "user"}, [3]]
)
def test_a_message_of_no_known_thread_grounds_nothing(because: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest):
        grounds(because, resource="alice", thread=None, appended=Appended())


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 99)), max_size=40))
def test_a_bounded_memory_of_sequences_never_goes_back(notes: list[tuple[int, int]]) -> None:
    sightings = Sightings(resources_max=3)
    truth: dict[str, int] = {}
    for resource, sequence in notes:
        name = str(resource)
        sightings.note(name, sequence)
        truth[name] = max(truth.get(name, 0), sequence)
        assert all(sightings.highest(key) >= value for key, value in truth.items())
        assert sightings.highest(None) == max(truth.values())


def test_what_is_set_for_the_namespace_counts_for_every_resource() -> None:
    """A default definition that this client has set is in force for a resource it never met."""
    sightings = Sightings()
    sightings.note("alice", 9)
    sightings.note_for_all(5)
    assert [sightings.highest(name) for name in ("alice", "bob", None)] == [9, 5, 9]


def error_types() -> list[type[MemfoldError]]:
    """Return the errors of the package itself, not those that other packages derive."""
    return [cls for cls in error_classes().values() if cls.__module__.startswith("memfold.")]


def test_errors_of_an_engine_come_back_as_their_own_class() -> None:
    for cls in error_types():
        decoded = decode_error({"code": cls.code, "message": "because", "reason": "why"})
        assert type(decoded) is cls
        assert decoded.message == "because"
    assert type(decode_error({"code": "of the future"})) is MemfoldError


@pytest.mark.parametrize(
    ("ours", "stored", "index"),
    [
        ([b"a"], [b"a"], 0),
        ([b"a"], [b"b"], None),
        ([b"b", b"c"], [b"a", b"b", b"c"], 1),
        ([b"b", b"c"], [b"a", b"b"], None),
        ([b"a", b"c"], [b"a", b"b", b"c"], None),
    ],
)
def test_our_events_are_found_in_a_batch_only_as_they_were(
    ours: list[bytes], stored: list[bytes], index: int | None
) -> None:
    assert _place(ours, stored) == index


def test_what_is_read_is_plain_json_again() -> None:
    time = "2026-11-21T10:00:00.123456Z"
    message = {
        "id": "m", "thread": "t", "role": "user", "content": "hi", "metadata": {},
        "created_at": time, "updated_at": time, "sequence": 1, "index": 0,
    }  # fmt: skip
    thread = {
        "id": "t", "resource": "alice", "title": "", "metadata": {}, "incarnation": 1,
        "revision": 1, "created_at": time, "updated_at": time, "last_message_at": time,
        "archived_at": None, "source": None, "parked": 0,
    }  # fmt: skip
    memory = {
        "content": {}, "format": "json", "revision": 2, "changed_at": time, "sequence": 9,
    }  # fmt: skip
    snapshot = Snapshot(
        sequence=9,
        lag=0,
        resource="alice",
        thread=ThreadState.from_json(thread),
        working_memory=WorkingMemoryState.from_json(memory),
        thread_working_memory=None,
        messages=(MessageView.from_json({**message, "of a newer engine": 1}),),
    )
    assert orjson.loads(orjson.dumps(snapshot.to_json())) == {
        "sequence": 9,
        "lag": 0,
        "resource": "alice",
        "thread": thread,
        "working_memory": memory,
        "thread_working_memory": None,
        "messages": [message],
        "redacted": False,
        "parked": 0,
    }


def test_every_public_name_can_be_imported() -> None:
    names = [name for name in dir(memfold) if name[0].isupper() and name != "TYPE_CHECKING"]
    assert {"Memory", "Message", "Receipt", "RevisionConflict"} <= set(names)
    found = {name: getattr(memfold, name) for name in names}
    assert all(getattr(value, "__name__", name) == name for name, value in found.items())
    assert memfold.connect.__name__ == "connect"
    assert isinstance(memfold.__version__, str)
    with pytest.raises(AttributeError):
        _ = memfold.Nothing  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_every_error_is_public() -> None:
    assert {cls.__name__ for cls in error_types()} <= set(dir(memfold))
