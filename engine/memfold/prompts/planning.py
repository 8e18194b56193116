"""What a call would do to the memory that was read, and whether that is wanted. Pure.

A model's slip must not cost what is stored: an empty form over a filled one, the same lines twice,
a whole document made from an old one. The fold allows all of that, a program may want it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memfold.canonical import same
from memfold.checking import check_update
from memfold.definitions import make_definition, violations
from memfold.documents import MemoryUpdate
from memfold.errors import InvalidEvent, Rejected
from memfold.events import Edit, MemoryAppended, MemoryEdited, MemoryMerged, MemoryReplaced
from memfold.merge import merge_patch
from memfold.prompts.answers import LATER, ToolAnswer, outdated, unchanged
from memfold.prompts.calls import BadCallError, Call, MergeCall, TextCall
from memfold.prompts.form import MemoryForm
from memfold.reads import MemoryRead
from memfold.templates import is_empty_template

VIOLATIONS_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """A call that is to be carried out.

    ``expected`` is the revision that it must come after; where it is not ``needed``, the call is a
    delta and good after any other, too.
    """

    call: Call
    expected: int | None
    needed: bool


def plan(call: Call, read: MemoryRead, form: MemoryForm, seen: int | None) -> Plan | ToolAnswer:
    """Return what to write, or the answer if nothing is to be written.

    ``seen`` is the revision of the state that the model was shown, None if nobody knows.

    Raises:
        BadCallError: the call is refused.
    """
    if isinstance(call, MergeCall):
        answer = _merge(call, form)
        return answer or _checked(call, read, Plan(call, None, needed=False))
    if call.mode == "replace" and seen is not None and seen != read.revision:
        return outdated(form.content, read.revision)
    answer = _text(call, form)
    whole = call.mode == "replace"
    expected = read.revision if whole or seen == read.revision else None
    return answer or _checked(call, read, Plan(call, expected, needed=whole))


def _merge(call: MergeCall, form: MemoryForm) -> ToolAnswer | None:
    merged = merge_patch(form.content, call.patch)
    return unchanged() if same(merged, form.content or {}) else None


def _text(call: TextCall, form: MemoryForm) -> ToolAnswer | None:
    old = form.content if isinstance(form.content, str) else ""
    found = call.mode == "edit" and call.search in old
    if found:
        return unchanged() if call.search == call.content else None
    if call.mode == "edit" and not call.content:
        text = "search does not stand in the document, so there is nothing to remove."
        raise BadCallError("not_found", f"{text} Nothing was written.")
    if not call.content.strip():
        text = (
            "content is empty; to remove something, use mode edit." if old else "content is empty."
        )
        raise BadCallError("empty_content", f"{text} {LATER}")
    if form.template is not None and is_empty_template(call.content, form.template):
        raise BadCallError("empty_template", f"This is the empty template. {LATER}")
    if call.mode == "replace":
        return unchanged() if call.content == old else None
    return unchanged("duplicate") if holds(old, call.content) else None


def holds(document: str, text: str) -> bool:
    """Tell whether the lines of a text stand in a document, together and in their order.

    White space does not count. Whole lines do: "tea" is not held by "no tea, please".
    """
    lines, wanted = (
        "\n".join(words for line in whole.splitlines() if (words := " ".join(line.split())))
        for whole in (document, text)
    )
    return f"\n{wanted}\n" in f"\n{lines}\n"


def _checked(call: Call, read: MemoryRead, ready: Plan) -> Plan:
    """Return the plan if the fold would take it now; it decides anew when it comes to it."""
    try:
        check_update(read, _change(call))
    except (Rejected, InvalidEvent) as error:
        raise rejected(error.reason, error.message, call, read) from None
    return ready


def rejected(reason: str, message: str, call: Call, read: MemoryRead) -> BadCallError:
    """Return how a model is told that the fold would not take, or did not take, its change."""
    if reason != "schema_violation" or read.definition is None:
        return BadCallError(reason, f"Nothing was written: {message}.")
    if not isinstance(call, MergeCall) or read.definition.json_schema is None:
        return BadCallError(reason, f"Nothing was written: {message}.")
    content: Any = None if read.state is None else read.state.content
    definition = make_definition(None, read.definition.json_schema)
    listed = violations(definition, merge_patch(content, call.patch), VIOLATIONS_SHOWN_MAX)
    shown = "".join(f"\n- {each}" for each in listed)
    return BadCallError(
        reason, f"Nothing was written: the document would not fit its schema.{shown}"
    )


def _change(call: Call) -> MemoryUpdate:
    if isinstance(call, MergeCall):
        return MemoryMerged(scope="resource", content=call.patch)
    if call.mode == "append":
        return MemoryAppended(scope="resource", content=call.content)
    if call.mode == "edit":
        edit = Edit(search=call.search, replacement=call.content)
        return MemoryEdited(scope="resource", content=edit)
    return MemoryReplaced(scope="resource", content=call.content)
