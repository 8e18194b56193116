"""The heads that a log is held against: each with where it is from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from memfold.audit.heads import Head, read_head
from memfold.canonical import is_array
from memfold.errors import InvalidRequest
from memfold_consumers.line_files import read_lines
from memfold_consumers.tree_state import HEADS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from memfold.audit.findings import Findings

GIVEN: Final = "given"
GIVEN_MAX: Final = 10_000
"""Heads in the arguments of one job."""

_FORM: Final = f'"heads" is at most {GIVEN_MAX} of [size, root, place]'


@dataclass(frozen=True, slots=True)
class Claim:
    """A head that somebody says the log had, and where it stands."""

    head: Head
    where: str


def from_file(directory: Path, published: Iterable[Claim], findings: Findings) -> list[Claim]:
    """Return the heads of the directory's file.

    One that was also published must stand there just as it was.
    """
    by_size = {claim.head.size: claim for claim in published}
    found: list[Claim] = []
    for number, line in enumerate(read_lines(directory / HEADS_FILE), start=1):
        where = f"{HEADS_FILE} line {number}"
        try:
            head = read_head(line)
        except ValueError as error:
            findings.add("head_unreadable", None, where, str(error))
            continue
        found.append(Claim(head, where))
        twin = by_size.get(head.size)
        if twin is not None and twin.head != head and _is_twin(twin.head, head):
            text = f"the head of {head.size} is not as it was published ({twin.where})"
            findings.add("head_differs", head.size, where, text)
    return found


def _is_twin(first: Head, second: Head) -> bool:
    """Tell whether two heads of one size were made at once: engines may make one each."""
    return first.engine == second.engine or first.time == second.time


def from_arguments(arguments: Mapping[str, Any]) -> list[Claim]:
    """Return the heads that a job's arguments give: ``[[size, root, place], ...]``.

    Raises:
        InvalidRequest: they are of another form, or too many.
    """
    given: Any = arguments.get("heads", [])
    if not is_array(given) or len(given) > GIVEN_MAX:
        raise InvalidRequest(_FORM)
    found: list[Claim] = []
    for each in given:
        try:
            size, root, place = each
            found.append(Claim(Head(int(size), bytes.fromhex(root)), f"{GIVEN} {place}"))
        except (TypeError, ValueError):
            raise InvalidRequest(_FORM) from None
    return found


def compare(
    claims: Iterable[Claim], roots: Mapping[int, bytes], reach: int, findings: Findings
) -> tuple[int, int]:
    """Hold heads against the log's roots; return how many agree, and how many are ahead of it.

    ``reach`` is where the stream ends: a head beyond both was made of messages that are gone.
    """
    agree = ahead = below = 0
    for claim in sorted(claims, key=lambda each: each.head.size):
        head = claim.head
        root = roots.get(head.size)
        if root == head.root:
            agree, below = agree + 1, head.size
        elif root is not None:
            text = (
                f"the head of {head.size} has another root than the log; up to {below} they agree"
            )
            findings.add("head_differs", head.size, claim.where, text)
        elif head.size > reach:
            text = f"the head is of {head.size} messages, but log and stream end at {reach}"
            findings.add("log_truncated", reach + 1, claim.where, text)
        else:
            ahead += 1
    return agree, ahead
