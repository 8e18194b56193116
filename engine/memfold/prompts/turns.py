"""The messages of one turn: which are new, which ids they get, what of them is kept. Pure.

A message without an id gets one made from the run and from what it says. So a turn that is saved
twice, or run again under the same run after its process died, stores each message once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from pydantic import ValidationError

from memfold.canonical import encode
from memfold.errors import InvalidEvent, InvalidRequest, TooLarge
from memfold.events import MessageBody
from memfold.gate import check
from memfold.limits import METADATA_BYTES_MAX

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
        TooLarge: its metadata is larger than 64 KiB.
        InvalidRequest: two of them have one id and say something else, so one would be lost.
    """
    said: dict[str, tuple[object, object]] = {}
    for number, message in enumerate(messages, start=1):
        try:
            MessageBody.model_validate(message)
        except ValidationError as error:
            # Where, and not what: contents stay out of errors.
            found = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, found["loc"][:3]))
            problem = f"message {number} does not fit at {place}: {found['type']}"
            raise InvalidEvent(problem, reason="invalid_data") from None
        if len(encode(message.get("metadata", {}))) > METADATA_BYTES_MAX:
            problem = f"the metadata of message {number} is larger than {METADATA_BYTES_MAX} bytes"
            raise TooLarge(problem, reason="metadata_too_large")
        says = (message["role"], message["content"])
        if said.setdefault(message["id"], says) != says:
            problem = f"two messages of this turn have the id {message['id']!r}: give each its own"
            raise InvalidRequest(problem)


@dataclass(slots=True)
class Told:
    """What a turn was told to store so far, as keys, and the last part of it.

    So the same words said once more are told from a list that is handed over once more.
    """

    whole: list[str] = field(default_factory=list[str])
    last: list[str] = field(default_factory=list[str])

    def before(self, keys: Sequence[str]) -> list[str]:
        """Return what was said before these: one that begins like all, or the last, repeats it."""
        if keys[: len(self.whole)] == self.whole:
            return []
        again = keys[: len(self.last)] == self.last
        return self.whole[: -len(self.last)] if again else self.whole

    def note(self, keys: list[str]) -> None:
        """Note what was stored."""
        if keys:
            self.whole, self.last = [*self.before(keys), *keys], keys


def keys_of(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what tells each message from others: its id, else what it says.

    Raises:
        InvalidEvent: something in them is not JSON.
    """
    return [_key(message) for message in messages]


def with_ids(
    messages: Sequence[dict[str, Any]], run: str, earlier: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return messages that each have an id; equal ones get different ids.

    ``earlier`` are the keys of those that came before them in the same run.

    Raises:
        InvalidEvent: something in them is not JSON.
    """
    seen = Counter(earlier)
    found: list[dict[str, Any]] = []
    for message, key in zip(messages, keys_of(messages), strict=True):
        seen[key] += 1
        number = seen[key]
        id_ = f"{run}.{key}" if number == 1 else f"{run}.{key}.{number}"
        found.append({**message, "id": message.get("id") or id_})
    return found


def _key(message: Mapping[str, Any]) -> str:
    check(message)
    if message.get("id"):
        return f"id {message['id']}"
    return sha256(encode([message["role"], message["content"]])).hexdigest()[:ID_HEX]


def without(
    stored: Sequence[dict[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return stored messages that are not among the new ones: each is shown once, as it is now."""
    ids = {message["id"] for message in new}
    return [message for message in stored if message["id"] not in ids]
