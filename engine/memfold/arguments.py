"""What callers hand over, looked at before anything is sent: a mistake gets a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeGuard, cast

from memfold.canonical import from_us, to_us
from memfold.errors import InvalidId, InvalidRequest
from memfold.ids import check_id

Moment = int | datetime
"""A sequence, or an aware time: then the last sequence that was recorded by then."""
SEQUENCE_MAX: Final = (1 << 63) - 1


def json_object(value: object, what: str) -> dict[str, Any]:
    """Return a copy of a mapping; what is in it is looked at when the event is built.

    Raises:
        InvalidRequest: it is something else.
    """
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    message = f"{what} takes a JSON object (a dict), not {_kind(value)}"
    raise InvalidRequest(message)


def several(value: object, what: str) -> list[Any]:
    """Return the items of a list or the like, at least one.

    Raises:
        InvalidRequest: it is text, nothing that has items, or empty.
    """
    if not _has_items(value):
        message = f"{what} or a list of them are taken, not {_kind(value)}"
        raise InvalidRequest(message)
    items = list(value)
    if not items:
        # A receipt says where events stand in the log, so there is none to return.
        message = f"the list is empty, so there is nothing to write: {what} or several are taken"
        raise InvalidRequest(message)
    return items


def revision(value: object) -> int | None:
    """Return what a write expects to be the last one of its document; None is anything.

    Raises:
        InvalidRequest: not a whole number from 0 on; to the server that could be any number.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= SEQUENCE_MAX:
        message = "expected= takes a revision as it was read, or 0 for none: a number from 0 on"
        raise InvalidRequest(message)
    return value


def count(value: object, what: str) -> int:
    """Return a whole number from 0 on.

    Raises:
        InvalidRequest: it is something else, as a fraction or a truth value.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        message = f"{what} takes a whole number from 0 on"
        raise InvalidRequest(message)
    if value > SEQUENCE_MAX:
        message = f"{what} takes a whole number up to {SEQUENCE_MAX}"
        raise InvalidRequest(message)
    return value


def count_or_none(value: object, what: str) -> int | None:
    """Return the same, or None where nothing is given."""
    return None if value is None else count(value, what)


def position_or_none(value: object, what: str) -> tuple[int, int] | None:
    """Return a position, or None where nothing is given.

    Raises:
        InvalidRequest: it is no pair of numbers.
    """
    if value is None:
        return None
    if isinstance(value, list | tuple):
        pair = cast("Sequence[object]", value)
        if len(pair) == 2:  # noqa: PLR2004  # sequence and index
            return count(pair[0], what), count(pair[1], what)
    message = f"{what} takes the position of a message: its sequence and its index in the batch"
    raise InvalidRequest(message)


def moment(value: object, what: str) -> int | str:
    """Return a moment as the wire has it.

    Raises:
        InvalidRequest: it is neither a number from 0 on nor a time with an offset.
    """
    if not isinstance(value, datetime):
        return count(value, f"{what} (a sequence, or a datetime)")
    if value.tzinfo is None:
        problem = f"{what} takes a datetime with a time zone"
        raise InvalidRequest(problem)
    try:
        return from_us(to_us(value))
    except OverflowError:
        problem = f"{what} is outside the years 1 to 9999 of UTC"
        raise InvalidRequest(problem) from None


def past(as_of: object) -> dict[str, Any]:
    """Return the argument of a question as of a moment; nothing for now."""
    return {} if as_of is None else {"as_of": moment(as_of, "as_of=")}


def ids(value: object, what: str) -> list[str]:
    """Return the ids of a list or the like; there may be none.

    Raises:
        InvalidRequest: it is one text or nothing that has items, or an item is no id.
    """
    if not _has_items(value):
        message = f"{what} takes a list of ids, not {_kind(value)}"
        raise InvalidRequest(message)
    try:
        return [check_id(each) for each in value]
    except InvalidId as error:
        message = f"{what} takes a list of ids: {error.message}"
        raise InvalidRequest(message) from None


def _has_items(value: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _kind(value: object) -> str:
    # Never the value itself: it may be content.
    return "None" if value is None else f"a {type(value).__name__}"
