"""LoCoMo files become events: exactly what they hold, in order, the same each time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from memfold.limits import BATCH_EVENTS_MAX, PAYLOAD_BYTES_MAX
from memfold_consumers.formats.locomo import Conversation, read_locomo
from memfold_consumers.formats.stable import InvalidInput, runs
from support.shared import shared_dir

FILES = ("26", "30", "41", "49")


def turn(id_: str, speaker: str = "Ada", text: str = "Hello.") -> dict[str, Any]:
    return {"speaker": speaker, "dia_id": id_, "text": text}


def small() -> dict[str, Any]:
    """Return two dated sessions with observations, one of which looks ahead."""
    return {
        "speaker_a": "Ada",
        "speaker_b": "Ben",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [turn("D1:1"), turn("D1:2", "Ben", "Tschüss \u0000 👋\u200d\n"), turn("D1:3")],
        "session_1_observation": {
            "Ada": [["one", "D1:1"], ["two", "D1:1"], ["three", ["D1:1", "D1:3"]]],
            "Ben": [["four", "D1:2, D1:3"], ["ahead", "D2:1"], ["five", "D1:1"]],
        },
        "session_2_date_time": "12:05 am on 29 February, 2024",
        "session_2": [turn("D2:1", "Ben")],
        "session_2_observation": {"Ada": [["six", "D1:1"]]},
        "session_3_date_time": "9:00 am on 1 March, 2024",
        "events_session_1": {"Ada": []},
        "qa": [{"question": "?", "evidence": ["D9:9"]}],
    }


def read(whole: object, *, salt: str = "c2FsdA==") -> Conversation:
    content = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
    return read_locomo(content, resource="small", file="small.json", salts=lambda: salt)


def events(conversation: Conversation) -> list[dict[str, Any]]:
    return [json.loads(item.event.payload) for item in conversation.items]


def facts(conversation: Conversation) -> list[dict[str, Any]]:
    return [event for event in events(conversation) if event["type"] == "WorkingMemoryUpdated"]


def test_a_turn_becomes_a_message_with_its_text_speaker_and_date() -> None:
    event = events(read(small()))[1]
    assert event["threadid"] == "session_1"
    assert event["time"] == "2023-05-08T13:56:00Z"
    assert event["data"]["message"] == {
        "id": "D1:2",
        "role": "user",
        "content": "Tschüss \u0000 👋\u200d\n",
        "created_at": "2023-05-08T13:56:00Z",
        "metadata": {"speaker": "Ben"},
    }


def test_observations_are_keyed_by_evidence_and_counted_within_the_file() -> None:
    found = [
        (speaker, *content["facts"].items())
        for event in facts(read(small()))
        for speaker, content in event["data"]["content"].items()
    ]
    assert found == [
        ("Ada", ("D1:1.1", "one")),
        ("Ada", ("D1:1.2", "two")),
        ("Ada", ("D1:1+D1:3.1", "three")),
        ("Ben", ("D1:2+D1:3.1", "four")),
        ("Ben", ("D1:1.1", "five")),
        ("Ben", ("D2:1.1", "ahead")),
        ("Ada", ("D1:1.3", "six")),
    ]


def test_an_observation_follows_the_messages_it_rests_on() -> None:
    seen: dict[tuple[str, str], str] = {}
    for event in events(read(small())):
        if event["type"] == "MessageAppended":
            seen[event["threadid"], event["data"]["message"]["id"]] = event["id"]
            continue
        named = [(each["thread"], each["message"]) for each in event["data"]["evidence"]]
        assert set(named) <= seen.keys()
        assert event["causationid"] == seen[named[0]]


def test_ids_depend_on_the_content_and_not_on_the_salt() -> None:
    first, second = read(small()), read(small(), salt="b3RoZXI=")
    assert [item.event.id for item in first.items] == [item.event.id for item in second.items]
    assert [item.digest for item in first.items] == [item.digest for item in second.items]
    assert len({item.event.id for item in first.items}) == len(first.items)
    changed = small()
    changed["session_1"][0]["text"] += "!"
    assert read(changed).items[0].event.id != first.items[0].event.id


def test_counts_leave_out_dates_without_a_session() -> None:
    found = read(small())
    assert (found.threads, found.messages, len(found.items)) == (2, 4, 11)


def without(whole: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in whole.items() if name != key}


@pytest.mark.parametrize(
    ("whole", "match"),
    [
        (b"{", r"small\.json: not acceptable JSON"),
        (b'{"session_1": [], "session_1": []}', "duplicate_key"),
        ([], "not a JSON object"),
        ({"qa": []}, "not a LoCoMo conversation"),
        (without(small(), "session_2_date_time"), "session_2_date_time is None"),
        (small() | {"session_1_date_time": "13:56 pm on 8 May, 2023"}, "session_1_date_time is"),
        (small() | {"session_1_date_time": "1:56 pm on 31 June, 2023"}, "no such day"),
        (small() | {"session_1_date_time": "1:56 pm on 8 Mai, 2023"}, "session_1_date_time is"),
        (small() | {"session_2": {}}, "session_2 is not a list"),
        (small() | {"session_2": ["hello"]}, "session_2, turn 1: a turn has"),
        (small() | {"session_2": [turn("D2:1"), turn("")]}, "session_2, turn 2: a turn has"),
        (small() | {"session_2": [turn("D2:1"), turn("D1:3")]}, "before, in session_1"),
        (small() | {"session_2_observation": []}, "session_2_observation is not an object"),
        (small() | {"session_2_observation": {"Ada": "x"}}, "session_2_observation, Ada: not"),
        (small() | {"session_2_observation": {"Ada": [["x"]]}}, "observation 1: not a pair"),
        (small() | {"session_2_observation": {"Ada": [["x", 3]]}}, "evidence is a dia_id"),
        (small() | {"session_2_observation": {"Ada": [["x", " ,"]]}}, "names no evidence"),
        (small() | {"session_2_observation": {"Ada": [["x", "D7:1"]]}}, "dia_id 'D7:1'"),
        (small() | {"session_2": [turn("D2:1"), turn("x" * 300)]}, r"session_2, turn 2 \(x"),
        (small() | {"session_9_observation": {"Ada": [["x", "D1:1"]]}}, "there is no session_9"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(whole: object, match: str) -> None:
    with pytest.raises(InvalidInput, match=match) as caught:
        read(whole)
    assert caught.value.message.startswith("small.json: ")


def test_batches_hold_one_address_and_stay_within_the_limits() -> None:
    many = small() | {"session_1": [turn(f"D1:{n}", text="x" * n) for n in range(1, 2501)]}
    items = read(many).items
    batches = list(runs(items))
    assert [item for batch in batches for item in batch] == list(items)
    for batch in batches:
        assert len({item.event.address for item in batch}) == 1
        assert len(batch) <= BATCH_EVENTS_MAX
        assert sum(len(item.event.payload) + 1 for item in batch) + 1 <= PAYLOAD_BYTES_MAX
    assert len(batches) < 12


def evidence_of(given: object) -> list[str]:
    listed = given if isinstance(given, list) else str(given).split(",")
    return [str(part).strip() for part in listed]


def test_a_byte_order_mark_and_an_empty_observation_say_nothing() -> None:
    whole = small() | {"session_9_observation": {}}
    assert read(b"\xef\xbb\xbf" + json.dumps(whole).encode()) == read(small())


@pytest.mark.parametrize("name", FILES)
def test_the_real_conversations_are_read_whole(name: str) -> None:
    path: Path = shared_dir() / "data" / "locomo" / f"{name}.json"
    raw = json.loads(path.read_bytes())
    found = read_locomo(path.read_bytes(), resource=name, file=path.name, salts=lambda: "")
    turns = {
        (key, given["dia_id"]): given["text"]
        for key, value in raw.items()
        if key.startswith("session_") and isinstance(value, list)
        for given in value
    }
    messages = {
        (event["threadid"], event["data"]["message"]["id"]): event["data"]["message"]["content"]
        for event in events(found)
        if event["type"] == "MessageAppended"
    }
    assert messages == turns
    assert found.messages == len(turns)
    assert found.threads == len({thread for thread, _ in turns})
    wanted = Counter(
        (speaker, fact, "+".join(evidence_of(evidence)))
        for key, value in raw.items()
        if key.endswith("_observation")
        for speaker, pairs in value.items()
        for fact, evidence in pairs
    )
    got = Counter(
        (speaker, fact, key.rpartition(".")[0])
        for event in facts(found)
        for speaker, content in event["data"]["content"].items()
        for key, fact in content["facts"].items()
    )
    assert got == wanted
