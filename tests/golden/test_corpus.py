"""The streams of every released version fold to what they gave when they were released."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from memfold.events import DATA_TYPES, MemoryMerged
from memfold.wire import Event
from support.corpus import HERE, fold, read, streams, write

STREAMS = sorted(HERE.glob("*/*.ndjson"))


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_stream_of_the_past_folds_to_its_recorded_digest(stream: Path) -> None:
    """One that differs needs a new version of its event, an upcaster, or a new fold version."""
    recorded = json.loads((stream.parent / "digests.json").read_text("utf-8"))
    assert fold(read(stream))[0] == recorded[stream.stem]


def test_this_version_is_in_the_corpus_whole() -> None:
    directory = HERE / version("memfold")
    names = {"digests.json", *(f"{name}.ndjson" for name in streams())}
    assert {path.name for path in directory.iterdir()} == names


def test_what_is_there_is_never_written_again(tmp_path: Path) -> None:
    directory = tmp_path / version("memfold")
    directory.mkdir()
    assert not write(tmp_path)
    assert list(directory.iterdir()) == []
    directory.rmdir()
    assert write(tmp_path)


def test_the_corpus_of_this_version_has_everything_in_it() -> None:
    """Every event type, every mode, every outcome, a batch, and many reasons to be parked."""
    _, _, told = fold(read(HERE / version("memfold") / "story.ndjson"))
    events = [event for event, _, _ in told if isinstance(event, Event)]
    types = {event.envelope.type for event in events}
    assert types >= {MemoryMerged.type, *(cls.type for cls in DATA_TYPES)}
    modes = {getattr(event.data, "mode", None) for event in events}
    assert modes >= {"merge", "replace", "append", "edit"}
    kinds = {kind for _, kind, _ in told}
    assert kinds == {"applied", "unchanged", "rejected", "parked", "duplicate"}
    assert {event.index for event, _, _ in told} > {0, 1}
    reasons = {reason for _, kind, reason in told if kind == "parked"}
    assert reasons >= {
        *("unknown_type", "unknown_version", "invalid_data", "facet_mismatch", "source_mismatch"),
        *("not_json", "batch_empty", "subject_not_canonical", "subject_invalid", "id_reused"),
    }
