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
    from collections.abc import Mapping, Sequence
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
    place: int = 0
    """In the audit stream, of one that was published."""


def from_file(
    directory: Path,
    published: Sequence[Claim],
    findings: Findings,
    *,
    engine: str,
    seen: int,
) -> list[Claim]:
    """Return the heads of the directory's file.

    One that was also published must stand there just as it was, and of this ``engine`` all that
    were: it publishes only what stands in its file. Not those up to the place ``seen`` of the audit
    stream: of these someone knows what became of them. Heads of another engine in the file are no
    fault: a directory that has lost its engine's id goes on under a new one.
    """
    by_size = {claim.head.size: claim for claim in published}
    found: list[Claim] = []
    largest = -1
    differing: set[int] = set()
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
            differing.add(head.size)
        if head.size <= largest:
            text = f"the head of {head.size} stands behind one of {largest}"
            findings.add("head_misplaced", head.size, where, text)
        largest = max(largest, head.size)
    there = {claim.head for claim in found}
    for claim in published:
        head = claim.head
        if head.engine != engine or claim.place <= seen or head.size in differing:
            continue
        if head not in there:
            text = f"the head of {head.size} that this engine has published ({claim.where}) is gone"
            findings.add("head_missing", head.size, HEADS_FILE, text)
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
