"""Sealed events: what opens, what does not and why, and where the keys are."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memfold.building import build, prepare, sealed
from memfold.errors import ExtraMissing, InvalidEvent, InvalidRequest, StorageError
from memfold.sealed import (
    Key,
    keyids,
    open_bytes,
    opened,
    opened_parts,
    seal,
    seal_bytes,
    sealed_bytes_max,
)
from memfold.sealing import KeyDirectory, open_keys
from memfold.subjects import Address
from memfold.wire import Event, Recorded, Unreadable, message_digests, read_message
from support.log import NAMESPACE, envelope, stored
from support.strategies import json_values

KEY = Key("0011223344556677", bytes(range(32)))
NONCE = bytes(12)
ADDRESS = Address("u1", "t1", "messages", "bot")
SUBJECT = stored("messages", thread="t1")
TEXT = "a word that nobody else may read"


class Ring:
    """Keys in memory."""

    def __init__(self, *keys: Key) -> None:
        self._keys = {key.id: key for key in keys}

    def find(self, resource: str, keyid: str, /) -> Key | None:
        return self._keys.get(keyid) if resource == "u1" else None


def said(text: str = TEXT, **attributes: object) -> dict[str, Any]:
    data = {"message": {"id": "m1", "role": "user", "content": text}}
    return envelope("MessageAppended", data, **attributes)


def closed(raw: dict[str, Any], *, key: Key = KEY, nonce: bytes = NONCE) -> dict[str, Any]:
    return seal(raw, ADDRESS, key, nonce)


def read_all(
    payload: object, subject: str = SUBJECT, keys: Ring | None = None
) -> list[Event | Unreadable]:
    message = Recorded(1, 0, subject, orjson.dumps(payload))
    return list(read_message(NAMESPACE, message, time_us=1, keys=keys or Ring(KEY)))


def reasons(events: Iterable[Event | Unreadable]) -> list[str]:
    return [each.reason if isinstance(each, Unreadable) else "" for each in events]


def test_a_sealed_event_is_read_as_the_plain_one() -> None:
    raw = said(salt="AAAA", causationid="c1", resourceid="u1", threadid="t1")
    box = closed(raw)
    assert TEXT.encode() not in orjson.dumps(box)
    assert box.keys() == (raw.keys() - {"salt"}) | {"keyid"}
    [was], [now] = read_all(raw), read_all(box)
    assert isinstance(was, Event)
    assert isinstance(now, Event)
    assert (now.data, now.digest) == (was.data, was.digest)
    assert now.envelope.causationid == "c1"
    other = closed(raw, nonce=b"123456789012")
    assert other["data"] != box["data"]
    payload = orjson.dumps([box, other, raw])
    assert set(message_digests(payload, ADDRESS, Ring(KEY))) == {was.digest}
    assert list(message_digests(payload, ADDRESS)) == [b"", b"", was.digest]


@given(
    data=st.dictionaries(st.text(max_size=4), json_values()),
    nonce=st.binary(min_size=12, max_size=12),
)
def test_any_data_opens_to_what_it_was(data: dict[str, Any], nonce: bytes) -> None:
    raw = envelope("MessageAppended", data)
    box = orjson.loads(orjson.dumps(seal(raw, ADDRESS, KEY, nonce)))
    found = opened(box, ADDRESS, Ring(KEY))
    assert orjson.dumps(found, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        raw, option=orjson.OPT_SORT_KEYS
    )


@pytest.mark.parametrize(
    "change",
    [
        {"id": "e2"},
        {"type": "MessageUpdated"},
        {"source": "other"},
        {"dataversion": 2},
        {"keyid": "8899aabbccddeeff"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_sealed_event_does_not_open_under_another_envelope(change: dict[str, Any]) -> None:
    both = Ring(KEY, Key("8899aabbccddeeff", KEY.secret))
    assert reasons(read_all(closed(said()) | change, keys=both)) == ["seal_broken"]


def test_a_sealed_event_does_not_open_at_another_place() -> None:
    box = closed(said())
    assert reasons(read_all(box, stored("messages", thread="t2"))) == ["seal_broken"]
    assert reasons(read_all(box, stored("memory"))) == ["seal_broken"]
    assert reasons(read_all(box, stored("messages", resource="u2", thread="t1"))) == ["key_missing"]


def test_one_changed_bit_or_another_secret_does_not_open() -> None:
    box = base64.b64decode(closed(said())["data"]["sealed"])
    for place in (0, 12, len(box) - 1):
        altered = box[:place] + bytes([box[place] ^ 1]) + box[place + 1 :]
        data = {"sealed": base64.b64encode(altered).decode()}
        assert reasons(read_all(closed(said()) | {"data": data})) == ["seal_broken"]
    wrong = Ring(Key(KEY.id, bytes(32)))
    assert reasons(read_all(closed(said()), keys=wrong)) == ["seal_broken"]


def test_without_its_key_an_event_says_which_and_its_neighbours_are_read() -> None:
    box = closed(said())
    found = read_all([box, said("plain", id="e2")], keys=Ring())
    assert reasons(found) == ["key_missing", ""]
    assert isinstance(found[0], Unreadable)
    assert KEY.id in found[0].detail
    assert "re-drive" in found[0].detail
    message = Recorded(1, 0, SUBJECT, orjson.dumps(box))
    [nothing] = read_message(NAMESPACE, message, time_us=1)
    assert isinstance(nothing, Unreadable)
    assert "MEMFOLD_KEYS" in nothing.detail


@pytest.mark.parametrize(
    "change",
    [
        {"keyid": 7},
        {"keyid": "../../../../etc/"},
        {"keyid": "00112233445566FF"},
        {"data": {}},
        {"data": {"sealed": 7}},
        {"data": {"sealed": "é"}},
        {"data": {"sealed": "AAAA"}},
        {"data": {"sealed": "A" * 64, "more": 1}},
        {"data": [1]},
    ],
)
def test_what_only_claims_to_be_sealed_is_parked(change: dict[str, Any]) -> None:
    assert reasons(read_all(closed(said()) | change)) == ["seal_invalid"]


def test_records_and_defaults_are_never_sealed() -> None:
    box = closed(said())
    assert reasons(read_all(box, stored("erasure", thread="t1"))) == ["seal_invalid"]
    assert reasons(read_all(box, stored("memory", resource=None))) == ["seal_invalid"]
    with pytest.raises(InvalidEvent, match="keyid"):
        prepare(box, ADDRESS)


def test_what_is_inside_meets_the_gate_and_the_limits() -> None:
    deep: Any = 0
    for _ in range(62):
        deep = [deep]
    assert reasons(read_all(closed(said() | {"data": {"deep": deep}}))) == ["invalid_data"]
    assert reasons(read_all(closed(said() | {"data": {"deep": [deep]}}))) == ["too_deep"]
    assert reasons(read_all(closed(said("x" * 2**19)))) == ["event_too_large"]


def test_a_payload_is_opened_for_a_search_as_far_as_it_goes() -> None:
    raw = said()
    other = Key("8899aabbccddeeff", bytes(32))
    payload = orjson.dumps([closed(raw), said("near"), closed(said("far"), key=other)])
    found = opened_parts(payload, ADDRESS, Ring(KEY))
    assert TEXT.encode() in found
    assert b"near" not in found
    assert b'"far"' not in found
    assert keyids(payload) == [KEY.id, other.id]
    escaped = payload.replace(b'"keyid"', b'"key\\u0069d"')
    assert opened_parts(escaped, ADDRESS, Ring(KEY)) == found
    plain = orjson.dumps(raw)
    assert (opened_parts(plain, ADDRESS, None), keyids(plain)) == (b"", [])
    assert opened_parts(b'{"keyid" no json', ADDRESS, None) == b""


@given(text=st.text(max_size=300))
def test_a_sealed_event_is_never_larger_than_is_reckoned_with(text: str) -> None:
    event = prepare(said(text), ADDRESS)
    assert len(sealed(event, KEY).payload) <= sealed_bytes_max(len(event.payload))


def test_each_event_is_sealed_under_a_nonce_of_its_own() -> None:
    data = {"message": {"id": "m1", "role": "user", "content": TEXT}}
    event = build(ADDRESS, "MessageAppended", data)
    assert len({sealed(event, KEY).payload for _ in range(100)}) == 100


@given(data=st.binary(max_size=200))
def test_an_attachment_is_sealed_to_the_same_bytes_and_opens_for_its_resource(data: bytes) -> None:
    box = seal_bytes(data, "u1", KEY)
    assert box == seal_bytes(data, "u1", KEY)
    assert len(box) == len(data) + 28
    assert open_bytes(box, "u1", KEY) == data
    assert open_bytes(box, "u2", KEY) is None
    assert open_bytes(box[:-1] + bytes([box[-1] ^ 1]), "u1", KEY) is None
    assert open_bytes(box[:20], "u1", KEY) is None
    assert open_bytes(b"", "u1", KEY) is None
    other = Key(KEY.id, bytes(32))
    assert open_bytes(box, "u1", other) is None
    assert seal_bytes(data, "u1", other)[:12] != box[:12] != seal_bytes(data + b"x", "u1", KEY)[:12]


def test_a_key_is_never_shown() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert str(KEY.secret) not in repr(KEY)


def test_a_directory_gives_one_key_a_resource_until_it_is_retired(tmp_path: Path) -> None:
    keys = KeyDirectory(tmp_path / "keys")
    first = keys.current("alice")
    assert keys.current("alice") == KeyDirectory(tmp_path / "keys").current("alice") == first
    assert keys.current("Alice") != first
    assert keys.find("alice", first.id) == first
    assert keys.find("Alice", first.id) is None
    assert keys.retire("alice") == [first.id]
    assert keys.find("alice", first.id) == first
    second = keys.current("alice")
    assert second.id != first.id
    assert keys.retire("alice") == sorted([first.id, second.id])
    assert keys.retire("nobody") == ()
    assert first.secret.hex() not in repr(keys)


def test_what_one_process_retires_or_destroys_no_other_uses(tmp_path: Path) -> None:
    here, there = KeyDirectory(tmp_path / "keys"), KeyDirectory(tmp_path / "keys")
    first = here.current("alice")
    assert there.find("alice", first.id) == there.current("alice") == first
    here.retire("alice")
    assert there.current("alice") != first
    assert here.destroy("alice", [first.id, "0000000000000000"]) == 1
    assert here.destroy("alice", [first.id]) == 0
    assert here.destroy("nobody", [first.id]) == 0
    assert there.find("alice", first.id) is None
    left = b"".join(
        path.read_bytes() for path in (tmp_path / "keys").rglob("*.*") if path.is_file()
    )
    assert first.secret.hex().encode() not in left


def test_a_key_that_was_overwritten_and_not_yet_removed_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the two steps of destroying a key."""
    keys = KeyDirectory(tmp_path / "keys")
    first = keys.current("alice")
    keys.retire("alice")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError("died")))
        with pytest.raises(OSError, match="died"):
            keys.destroy("alice", [first.id])
    again = KeyDirectory(tmp_path / "keys")
    assert again.find("alice", first.id) is None
    again.destroy("alice", again.retire("alice"))
    assert list((tmp_path / "keys").rglob("*.retired")) == []


