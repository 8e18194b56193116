"""Definitions of working memories: a Markdown template or a JSON Schema, and what breaks them.

Schemas are untrusted input: local references only, nothing is fetched, patterns run on a
linear-time engine. Their size is bounded with every reference put in place, which also refuses
recursion: a schema of a few lines could otherwise keep every engine busy for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NoReturn
from urllib.parse import unquote

import jsonschema_rs
import orjson

from memfold.canonical import encode, encode_text, is_array, is_object
from memfold.errors import InvalidEvent
from memfold.limits import (
    PATTERN_BYTES_MAX,
    SCHEMA_BYTES_MAX,
    SCHEMA_PATTERNS_MAX,
    SCHEMA_VALUES_MAX,
    VIOLATION_CHECKS_MAX,
)
from memfold.provenance import pointer

_IDENTIFIERS: Final = frozenset({"$id", "id"})
"""Keywords that make a part of a schema a document of its own; ``id`` was the name in draft 4."""

_ELSEWHERE: Final = frozenset({"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef"})
"""Keywords that give a reference another target than its text says."""

SENTENCE_MAX: Final = 200
"""Longest sentence about a violation, in characters: a validator quotes whole documents."""

Format = Literal["markdown", "json"]
Content = str | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """What a working memory must look like. ``body`` is the template or the canonical schema."""

    kind: Literal["template", "schema"]
    body: str

    @property
    def format(self) -> Format:
        """The form of document this definition allows."""
        return "markdown" if self.kind == "template" else "json"


def make_definition(template: str | None, schema: dict[str, Any] | None) -> Definition | None:
    """Return the definition of an event's fields, None if both are absent (none in force).

    Raises:
        InvalidEvent: reason ``definition_too_large`` or ``schema_invalid``.
    """
    if template is not None:
        if len(template.encode()) > SCHEMA_BYTES_MAX:
            _too_large()
        return Definition("template", template)
    if schema is None:
        return None
    if len(encode(schema)) > SCHEMA_BYTES_MAX:
        _too_large()
    body = encode_text(schema)
    _compiled(body)
    return Definition("schema", body)


def conforms(definition: Definition | None, content: Content) -> bool:
    """Tell whether a document keeps to the definition in force, in form and in schema."""
    if definition is None:
        return True
    if definition.kind == "template":
        return isinstance(content, str)
    return _compiled(definition.body)[0].is_valid(content)


def added_violation(definition: Definition | None, old: Content | None, new: Content) -> str | None:
    """Return where in the schema ``new`` breaks something that ``old`` did not, None if nowhere.

    The form is checked elsewhere. An old document that breaks the schema and is too large to tell
    what it breaks (``VIOLATION_CHECKS_MAX``) may be changed in any way.
    """
    if definition is None or definition.kind == "template":
        return None
    validator, schema_values = _compiled(definition.body)
    if validator.is_valid(new):
        return None
    known: frozenset[tuple[str, str]] | None = frozenset()
    if old is not None and not validator.is_valid(old):
        known = _violations(validator, schema_values, old)
    if known is None:
        return None
    broken = _violations(validator, schema_values, new)
    if broken is None:
        return "more than one place"
    # Sorted, since the validator's own order follows that of the document's keys.
    return next((place for at, place in sorted(broken) if (at, place) not in known), None)


def violations(definition: Definition | None, content: Content, count_max: int) -> list[str]:
    """Return what in a document breaks the schema, as sentences that quote the document.

    For whoever wrote it, and never for logs or errors. At most ``count_max``; none where it would
    take too long to find them.
    """
    if definition is None or definition.kind == "template":
        return []
    validator, schema_values = _compiled(definition.body)
    if schema_values * _values(content) > VIOLATION_CHECKS_MAX:
        return []
    found = {
        f"{_path(error.instance_path) or '/'}: {_short(error.message)}"
        for error in validator.iter_errors(content)
    }
    return sorted(found)[:count_max]


def _short(text: str) -> str:
    return text if len(text) <= SENTENCE_MAX else f"{text[:SENTENCE_MAX]}..."


def _violations(
    validator: jsonschema_rs.Validator, schema_values: int, content: Content
) -> frozenset[tuple[str, str]] | None:
    """Return (instance path, schema path) of each violation, None if they may be too many.

    The validator collects every error before it shows the first one, hence the bound beforehand.
    """
    if schema_values * _values(content) > VIOLATION_CHECKS_MAX:
        return None
    return frozenset(
        (_path(error.instance_path), _path(error.schema_path))
        for error in validator.iter_errors(content)
    )


def _path(parts: list[str | int]) -> str:
    return "".join(pointer("", str(part)) for part in parts)


def _values(content: Content) -> int:
    count = 1
    todo: list[Any] = [content]
    while todo:
        node = todo.pop()
        parts = node.values() if is_object(node) else node if is_array(node) else ()
        count += len(parts)
        todo.extend(parts)
    return count


def _too_large() -> NoReturn:
    message = f"a template or schema is at most {SCHEMA_BYTES_MAX} bytes"
    raise InvalidEvent(message, reason="definition_too_large")


def _invalid(message: str) -> NoReturn:
    raise InvalidEvent(message, reason="schema_invalid")


def _expanded_values(schema: dict[str, Any]) -> int:
    """Count the schema's values with each reference put in place; a recursive one never ends.

    Raises:
        InvalidEvent: reason ``schema_invalid``.
    """
    count = patterns = 0
    todo: list[Any] = [schema]
    while todo:
        node = todo.pop()
        if is_array(node):
            count += len(node)
            todo.extend(node)
        elif is_object(node):
            count += len(node)
            patterns += _patterns(node)
            todo.extend(_followed(schema, node, key, value) for key, value in node.items())
        if count > SCHEMA_VALUES_MAX:
            _invalid(f"a schema has at most {SCHEMA_VALUES_MAX} values and no recursion")
        if patterns > SCHEMA_PATTERNS_MAX:
            _invalid(f"a schema has at most {SCHEMA_PATTERNS_MAX} patterns")
    return count


def _patterns(node: dict[str, Any]) -> int:
    several = node.get("patternProperties")
    return isinstance(node.get("pattern"), str) + (len(several) if is_object(several) else 0)


def _followed(root: dict[str, Any], node: dict[str, Any], key: str, value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return what stands for a keyword's value: the part of the schema a reference names."""
    if key in _ELSEWHERE and isinstance(value, str):
        _invalid(f"a schema may not use {key}: references are #/... alone")
    if key in _IDENTIFIERS and isinstance(value, str) and node is not root:
        _invalid("only the whole schema may have an identifier")
    if key != "$ref" or not isinstance(value, str):
        return value
    if value != "#" and not value.startswith("#/"):
        _invalid("a schema may refer only to its own parts (#/...)")
    found: Any = root
    for part in unquote(value).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if is_array(found) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif is_object(found) and name in found:
            found = found[name]
        else:
            _invalid("a schema refers to a part that it does not have")
    return found


@lru_cache(maxsize=64)
def _compiled(body: str) -> tuple[jsonschema_rs.Validator, int]:
    """Return a schema's validator and its number of values with references put in place."""
    schema = orjson.loads(body)
    values = _expanded_values(schema)
    try:
        validator = jsonschema_rs.validator_for(
            schema,
            offline=True,
            validate_formats=False,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES_MAX),
        )
    except ValueError as error:
        message = "the schema is not a valid JSON Schema"
        raise InvalidEvent(message, reason="schema_invalid", detail=str(error)[:200]) from None
    return validator, values
