"""Subjects: who publishes what about whose memory. The subject is the authority, not the body.

Published as ``{namespace}.publish.{resource}.{thread or _}.{facet}.{actor}``, stored by the
stream's transform as ``{namespace}.events.{partition}.{resource}.{thread or _}.{facet}.{actor}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NoReturn, get_args

from memfold.errors import InvalidEvent, InvalidId
from memfold.ids import decode_token, encode_token

Facet = Literal["memory", "messages", "thread", "resource", "erasure"]
"""What part of a thread or resource an event changes."""
FACETS: Final[frozenset[str]] = frozenset(get_args(Facet))
PARTITIONS: Final = 16

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STORED_TOKENS: Final = 7
_NONE: Final = "_"


@dataclass(frozen=True, slots=True)
class Address:
    """Whose document an event changes, which facet of it, and who says so.

    ``resource`` is None for the namespace's defaults, ``thread`` is None for resource scope.
    """

    resource: str | None
    thread: str | None
    facet: Facet
    actor: str

    def tokens(self) -> str:
        """Return ``{resource}.{thread}.{facet}.{actor}`` as subject tokens."""
        return f"{self.document_tokens()}.{encode_token(self.actor)}"

    def document_tokens(self) -> str:
        """Return ``{resource}.{thread}.{facet}``: the part that names the document."""
        resource = _NONE if self.resource is None else encode_token(self.resource)
        thread = _NONE if self.thread is None else encode_token(self.thread)
        return f"{resource}.{thread}.{self.facet}"


def check_namespace(namespace: str) -> str:
    """Return the namespace if it is 1 to 64 of ``[A-Za-z0-9_-]`` (it names streams and files)."""
    if not _NAMESPACE.fullmatch(namespace):
        message = f"a namespace is 1 to 64 letters, digits, _ or -, not {namespace[:80]!r}"
        raise InvalidId(message)
    return namespace


def publish_subject(namespace: str, address: Address) -> str:
    """Return the subject to publish an event of this address to."""
    return f"{namespace}.publish.{address.tokens()}"


def stored_filter(namespace: str, address: Address) -> str:
    """Return the filter that matches all stored events of this document facet, of any actor."""
    return f"{namespace}.events.*.{address.document_tokens()}.*"


def stream_subjects(namespace: str) -> str:
    """Return the wildcard subject that the event stream listens to."""
    return f"{namespace}.publish.*.*.*.*"


def stream_transform(namespace: str) -> str:
    """Return the target of the stream's subject transform; the server computes the partition."""
    return (
        f"{namespace}.events.{{{{partition({PARTITIONS},1)}}}}."
        "{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}.{{wildcard(4)}}"
    )


def refill_subjects(namespace: str) -> str:
    """Return the only subject that the event stream listens to while it is being restored."""
    return f"{namespace}.refill.>"


def query_subject(namespace: str, operation: str, resource: str | None) -> str:
    """Return the request subject of a query operation."""
    token = _NONE if resource is None else encode_token(resource)
    return f"{namespace}.query.{operation}.{token}"


@lru_cache(maxsize=65536)
def parse_stored(namespace: str, subject: str) -> Address:
    """Return the address of a stored subject.

    Raises:
        InvalidEvent: reason ``subject_invalid`` (not of our form, unknown facet, a thread without a
            resource) or ``subject_not_canonical`` (a token that is not its id's own form).
    """
    tokens = subject.split(".")
    if len(tokens) != _STORED_TOKENS or tokens[:2] != [namespace, "events"]:
        _not_ours()
    _, _, _, resource, thread, facet, actor = tokens
    if facet not in FACETS or (resource == _NONE and thread != _NONE):
        _not_ours()
    try:
        return Address(
            resource=None if resource == _NONE else decode_token(resource),
            thread=None if thread == _NONE else decode_token(thread),
            facet=facet,  # type: ignore[arg-type]  # checked against FACETS above
            actor=decode_token(actor),
        )
    except InvalidId as error:
        message = f"not canonical: {error}"
        raise InvalidEvent(message, reason="subject_not_canonical") from None


def _not_ours() -> NoReturn:
    message = (
        "the subject is not {namespace}.events.{partition}.{resource}.{thread}.{facet}.{actor}"
    )
    raise InvalidEvent(message, reason="subject_invalid")
