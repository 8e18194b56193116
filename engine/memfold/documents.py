"""How one update changes one working memory: merge, replace, append, edit. Pure, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

from memfold.canonical import encode, same
from memfold.definitions import Content, Definition, Format, added_violation
from memfold.errors import Rejected
from memfold.events import Edit, MemoryAppended, MemoryEdited, MemoryMerged, MemoryReplaced
from memfold.limits import (
    DOCUMENT_BYTES_MAX,
    PATHS_BYTES_MAX,
    PATHS_FREE_BYTES,
    WRITTEN_BYTES_MAX,
)
from memfold.merge import merge
from memfold.provenance import (
    Lines,
    Pointers,
    Position,
    Provenance,
    paths_size,
    replaced_json,
    replaced_text,
)
from memfold.state import Document

ESCAPE_BYTES_MAX: Final = 6
"""What JSON writes for one character at most: a control character becomes six."""

MemoryUpdate = MemoryMerged | MemoryReplaced | MemoryAppended | MemoryEdited


@dataclass(frozen=True, slots=True)
class Updated:
    """The document after an update; None where nothing changed. ``note`` says how an edit went."""

    document: Document | None
    note: str = ""


def update(
    document: Document | None,
    definition: Definition | None,
    change: MemoryUpdate,
    position: Position,
    time_us: int,
) -> Updated:
    """Apply one update.

    Raises:
        Rejected: reason ``not_mergeable``, ``not_text``, ``format_mismatch``,
            ``document_too_large`` or ``schema_violation``; nothing is half applied.
    """
    note = ""
    match change:
        case MemoryMerged():
            content, provenance, size_max = _merged(document, change, position)
        case MemoryReplaced():
            content, provenance, size_max = _replaced(document, change.content, position)
        case MemoryAppended():
            text = _append(_text(document), change.content)
            content, provenance, size_max = _replaced(document, text, position)
        case MemoryEdited():
            edited, note = _edit(_text(document), change.content)
            if edited is None:
                return Updated(None, note)
            content, provenance, size_max = _replaced(document, edited, position)
    if content is None:
        return Updated(None, note)
    form: Format = "markdown" if isinstance(content, str) else "json"
    # A document that had the wrong form before may keep it while it is changed in parts.
    keeps = document is not None and document.format == form and change.mode != "replace"
    if definition is not None and definition.format != form and not keeps:
        _reject("format_mismatch", f"the definition in force asks for {definition.format}")
    if size_max > DOCUMENT_BYTES_MAX and form == "json":
        size_max = _size(content)
    if size_max > DOCUMENT_BYTES_MAX or _written_size(content) > WRITTEN_BYTES_MAX:
        _reject("document_too_large", f"a working memory is at most {DOCUMENT_BYTES_MAX} bytes")
    place = added_violation(definition, None if document is None else document.content, content)
    if place is not None:
        # The place in the schema, not in the document: keys of a memory are contents too.
        _reject("schema_violation", f"the result breaks the schema in force at {place}")
    steps = document.steps + 1 if document is not None else 1
    return Updated(
        Document(
            content=content,
            format=form,
            changed=position,
            changed_at_us=time_us,
            provenance=provenance,
            size_max=size_max,
            steps=steps,
        ),
        note,
    )


def _merged(
    document: Document | None, change: MemoryMerged, position: Position
) -> tuple[Content | None, Provenance, int]:
    if document is None:
        base: Any = None
        known: Pointers = {}
    elif isinstance(document.content, str):
        _reject("not_mergeable", "merge needs a JSON document, this working memory is text")
    else:
        base = document.content
        known = dict(cast("Pointers", document.provenance))
    patch_size = _size(change.content)
    _check_paths(change.content, patch_size)
    content, changed = merge(base, change.content, known, position)
    if not changed:
        return None, known, 0
    # Exact sizes cost a pass over the document, so they are taken only near the limit: what a merge
    # adds is never longer than the patch itself.
    grown = (document.size_max if document is not None else 0) + patch_size
    if grown > PATHS_FREE_BYTES and sum(map(len, known)) > PATHS_BYTES_MAX:
        _reject_paths()
    return content, known, grown


def _replaced(
    document: Document | None, content: Content, position: Position
) -> tuple[Content | None, Provenance, int]:
    if document is not None and same(document.content, content):
        return None, document.provenance, 0
    size = _size(content)
    _check_paths(content, size)
    return content, _provenance(document, content, position), size


def _provenance(document: Document | None, content: Content, position: Position) -> Provenance:
    if isinstance(content, str):
        lines = content.split("\n")
        if document is None or not isinstance(document.content, str):
            return [position] * len(lines)
        known_lines = cast("Lines", document.provenance)
        return replaced_text(document.content.split("\n"), lines, known_lines, position)
    if document is None or isinstance(document.content, str):
        return replaced_json(None, content, {}, position)
    return replaced_json(document.content, content, cast("Pointers", document.provenance), position)


def _text(document: Document | None) -> str | None:
    if document is None:
        return None
    if not isinstance(document.content, str):
        _reject("not_text", "append and edit need a text document, this working memory is JSON")
    return document.content


def _append(old: str | None, text: str) -> str:
    if old is None or not old:
        return text
    return f"{old}\n{text}"


def _edit(old: str | None, edit: Edit) -> tuple[str | None, str]:
    """Return the text after an edit and how it went; None where it changes nothing."""
    if old is not None and edit.search in old:
        return old.replace(edit.search, edit.replacement, 1), "replaced"
    if not edit.replacement:
        # Removing what is not there must not leave an empty line behind.
        return None, "absent"
    return _append(old, edit.replacement), "appended"


def _size(content: Content) -> int:
    return len(content.encode()) if isinstance(content, str) else len(encode(content))


def _written_size(content: Content) -> int:
    """Return the bytes of a text as JSON writes it, where escapes may take it over the limit."""
    if not isinstance(content, str) or len(content) * ESCAPE_BYTES_MAX <= WRITTEN_BYTES_MAX:
        return 0
    return len(encode(content))


def _check_paths(content: Content, size: int) -> None:
    """Refuse what would fill the memory: long keys above many leaves make every path long."""
    if isinstance(content, str) or size <= PATHS_FREE_BYTES:
        return
    if paths_size(content) > PATHS_BYTES_MAX:
        _reject_paths()


def _reject_paths() -> NoReturn:
    _reject("document_too_large", "the keys above a working memory's values are too long")


def _reject(reason: str, message: str) -> NoReturn:
    raise Rejected(message, reason=reason)
