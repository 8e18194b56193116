"""``memfold schema``: the JSON Schemas of all events, made from the models that check them."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from memfold.envelope import Envelope
from memfold.events import DATA_TYPES, Data, MemoryMerged, WorkingMemoryUpdated


def schemas() -> dict[str, Any]:
    """Return {"events": {type: {version, facet, schema}}, "envelope": schema}."""
    events: dict[str, Any] = {
        MemoryMerged.type: _event(MemoryMerged, TypeAdapter[Data](WorkingMemoryUpdated)),
        **{data.type: _event(data, TypeAdapter[Data](data)) for data in DATA_TYPES},
    }
    return {"events": events, "envelope": _schema(TypeAdapter(Envelope))}


def _event(data: type[Data], adapter: TypeAdapter[Data]) -> dict[str, Any]:
    return {"version": data.version, "facet": data.facet, "schema": _schema(adapter)}


def _schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    schema = adapter.json_schema(mode="validation")
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema}
