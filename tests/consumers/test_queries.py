"""What an engine answers, asked without a server between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest

from memfold.wire import Recorded
from memfold_consumers.checkpoint import Checkpoint
from memfold_consumers.jobs import Jobs
from memfold_consumers.moments import Moments
from memfold_consumers.queries import Queries
from memfold_projections.store import Store
from support.log import NAMESPACE, envelope, stored

if TYPE_CHECKING:
    from memfold_consumers.blobs import Blobs


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path, NAMESPACE)
    yield opened
    opened.close()


async def no_status() -> dict[str, Any]:
    return {}


async def no_end() -> None:
    return None


async def ask(store: Store, operation: str, **arguments: object) -> Any:  # noqa: ANN401
    checkpoint = Checkpoint(store.sequence)
    queries = Queries(
        store,
        checkpoint,
        NAMESPACE,
        # Attachments are not asked for here.
        blobs=cast("Blobs", object()),
        jobs=Jobs({}),
        moments=Moments(store, checkpoint, lambda: store.sequence, no_end),
        status=no_status,
    )
    return orjson.loads(await queries.answer(operation, "_", orjson.dumps(arguments)))


async def test_a_message_that_was_parked_whole_is_parked_at_every_index(store: Store) -> None:
    """Its number of events is not known, so whoever asks for five is told of five."""
    bad = envelope("MessageAppended", {"nonsense": True}, id="bad")
    good = envelope(
        "MessageAppended", {"message": {"id": "m", "role": "user", "content": "x"}}, id="good"
    )
    payloads = [b"[{", orjson.dumps([bad, good]), b"[]"]
    subject = stored("messages", thread="t")
    store.fold([Recorded(n, 0, subject, payload) for n, payload in enumerate(payloads, 1)])
    answer = await ask(store, "outcome", positions=[[1, 5], [2, 2], [3, 2]])
    told = [[(each["kind"], each["reason"]) for each in item] for item in answer["outcomes"]]
    assert told[0] == [("parked", "not_json")] * 5
    assert [kind for kind, _ in told[1]] == ["parked", "applied"]
    assert told[2] == [("parked", "batch_empty")] * 2
