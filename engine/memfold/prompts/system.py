"""The system message about a working memory: rules and form, which stay, and data, which changes.

Providers can reuse what they have read of a prompt as long as its beginning is the same, byte for
byte. So the part that stays comes first and depends on the definition alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from memfold.prompts.delimit import (
    MEMORY_TAG,
    SCHEMA_TAG,
    TEMPLATE_TAG,
    enclose_json,
    enclose_text,
)
from memfold.prompts.form import MODES, MemoryForm, Mode, memory_form
from memfold.prompts.texts import (
    DATA_HEAD,
    DATA_NONE,
    DATA_NONE_READ_ONLY,
    JSON_RULES,
    MARKDOWN_HEAD,
    MARKDOWN_RULES,
    READ_ONLY,
    SCHEMA_HEAD,
    TEMPLATE_HEAD,
    TOOL_NAME,
    WRITABLE,
)
from memfold.reads import MemoryRead


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """What a model is told of a working memory, as of ``sequence``.

    ``stable`` are the rules and the form: the same bytes as long as the definition stays. ``data``
    is what the memory holds. ``revision`` says which state that is.
    """

    stable: str
    data: str
    revision: int
    sequence: int

    @property
    def text(self) -> str:
        """Both parts, the stable one first."""
        return f"{self.stable}\n\n{self.data}"

    def __str__(self) -> str:
        return self.text


def system_message(
    read: MemoryRead,
    *,
    read_only: bool = False,
    modes: tuple[Mode, ...] = MODES,
    tool_name: str = TOOL_NAME,
) -> SystemMessage:
    """Return what a model is told of a memory that was read."""
    form = memory_form(read, modes)
    stable = READ_ONLY if read_only else _rules(form, tool_name)
    return SystemMessage(stable, _data(form, read_only=read_only), read.revision, read.sequence)


def same_data(now: SystemMessage, since: SystemMessage | int | None) -> bool:
    """Tell whether a model that was told ``since`` knows what it would be told now.

    A revision alone also moves where nothing changed; the message itself says it exactly.
    """
    if isinstance(since, SystemMessage):
        return since.text == now.text
    return since is not None and now.revision <= since


def data_block(content: str | dict[str, object]) -> str:
    """Return a memory's content between its tags."""
    if isinstance(content, str):
        return enclose_text(MEMORY_TAG, content)
    return enclose_json(MEMORY_TAG, content)


def _rules(form: MemoryForm, tool_name: str) -> str:
    parts = [WRITABLE.format(tool=tool_name)]
    if form.kind == "json":
        parts.append(JSON_RULES)
        if form.schema is not None:
            parts += [SCHEMA_HEAD, enclose_json(SCHEMA_TAG, form.schema)]
    else:
        rules = "\n".join(f"- {MARKDOWN_RULES[mode]}" for mode in form.modes)
        parts.append(f"{MARKDOWN_HEAD}\n\n{rules}")
        if form.template is not None:
            parts += [TEMPLATE_HEAD, enclose_text(TEMPLATE_TAG, form.template)]
    return "\n\n".join(parts)


def _data(form: MemoryForm, *, read_only: bool) -> str:
    if form.content is None or form.content in ("", {}) or _blank(form.content):
        return DATA_NONE_READ_ONLY if read_only else DATA_NONE
    return f"{DATA_HEAD}\n\n{data_block(form.content)}"


def _blank(content: object) -> bool:
    return isinstance(content, str) and not content.strip()
