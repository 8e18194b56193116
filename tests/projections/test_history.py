"""The history that is shown: events of the log with their outcomes, as they were published."""

from __future__ import annotations

from pathlib import Path

import orjson

from memfold.wire import Recorded
from memfold_projections.history import changes
from memfold_projections.reader import reading
from memfold_projections.store import Store
from support.log import NAMESPACE, envelope, stored

TIMES = ("2026-11-21T11:00:00+01:00", "2023-05-08T13:56:00Z")


def test_messages_with_times_of_their_own_are_shown_without_a_warning(tmp_path: Path) -> None:
    """Warnings are errors here; in an engine each one is a line of its log."""
    store = Store(tmp_path, NAMESPACE)
    messages = [
        {"id": f"m{n}", "role": "user", "content": "x", "created_at": time}
        for n, time in enumerate(TIMES)
    ]
    payload = orjson.dumps(
        [
            envelope("MessageAppended", {"message": message}, id=message["id"])
            for message in messages
        ]
    )
    store.fold([Recorded(1, 0, stored("messages", thread="t"), payload)])
    with reading(store.generation) as reader:
        found, _ = changes(
            store.log,
            reader,
            NAMESPACE,
            "u1",
            "t",
            after=(-1, 0),
            limit=10,
            bytes_max=1 << 20,
            everything=False,
        )
    shown = [orjson.loads(each)["data"]["message"]["created_at"] for each in found]
    assert shown == list(TIMES)
    store.close()
