"""What the memory tool answers: a short text for the model, plain facts for its program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from memfold.prompts.calls import BadCallError, Call, MergeCall
from memfold.prompts.system import data_block
from memfold.receipts import Receipt

SAVED: Final = {
    "merge": "Saved.",
    "append": "Saved: added at the end.",
    "replaced": "Saved: the first place where search stands now has content instead.",
    "appended": "Saved, but search does not stand in the document: content was added at its end.",
    "replace": "Saved: this is now the whole document.",
}
STARTED: Final = "Saved: this is the beginning of the working memory."
UNCHANGED: Final = "Nothing has changed: the working memory holds this already."
LATER: Final = "Nothing was written. Call again when there is something to keep."


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What became of a call. ``text`` is for the model.

    ``ok`` is False where the model should try again in another way; ``changed`` tells whether the
    memory is another one now. ``code`` is stable: "applied", "unchanged", "duplicate", or why
    nothing was written. ``revision`` is the state that the model knows from here on, None if it
    knows no other than before; ``receipt`` is there if an event was published.
    """

    text: str
    ok: bool
    changed: bool
    code: str
    revision: int | None = None
    receipt: Receipt | None = None


def saved(
    call: Call, note: str, receipt: Receipt, *, begun: bool, revision: int | None
) -> ToolAnswer:
    """Return the answer to a call that changed the memory; ``note`` says how an edit went."""
    name = "merge" if isinstance(call, MergeCall) else note or call.mode
    text = STARTED if begun else SAVED.get(name, SAVED["merge"])
    return ToolAnswer(
        text, ok=True, changed=True, code="applied", revision=revision, receipt=receipt
    )


def unchanged(code: str = "unchanged", receipt: Receipt | None = None) -> ToolAnswer:
    """Return the answer to a call that asks for what is there already."""
    return ToolAnswer(UNCHANGED, ok=True, changed=False, code=code, receipt=receipt)


def refused(error: BadCallError, receipt: Receipt | None = None) -> ToolAnswer:
    """Return the answer to a call that wrote nothing."""
    return ToolAnswer(error.text, ok=False, changed=False, code=error.code, receipt=receipt)


def outdated(content: str | dict[str, object] | None, revision: int) -> ToolAnswer:
    """Return the answer to a whole new document made from one that is no longer there."""
    now = (
        "It is empty now."
        if not content
        else f"This is what it holds now:\n\n{data_block(content)}"
    )
    text = (
        "Nothing was written: the working memory has changed since you saw it, and a whole new "
        f"document would undo that. {now}\n\nCall again, with what is to stay."
    )
    return ToolAnswer(text, ok=False, changed=False, code="conflict", revision=revision)
