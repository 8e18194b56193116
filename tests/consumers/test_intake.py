"""How the intake knows that its consumer is gone: by silence, while something was asked for."""

from __future__ import annotations

from typing import Any, cast

from memfold_consumers.intake import OUTSTANDING, Intake


class Wire:
    """Takes what the intake sends, and answers nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, str]] = []

    def new_inbox(self) -> str:
        return "_INBOX.x"

    async def publish(self, subject: str, payload: bytes, reply: str) -> None:
        self.sent.append((subject, payload, reply))


async def test_asking_for_more_does_not_count_as_having_heard_the_server() -> None:
    """Only the first request after a pause begins the wait for a sign of life."""
    wire = Wire()
    intake = Intake(cast("Any", wire), "memfold", 0)
    intake._heard_at = -1.0
    await intake._pull()
    assert intake._heard_at > 0
    assert len(wire.sent) == OUTSTANDING
    del intake._pulls["1"]
    intake._heard_at = -1.0
    await intake._pull()
    assert len(wire.sent) == OUTSTANDING + 1
    assert intake._heard_at == -1.0
