"""The document that a working memory begins with, put there only where there is none yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from memfold.errors import RevisionConflict

if TYPE_CHECKING:
    from memfold.because import Because
    from memfold.receipts import Receipt
    from memfold.working_memory import WorkingMemory

TRIES_MAX: Final = 10
"""Another try comes only after somebody else's write that left no document: a rejected one."""


async def put_initial(
    memory: WorkingMemory,
    content: str | Mapping[str, Any],
    *,
    reason: str | None = None,
    because: Because = None,
    correlation: str | None = None,
) -> Receipt | None:
    """Publish a first document; None: there is one, which stays as it is.

    The stream itself refuses to put it after another write, so of several clients one wins. An
    engine is asked only where the memory's subject has events already.

    Raises:
        EngineUnavailable: there are events, and nobody can say whether they left a document.
        RevisionConflict: others wrote without pause what the fold rejected.
    """
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            return await memory.replace(
                content,
                reason=reason,
                because=because,
                expected=0,
                correlation=correlation,
            )
        except RevisionConflict:
            if await memory.get() is not None:
                return None
            if not tries_left:
                raise
    return None