def test_a_crash_while_a_key_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = KeyDirectory(tmp_path / "keys")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError("died")))
        with pytest.raises(OSError, match="died"):
            keys.current("alice")
    key = keys.current("alice")
    files = [path for path in (tmp_path / "keys").rglob("*.*") if path.is_file()]
    assert [path.name for path in files] == [f"{key.id}.key"]
    assert [oct(path.stat().st_mode & 0o777) for path in files] == ["0o600"]
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").rglob("alice*")} == {0o700}


def test_a_damaged_current_key_is_not_passed_over(tmp_path: Path) -> None:
    key = KeyDirectory(tmp_path / "keys").current("alice")
    [path] = (tmp_path / "keys").rglob("*.key")
    path.write_text("x")
    with pytest.raises(StorageError, match=r"put it back"):
        KeyDirectory(tmp_path / "keys").current("alice")
    assert KeyDirectory(tmp_path / "keys").find("alice", key.id) is None


def test_long_ids_have_folders_of_their_own(tmp_path: Path) -> None:
    keys = KeyDirectory(tmp_path / "keys")
    ids = ["ü" * 128, "ü" * 127, "_", "%5F", "../up", "a.b"]
    assert len({keys.current(each).id for each in ids}) == len(ids)
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o750)
    with pytest.raises(InvalidRequest, match="chmod 700"):
        KeyDirectory(tmp_path / "keys")


