"""From what callers give as a template or schema to the data of ``WorkingMemoryDefined``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

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
    if isinstance(schema, Mapping):
        return dict(cast("Mapping[str, Any]", schema))
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        problem = "schema= takes a JSON Schema (a mapping) or a pydantic model class"
        raise InvalidRequest(problem)
    try:
        return schema.model_json_schema()
    except PydanticUserError as error:
        message = f"{schema.__name__} has no JSON Schema: {error.message}"
        raise Rejected(message, reason="schema_invalid") from None
