"""The envelope: what every event says of itself, whatever its type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from memfold.values import Id, Time


class Envelope(BaseModel):
    """The CloudEvents 1.0 attributes of one event, without its data.

    ``source`` is the actor; it, ``resourceid`` and ``threadid`` must equal the subject's ids, which
    is all the check they need. ``salt`` makes the digest of an erased payload unguessable.
    ``incarnation`` is the life of the thread that the publisher has read.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Id
    type: Annotated[str, Field(min_length=1, max_length=64)]
    source: str
    time: Time | None = None
    dataversion: Annotated[int, Field(ge=1)] = 1
    resourceid: str | None = None
    threadid: str | None = None
    salt: Annotated[str, Field(max_length=64)] | None = None
    causationid: Id | None = None
    correlationid: Id | None = None
    incarnation: Annotated[int, Field(ge=1)] | None = None
