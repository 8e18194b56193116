"""The memory tool as providers take it: name, description, parameters. Pure."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, get_args

from memfold.errors import InvalidRequest
from memfold.prompts.form import MemoryForm
from memfold.prompts.patches import patch_schema
from memfold.prompts.texts import (
    ARGUMENT_CONTENT,
    ARGUMENT_MEMORY,
    ARGUMENT_MODE,
    ARGUMENT_SEARCH,
    TOOL_JSON,
    TOOL_MARKDOWN,
)

Provider = Literal["openai", "anthropic", "plain"]
"""Whose shapes are meant: OpenAI's completions, Anthropic's messages, or plain JSON."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_provider(provider: object) -> Provider:
    """Return a provider that is known.

    Raises:
        InvalidRequest: it is not.
    """
    for known in get_args(Provider):
        if provider == known:
            return known  # type: ignore[no-any-return]  # one of the literals
    problem = f"provider= takes {', '.join(get_args(Provider))}, not {provider!r}"
    raise InvalidRequest(problem)


def check_tool_name(name: object) -> str:
    """Return a tool's name that every provider takes.

    Raises:
        InvalidRequest: it is none.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    problem = "the name of a tool is 1 to 64 of A-Z a-z 0-9 _ -"
    raise InvalidRequest(problem)


def tool_definition(
    provider: Provider, name: str, form: MemoryForm, description: str | None = None
) -> dict[str, Any]:
    """Return the definition of the memory tool in a provider's shape."""
    text = TOOL_JSON if form.kind == "json" else TOOL_MARKDOWN
    text = text if description is None else description
    parameters = _json(form) if form.kind == "json" else _markdown(form)
    if provider == "openai":
        function = {"name": name, "description": text, "parameters": parameters}
        return {"type": "function", "function": function}
    if provider == "anthropic":
        return {"name": name, "description": text, "input_schema": parameters}
    return {"name": name, "description": text, "parameters": parameters}


def _json(form: MemoryForm) -> dict[str, Any]:
    memory = patch_schema(form.schema)
    memory = {**memory, "description": memory.get("description", ARGUMENT_MEMORY)}
    return _object({"memory": memory}, ["memory"])


def _markdown(form: MemoryForm) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "mode": {"type": "string", "enum": list(form.modes), "description": ARGUMENT_MODE},
        "content": {"type": "string", "description": ARGUMENT_CONTENT},
    }
    if "edit" in form.modes:
        properties["search"] = {"type": "string", "description": ARGUMENT_SEARCH}
    return _object(properties, ["mode", "content"])


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
