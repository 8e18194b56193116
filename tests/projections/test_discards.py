"""Parked events that were given up: without effect for ever, in every fold, by whatever rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from memfold import limits, upcast, wire
from memfold.errors import StorageError
from memfold.wire import Recorded
from memfold_projections import discards
from memfold_projections.content import content_digests
from memfold_projections.parked import ParkedCounts
from memfold_projections.reader import Reader, reading
from memfold_projections.store import Store
from support.log import FACETS, NAMESPACE, envelope, stored

NEW = ("ThreadArchived", "ThreadUnarchived")


def message(
    sequence: int,
    type_: str,
    data: dict[str, Any],
    thread: str | None = "t",
    **more: Any,  # noqa: ANN401
) -> Recorded:
    event = envelope(type_, data, id=f"e{sequence}", **more)
    subject = stored(FACETS[type_], thread=thread)
    return Recorded(sequence, sequence * 1000, subject, orjson.dumps(event), f"id-{sequence}")


def discard(
    sequence: int, target: int, fold_version: int = 1, thread: str | None = "t"
) -> Recorded:
    data = {"sequence": target, "index": 0, "fold_version": fold_version, "reason": "a mistake"}
    return message(sequence, "ParkedDiscarded", data, thread)


LOG = [
    message(1, "MessageAppended", {"message": {"id": "m1", "role": "user", "content": "hi"}}),
    message(2, "ThreadArchived", {}),
    message(3, "ThreadUpdated", {"nonsense": 1}),
    message(4, "WorkingMemoryUpdated", {"nonsense": 1}, None),
    discard(5, 2),
    discard(6, 1),
    discard(7, 4),
    discard(8, 3, limits.FOLD_VERSION),
    discard(9, 3, limits.FOLD_VERSION),
]


def rows(reader: Reader, *, everything: bool = False) -> list[tuple[Any, ...]]:
    return reader.parked(None, after=(-1, 0), limit=100, everything=everything)


def outcomes(store: Store) -> dict[int, tuple[str, str]]:
    with reading(store.generation) as reader:
        found = reader.outcomes([each.sequence for each in LOG])
    return {sequence: (one[0], one[1]) for (sequence, _), one in found.items()}


def old_rules(patch: pytest.MonkeyPatch) -> None:
    """Fold as a release did that knew nothing of archives."""
    for name in NEW:
        patch.delitem(wire._READERS, name)


def new_rules(patch: pytest.MonkeyPatch) -> None:
    """Let archives be new in this release."""
    patch.setattr(upcast, "READABLE_SINCE", {(name, 1): limits.FOLD_VERSION for name in NEW})


def test_what_is_given_up_is_marked_and_counted_no_more(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        old_rules(patch)
        store = Store(tmp_path, NAMESPACE)
        store.fold(LOG[:4])
        counts = {("u1", "t"): 2, ("u1", ""): 1}
        assert store.recent.parked == ParkedCounts(counts)
        store.fold(LOG[4:])
    assert outcomes(store) == {
        2: ("parked", "unknown_type"),
        3: ("parked", "invalid_data"),
        4: ("parked", "invalid_data"),
        6: ("rejected", "not_parked"),
        7: ("rejected", "not_parked"),
        9: ("unchanged", ""),
    }
    with reading(store.generation) as reader:
        assert [row[0] for row in rows(reader)] == [4]
        assert reader.counts()["parked"] == 1
        first = rows(reader, everything=True)[0]
        assert reader.parked_counts() == store.recent.parked == ParkedCounts({("u1", ""): 1})
    assert first[7:] == (5, 0, "bot", "a mistake", 5)
    store.close()


def test_a_refold_by_rules_that_could_read_it_leaves_it_without_effect(tmp_path: Path) -> None:
    """And takes nothing from what was never parked, however often somebody said so."""
    with pytest.MonkeyPatch.context() as patch:
        old_rules(patch)
        store = Store(tmp_path, NAMESPACE)
        store.fold(LOG)
        store.close()
    with pytest.MonkeyPatch.context() as patch:
        new_rules(patch)
        (tmp_path / "generations" / "000001.duckdb").unlink()
        again = Store(tmp_path, NAMESPACE)
        assert outcomes(again)[2] == ("parked", "discarded")
        assert 5 not in outcomes(again)
        assert outcomes(again)[6] == ("rejected", "not_parked")
        with reading(again.generation) as reader:
            assert reader.thread("u1", "t").thread is not None
            assert b'"archived_at":null' in reader.thread("u1", "t").encoded
        again.close()


def test_without_its_discard_a_refold_applies_it(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        old_rules(patch)
        store = Store(tmp_path, NAMESPACE)
        store.fold(LOG[:4])
        store.close()
    with pytest.MonkeyPatch.context() as patch:
        new_rules(patch)
        (tmp_path / "generations" / "000001.duckdb").unlink()
        again = Store(tmp_path, NAMESPACE)
        assert 2 not in outcomes(again)
        again.close()


def test_one_that_comes_too_late_has_the_generation_folded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody still works by old rules: live folds and refolds must agree all the same."""
    new_rules(monkeypatch)
    store = Store(tmp_path / "live", NAMESPACE)
    store.fold(LOG[:4])
    assert 2 not in outcomes(store)
    with pytest.raises(StorageError, match="given up"):
        store.fold(LOG[4:])
    store.catch_up()
    assert store.number == 2
    assert outcomes(store)[2] == ("parked", "discarded")
    fresh = Store(tmp_path / "fresh", NAMESPACE)
    fresh.log.append(LOG)
    fresh.close()
    fresh = Store(tmp_path / "fresh", NAMESPACE)
    assert content_digests(fresh.generation) == content_digests(store.generation)
    fresh.close()
    store.close()


def test_nothing_is_searched_where_nothing_can_have_become_readable(tmp_path: Path) -> None:
    store = Store(tmp_path, NAMESPACE)
    store.fold(LOG)
    assert discards.find_discarded(store.log, NAMESPACE) == frozenset()
    assert outcomes(store)[5] == ("rejected", "not_parked")
    store.close()
