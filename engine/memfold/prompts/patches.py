"""What a model may send for a JSON memory: a schema's own fields, none required, null to delete.

References are put in place, since not every provider follows them in the parameters of a tool.
The result only guides a model: what counts is that the merged document fits the schema itself.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from memfold.canonical import encode, encode_text, is_array, is_object
from memfold.limits import JSON_DEPTH_MAX

PARAMETER_BYTES_MAX: Final = 128 * 1024
VALUES_MAX: Final = 10_000
"""A schema that grows beyond this with its references put in place is not shown to the tool."""

_OF_WHOLE: Final = frozenset(
    {
        *("required", "minProperties", "dependentRequired", "dependentSchemas", "dependencies"),
        *("if", "then", "else", "not", "unevaluatedProperties", "default", "const", "enum"),
    }
)
"""Keywords that a whole object has to meet and a change of it need not."""

_NAMES: Final = frozenset({"$schema", "$id", "id", "$defs", "definitions", "$comment"})
"""Keywords that nobody needs once the references are put in place."""

_LITERAL: Final = frozenset({"const", "enum", "default", "examples", "required"})
"""Keywords whose value is not a schema and stands as it is."""

_BY_NAME: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
"""Keywords whose value has a schema under each name."""

_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf"})
_NOT_PLAIN: Final = frozenset({"enum", "const", "not", "if", *_LISTS})
_NULL: Final = {"type": "null"}

Schema = dict[str, Any]


def patch_schema(schema: Schema | None) -> Schema:
    """Return the JSON Schema of a change to a document that must fit ``schema``."""
    anything: Schema = {"type": "object"}
    if schema is None:
        return anything
    try:
        patch = _Walk(schema).patch(schema, 0)
    except _TooLargeError:
        return anything
    if not is_object(patch):
        return anything
    patch = {**patch, "type": "object"}
    return patch if len(encode(patch)) <= PARAMETER_BYTES_MAX else anything


class _TooLargeError(Exception):
    """The schema is too large or too deep to be shown."""


class _Walk:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._values = 0
        self._bytes = 0

    def patch(self, node: Any, depth: int) -> Any:  # noqa: ANN401  # a schema or a boolean
        """Return the schema of a change to what ``node`` describes."""
        node = self._resolved(node, depth)
        if not is_object(node) or not _describes_object(node):
            return self.whole(node, depth)
        named = node.get("required")
        required: list[Any] = named if is_array(named) else []
        found: Schema = {}
        for key, value in node.items():
            if key in _OF_WHOLE or key in _NAMES:
                continue
            self._count(key)
            if key in _BY_NAME and is_object(value):
                found[key] = {
                    name: self._field(part, depth + 1, deletable=name not in required)
                    for name, part in value.items()
                }
            elif key == "additionalProperties":
                found[key] = self._field(value, depth + 1, deletable=True)
            elif key in _LISTS and is_array(value):
                # A change may fit several of the forms that a whole document has to choose from.
                name = "anyOf" if key == "oneOf" else key
                found[name] = [self.patch(part, depth + 1) for part in value]
            else:
                found[key] = self.whole(value, depth + 1)
        return found

    def whole(self, node: Any, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        """Return a part as it is, with its references put in place."""
        node = self._resolved(node, depth)
        if is_array(node):
            return [self.whole(part, depth + 1) for part in node]
        if not is_object(node):
            self._count(node if isinstance(node, str) else "")
            return node
        found: Schema = {}
        for key, value in node.items():
            if key in _NAMES:
                continue
            self._count(key)
            if key in _LITERAL:
                self._count(encode_text(value))
                found[key] = value
            elif key in _BY_NAME and is_object(value):
                found[key] = {name: self.whole(part, depth + 1) for name, part in value.items()}
            else:
                found[key] = self.whole(value, depth + 1)
        return found

    def _field(self, node: Any, depth: int, *, deletable: bool) -> Any:  # noqa: ANN401  # a schema
        patch = self.patch(node, depth)
        # A boolean, or a schema that takes anything, takes null as well.
        if not deletable or not is_object(patch) or not patch or _takes_null(patch):
            return patch
        if isinstance(patch.get("type"), str) and not _NOT_PLAIN & patch.keys():
            return {**patch, "type": [patch["type"], "null"]}
        return {"anyOf": [patch, _NULL]}

    def _resolved(self, node: Any, depth: int) -> Any:  # noqa: ANN401  # any JSON value
        if depth > JSON_DEPTH_MAX:
            raise _TooLargeError
        while is_object(node) and isinstance(node.get("$ref"), str):
            self._count("$ref")
            beside = {key: value for key, value in node.items() if key != "$ref"}
            found = _part(self._root, node["$ref"])
            node = {**found, **beside} if is_object(found) else found
        return node

    def _count(self, text: str) -> None:
        self._values += 1
        self._bytes += len(text)
        if self._values > VALUES_MAX or self._bytes > PARAMETER_BYTES_MAX:
            raise _TooLargeError


def _describes_object(node: Schema) -> bool:
    kind = node.get("type")
    if kind is not None:
        return kind == "object" or (is_array(kind) and "object" in kind)
    return any(key in node for key in (*_BY_NAME, "additionalProperties", *_LISTS))


def _takes_null(node: Schema) -> bool:
    kind = node.get("type")
    choices = node.get("anyOf")
    return (
        kind == "null"
        or (is_array(kind) and "null" in kind)
        or (is_array(choices) and _NULL in choices)
    )


def _part(root: Schema, reference: str) -> Any:  # noqa: ANN401  # any JSON value
    """Return what a reference names; an engine has checked that it exists."""
    found: Any = root
    for part in unquote(reference).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if is_array(found) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif is_object(found) and name in found:
            found = found[name]
        else:
            return True
    return found
