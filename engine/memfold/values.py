"""The values that wire shapes are made of: ids, times, and the base of all shapes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from memfold.errors import InvalidId
from memfold.ids import check_id
from memfold.limits import BATCH_EVENTS_MAX, ID_BYTES_MAX


def _id(value: str) -> str:
    if len(value) <= ID_BYTES_MAX and value.isascii() and value:
        return value
    try:
        return check_id(value)
    except InvalidId as error:
        raise ValueError(error.message) from None


Id = Annotated[str, AfterValidator(_id)]
"""Any non-empty text up to 256 bytes of UTF-8."""

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def _time(value: object) -> datetime:
    # The forms that Python's own reader takes differ between its versions, these do not.
    try:
        if isinstance(value, str) and _RFC3339.fullmatch(value):
            value = datetime.fromisoformat(value.upper())
        if isinstance(value, datetime) and value.tzinfo is not None:
            # A moment that UTC cannot write would stop whoever shows it.
            return value.astimezone(UTC) if value.year in {1, 9999} else value
    except (ValueError, OverflowError):
        pass
    message = "not RFC 3339 text with an offset, within the years 1 to 9999 of UTC"
    raise ValueError(message)


Time = Annotated[
    datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""RFC 3339 text with an offset, or an aware datetime, within the years 1 to 9999 of UTC."""


Sequence = Annotated[int, Field(ge=1, lt=1 << 62)]
"""A sequence of the stream."""
Index = Annotated[int, Field(ge=0, lt=BATCH_EVENTS_MAX)]
"""An event's place in its batch."""
Position = Annotated[tuple[Sequence, Index], Field(strict=False)]
"""(sequence, index in the batch); JSON has arrays only."""
Range = Annotated[tuple[Sequence, Sequence], Field(strict=False)]
"""The first and the last of some sequences."""


class Model(BaseModel):
    """Base of every wire shape: frozen, strict types, no unknown fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
