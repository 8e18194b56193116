"""The messages of one turn: which are new, which ids they get, what of them is kept. Pure.

A message without an id gets one made from the run and from what it says. So a turn that is saved
twice, or run again under the same run after its process died, stores each message once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from pydantic import ValidationError

from memfold.canonical import encode
from memfold.errors import InvalidEvent
from memfold.events import MessageBody
from memfold.gate import check

ID_HEX: Final = 16


def only_new(given: Sequence[dict[str, Any]], *, begun: bool) -> list[dict[str, Any]]:
    """Return what is new of a conversation that was handed in whole.

    All of it for a thread that has not ``begun``. Else what comes after the last thing the
    assistant said, since that was stored when it was said.
    """
    if not begun:
        return list(given)
    said = [place for place, message in enumerate(given) if message["role"] == "assistant"]
    return list(given[said[-1] + 1 :]) if said else list(given)


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Refuse messages that have not the shape of one, before a model is asked about them.

    Raises:
        InvalidEvent: the fold would park it, under this ``reason``.
    """
    for message in messages:
        try:
            MessageBody.model_validate(message)
        except ValidationError as error:
            # Where, and not what: contents stay out of errors.
            found = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, found["loc"][:3]))
            problem = f"a message does not fit at {place}: {found['type']}"
            raise InvalidEvent(problem, reason="invalid_data") from None


def with_ids(messages: Sequence[dict[str, Any]], run: str) -> list[dict[str, Any]]:
    """Return messages that each have an id; equal ones of one list get different ids.

    Raises:
        InvalidEvent: something in them is not JSON.
    """
    seen: dict[str, int] = {}
    found: list[dict[str, Any]] = []
    for message in messages:
        check(message)
        id_ = message.get("id")
        if not id_:
            digest = sha256(encode([message["role"], message["content"]])).hexdigest()[:ID_HEX]
            seen[digest] = seen.get(digest, 0) + 1
            number = seen[digest]
            id_ = f"{run}.{digest}" if number == 1 else f"{run}.{digest}.{number}"
        found.append({**message, "id": id_})
    return found


def without(
    stored: Sequence[dict[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return stored messages that are not among the new ones: each is shown once, as it is now."""
    ids = {message["id"] for message in new}
    return [message for message in stored if message["id"] not in ids]
