"""What a client can say of an update before it is sent: the fold's own rules on what was read.

Pure. The fold stays the authority: what others write between this check and the log counts there.
"""

from __future__ import annotations

from memfold import documents
from memfold.definitions import Content, make_definition
from memfold.documents import MemoryUpdate
from memfold.errors import Rejected
from memfold.events import MemoryReplaced
from memfold.reads import MemoryRead
from memfold.state import Document
from memfold.templates import loses_data


def check_update(found: MemoryRead, change: MemoryUpdate) -> None:
    """Refuse an update that the fold would reject if it came next, in the fold's own words.

    Raises:
        Rejected: a reason of :func:`memfold.documents.update`; or ``empty_template``, which the
            fold does not know: the empty template would replace data.
    """
    old = None if found.state is None else found.state.content
    template = None if found.definition is None else found.definition.template
    schema = None if found.definition is None else found.definition.json_schema
    documents.update(
        None if old is None else _document(old),
        make_definition(template, schema),
        change,
        (0, 0),
        0,
    )
    if template is None or not isinstance(change, MemoryReplaced):
        return
    if loses_data(old, change.content, template):
        message = "this is the empty template, and the working memory holds data: fill it in"
        raise Rejected(message, reason="empty_template")


def _document(content: Content) -> Document:
    """Return a document as the fold has it: what decides outcomes follows from its content."""
    written = MemoryReplaced(scope="resource", content=content)
    document = documents.update(None, None, written, (0, 0), 0).document
    assert document is not None, "nothing is always changed by something"
    return document