@pytest.mark.parametrize("instead", ["nothing", "an empty place"])
def test_a_directory_that_is_not_mounted_is_not_taken_for_one_without_keys(
    tmp_path: Path, instead: str
) -> None:
    place, away = tmp_path / "keys", tmp_path / "away"
    keys = KeyDirectory(place)
    first = keys.current("alice")
    fresh = KeyDirectory(place)
    place.rename(away)
    if instead != "nothing":
        place.mkdir(mode=0o700)
    for each in (keys, fresh):
        for ask in (
            lambda: each.current("alice"),  # noqa: B023
            lambda: each.current("bob"),  # noqa: B023
            lambda: each.find("alice", first.id),  # noqa: B023
            lambda: each.retire("alice"),  # noqa: B023
            lambda: each.destroy("alice", [first.id]),  # noqa: B023
        ):
            with pytest.raises(StorageError, match=r"is not there, or is another one: mount it"):
                ask()
    if place.exists():
        assert list(place.iterdir()) == []
        place.rmdir()
    away.rename(place)
    assert keys.current("alice") == fresh.find("alice", first.id) == first


def test_keys_in_a_directory_without_its_mark_are_not_taken_for_all(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    first = KeyDirectory(place).current("alice")
    (place / "memfold-keys").unlink()
    with pytest.raises(StorageError, match="memfold-keys"):
        KeyDirectory(place)
    (place / "memfold-keys").touch()
    assert KeyDirectory(place).current("alice") == first
    (tmp_path / "mounted" / "lost+found").mkdir(parents=True)
    (tmp_path / "mounted").chmod(0o700)
    KeyDirectory(tmp_path / "mounted").current("alice")


def test_a_directory_inside_the_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for place in ("data/keys", "data", "link/keys", "data/../data/keys"):
        with pytest.raises(InvalidRequest, match="backups"):
            open_keys(tmp_path / place, data=tmp_path / "data")
    assert open_keys(None) is None
    found = open_keys(str(tmp_path / "keys"), data=tmp_path / "data")
    assert isinstance(found, KeyDirectory)
    assert open_keys(found) is found


def test_without_the_extra_one_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExtraMissing, match=r"pip install 'memfold\[sealing\]'"):
        KeyDirectory(tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


_RACE = """
import sys, time
from memfold.sealing import KeyDirectory
keys = KeyDirectory(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(*[keys.current(f"r{n}").id for n in range(50)], flush=True)
"""


def test_four_processes_make_one_first_key_a_resource(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RACE, str(tmp_path / "keys")]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    found = {each.communicate(timeout=60)[0] for each in running}
    assert len(found) == 1
    assert len(set(found.pop().split())) == 50
    assert len(list((tmp_path / "keys").rglob("*.key"))) == 50
