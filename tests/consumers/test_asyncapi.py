"""The AsyncAPI document says what runs."""

from __future__ import annotations

from pathlib import Path

from faststream.nats.subscriber.usecases import LogicSubscriber

from memfold_consumers.app import make_broker
from memfold_consumers.asyncapi import document, events, render
from memfold_consumers.settings import EngineSettings

ROOT = Path(__file__).resolve().parents[2]


def test_the_document_in_the_repository_is_in_step() -> None:
    """Write it anew with ``make docs``."""
    assert (ROOT / "docs" / "reference" / "asyncapi.json").read_bytes() == render()


def test_every_query_that_is_answered_is_in_it() -> None:
    async def answer(operation: str, token: str, payload: bytes) -> bytes:
        del operation, token
        return payload

    broker = make_broker(EngineSettings(namespace="memfold"), "nats://127.0.0.1:4222", answer)
    answered = {
        each.subject.broker_address
        for each in broker.subscribers
        if isinstance(each, LogicSubscriber)
    }
    written = {
        channel["address"]
        for name, channel in document()["channels"].items()
        if name.startswith("query.")
    }
    assert written == answered


def test_every_event_is_in_it_with_envelope_and_data() -> None:
    schemas = document()["components"]["schemas"]
    assert len(events()) == 17
    for type_, _, _ in events():
        shape = schemas[f"{type_}Event"]
        assert shape["properties"]["type"]["const"] == type_
        assert {"id", "source", "data"} <= shape["properties"].keys()
        assert "data" in shape["required"]
