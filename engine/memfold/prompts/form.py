"""Which form a working memory has for a model: Markdown or JSON, its definition, how to change it.

The document decides where there is one, as the fold does: a document that does not fit its
definition keeps its form while it is changed in parts, so that nothing stored is thrown away.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from memfold.errors import InvalidRequest
from memfold.prompts.texts import DEFAULT_TEMPLATE
from memfold.reads import MemoryRead

Mode = Literal["append", "edit", "replace"]
"""A way for a model to change a text memory."""
MODES: Final[tuple[Mode, ...]] = ("append", "edit", "replace")
"""How a model may change a text memory; a JSON memory is merged."""


@dataclass(frozen=True, slots=True)
class MemoryForm:
    """A memory as a model is told of it; ``modes`` is empty for a JSON memory.

    ``template`` is what a text memory should keep to, ``schema`` what a JSON memory must fit. Where
    the document has not the form of its definition, both are None.
    """

    kind: Literal["markdown", "json"]
    template: str | None
    schema: dict[str, Any] | None
    modes: tuple[Mode, ...]
    content: str | dict[str, Any] | None


def memory_form(read: MemoryRead, modes: tuple[Mode, ...] = MODES) -> MemoryForm:
    """Return the form of a memory that was read, with the modes that are allowed and possible."""
    content = None if read.state is None else read.state.content
    template = None if read.definition is None else read.definition.template
    schema = None if read.definition is None else read.definition.json_schema
    if isinstance(content, dict) or (content is None and schema is not None):
        return MemoryForm("json", None, schema, (), content)
    if schema is not None:
        # The fold takes no new text document here, but changes of the one that is there.
        return MemoryForm("markdown", None, None, _without_replace(modes), content)
    shown = DEFAULT_TEMPLATE if template is None else template
    return MemoryForm("markdown", shown, None, modes, content)


def check_modes(modes: Collection[str]) -> tuple[Mode, ...]:
    """Return the modes that a caller allows, in our order.

    Raises:
        InvalidRequest: none, or one that there is not.
    """
    given: frozenset[object] = frozenset(modes)
    known: tuple[Mode, ...] = tuple(mode for mode in MODES if mode in given)
    if not known or given != frozenset(known):
        problem = f"modes= takes one or several of {', '.join(MODES)}"
        raise InvalidRequest(problem)
    return known


def _without_replace(modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
    return tuple(mode for mode in modes if mode != "replace") or ("append", "edit")
