"""Templates, the Markdown forms of a working memory: what tells an empty one from a filled one.

Pure, and not part of the fold: a memory may well hold its empty template. It is a client's checks
and tools that take it for a slip when somebody's data would go for it.
"""

from __future__ import annotations

from memfold.definitions import Content


def is_empty_template(text: str, template: str) -> bool:
    """Tell whether a text is the template with nothing filled in, whatever its white space.

    A blank template asks for nothing, so no text is taken for an empty one.
    """
    words = template.split()
    return bool(words) and text.split() == words


def loses_data(old: Content | None, new: Content, template: str) -> bool:
    """Tell whether a whole new document is the empty template laid over one that holds more."""
    if old is None or not isinstance(new, str) or not is_empty_template(new, template):
        return False
    return not isinstance(old, str) or bool(old.strip() and not is_empty_template(old, template))
