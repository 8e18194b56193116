"""From what callers give as a template or schema to the data of ``WorkingMemoryDefined``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from memfold.arguments import json_object
from memfold.definitions import make_definition
from memfold.errors import InvalidEvent, InvalidRequest, Rejected
from memfold.gate import check

Schema = Mapping[str, Any] | type[BaseModel]
"""A JSON Schema, or a pydantic model class, which stands for the schema of what it takes."""


def definition_fields(template: object, schema: object) -> dict[str, Any]:
    """Return ``template`` or ``json_schema`` as an event's field; neither: no field at all.

    Raises:
        InvalidRequest: both, or something that is neither text, mapping nor model class.
        Rejected: the fold would reject it: ``schema_invalid`` or ``definition_too_large``.
        InvalidEvent: the fold would park it, as JSON that readers understand differently.
    """
    if template is not None and schema is not None:
        problem = "a definition has template= or schema=, never both"
        raise InvalidRequest(problem)
    if template is not None and not isinstance(template, str):
        problem = f"template= takes text, not {type(template).__name__}"
        raise InvalidRequest(problem)
    json_schema = None if schema is None else _json_schema(schema)
    check([template, json_schema])
    try:
        make_definition(template, json_schema)
    except InvalidEvent as error:
        raise Rejected(error.message, reason=error.reason, detail=error.detail) from None
    if template is not None:
        return {"template": template}
    return {} if json_schema is None else {"json_schema": json_schema}


def _json_schema(schema: object) -> dict[str, Any]:
    model: object = schema
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return json_object(schema, "schema=, unless it is a pydantic model class,")
    try:
        return model.model_json_schema()
    except PydanticUserError as error:
        message = f"{model.__name__} has no JSON Schema: {error.message}"
        raise Rejected(message, reason="schema_invalid") from None
