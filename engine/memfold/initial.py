"""The document that a working memory begins with, put there only where there is none yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from memfold.building import build
from memfold.errors import EngineUnavailable, Rejected, RevisionConflict

if TYPE_CHECKING:
    from memfold.because import Because
    from memfold.client import Client, Intent
    from memfold.receipts import Receipt
    from memfold.subjects import Address
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


@dataclass(frozen=True, slots=True)
class Creation:
    """The creation of a thread, not sent yet."""

    client: Client
    address: Address
    data: Mapping[str, Any]
    intent: Intent

    async def send(self) -> Receipt:
        """Publish it."""
        return await self.client.write(self.address, [("ThreadCreated", self.data)], self.intent)

    async def is_begun(self) -> bool:
        """Tell whether the thread is there; where nobody can tell, it is taken for a new one."""
        arguments = {"thread": self.address.thread}
        try:
            answer = await self.client.queries.ask(
                "thread", self.address.resource, arguments, patience_s=0.0
            )
        except EngineUnavailable:
            return False
        return answer["thread_state"] is not None

    def check(self, content: str | Mapping[str, Any]) -> None:
        """Find out what cannot be published, of both halves, before the first one is."""
        build(self.address, "ThreadCreated", self.data)
        address = self.client.address(self.address.resource, self.address.thread, "memory")
        update = {"scope": "thread", "mode": "replace", "content": content}
        build(address, "WorkingMemoryUpdated", update)


async def create_with(
    memory: WorkingMemory, content: str | Mapping[str, Any], creation: Creation
) -> Receipt:
    """Create a thread with a first memory; its receipt speaks for both.

    A thread that is there may have been created, too: then nothing is put. A new one gets its
    memory first, because then a creation that was cut in between can be run again.

    Raises:
        NotYetConsistent, EngineUnavailable: nobody can tell yet whether it was created.
    """
    creation.check(content)
    begun = await creation.is_begun()
    receipt = await creation.send() if begun else None
    if receipt is not None:
        try:
            await receipt.applied()
        except Rejected:
            return receipt
    intent = creation.intent
    first = await put_initial(
        memory, content, because=intent.because, correlation=intent.correlation
    )
    receipt = receipt or await creation.send()
    return receipt if first is None else replace(receipt, _first=first)
