"""Writes the AsyncAPI 3 document: ``python -m memfold_consumers.asyncapi FILE``.

Made from what runs: the application's queries with the shapes they are checked against, and the
events as publishers send them. The same code gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

import orjson
from faststream.nats import NatsBroker
from pydantic import BaseModel, create_model

from memfold.envelope import Envelope
from memfold.events import DATA_TYPES, Data, MemoryMerged, WorkingMemoryUpdated
from memfold_consumers.app import make_app, make_broker
from memfold_consumers.settings import EngineSettings

SERVER: Final = "nats://127.0.0.1:4222"


def document() -> dict[str, Any]:
    """Return the document for the default namespace, without what differs between machines."""
    namespace = EngineSettings.model_fields["namespace"].default
    broker = make_broker(EngineSettings(namespace=namespace), SERVER, _never_asked)
    for type_, facet, event in events():
        _describe(
            broker,
            f"{namespace}.publish.*.*.{facet}.*",
            event,
            title=f"event.{type_}",
            description=(
                f"{_first(event)} Publish one, or a JSON array of 1 to 1000 of one subject, to "
                f"{namespace}.publish.{{resource}}.{{thread or _}}.{facet}.{{actor}}."
            ),
        )
    specification = make_app(broker, _never_run).schema.to_specification()
    return cast("dict[str, Any]", specification.to_jsonable())


def events() -> list[tuple[str, str, type[BaseModel]]]:
    """Return the type, the facet and the whole shape of each event: envelope and data."""
    updated = (MemoryMerged.type, MemoryMerged.facet, _event(MemoryMerged, WorkingMemoryUpdated))
    return [updated, *((data.type, data.facet, _event(data, data)) for data in DATA_TYPES)]


def render() -> bytes:
    """Return the document as it is written to the file."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def main(arguments: list[str]) -> int:
    """Write the document to the file that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m memfold_consumers.asyncapi FILE\n")
        return 2
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render())
    return 0


def _event(data: type[Data], shape: Any) -> type[BaseModel]:  # noqa: ANN401  # a type or a union
    fields: dict[str, Any] = {"type": (Literal[data.type], ...), "data": (shape, ...)}
    doc = data.__doc__ if shape is data else "A working memory was changed."
    return create_model(f"{data.type}Event", __base__=Envelope, __doc__=doc, **fields)


def _describe(
    broker: NatsBroker,
    subject: str,
    shape: type[BaseModel],
    *,
    title: str,
    description: str,
) -> None:
    async def handle(message: BaseModel) -> None: ...

    # FastStream reads the shape from here; a name in the source could not differ by operation.
    handle.__annotations__["message"] = shape
    broker.subscriber(subject, title=title, description=description)(handle)


def _first(shape: type[BaseModel]) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join((shape.__doc__ or "").split("\n\n")[0].split())


async def _never_asked(operation: str, name: str, payload: bytes) -> bytes:
    message = f"nobody asks a document: {operation}, {name}, {len(payload)} bytes"
    raise AssertionError(message)


@asynccontextmanager
async def _never_run() -> AsyncGenerator[None]:
    yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
