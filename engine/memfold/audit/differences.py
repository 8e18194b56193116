"""What differs between two states of a document, path by path or line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from memfold.audit.lines import same_lines
from memfold.audit.redo import Trace, redone
from memfold.canonical import is_object, same
from memfold.definitions import Content
from memfold.provenance import Lines, Position, leaves, pointer

Kind = Literal["added", "removed", "changed"]
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One part that differs, named by its JSON Pointer, or by its line where the document is text.

    ``line`` counts from 1, of a removed line in the earlier state. ``position`` is the event that
    made the difference, where that is told.
    """

    kind: Kind
    path: str | None = None
    line: int | None = None
    before: Any = None
    after: Any = None
    position: Position | None = None


def update_differences(
    content: Content | None,
    mode: str,
    change: Any,  # noqa: ANN401  # any JSON value
) -> list[Difference]:
    """Return what an update of a working memory touches; call it before it is done."""
    if mode == "merge":
        found = list(_patch_differences(content, change, ""))
        return found or [Difference("added", "", after={})]
    old = content if isinstance(content, str) else None
    return differences(content, redone(old, mode, change))


def differences(old: Content | None, new: Content | None) -> list[Difference]:
    """Return what differs, each part as large as can be; of texts the lines that are not equal."""
    if isinstance(old, str) and isinstance(new, str):
        return [_text_difference(old, new)]
    if old is None or new is None or isinstance(old, str) or isinstance(new, str):
        kind: Kind = "added" if old is None else "removed" if new is None else "changed"
        return [Difference(kind, "", before=old, after=new)]
    return list(_json_differences(old, new, ""))


def _patch_differences(target: object, patch: dict[str, Any], at: str) -> Iterator[Difference]:
    base = target if is_object(target) else {}
    for key, value in patch.items():
        place = pointer(at, key)
        if value is None:
            if key in base:
                yield Difference("removed", place, before=base[key])
            continue
        if is_object(value):
            if is_object(base.get(key)):
                yield from _patch_differences(base[key], value, place)
                continue
            value = cast("dict[str, Any]", redone(None, "merge", value))  # noqa: PLW2901  # without its nulls
        if key not in base:
            yield Difference("added", place, after=value)
        elif not same(base[key], value):
            yield Difference("changed", place, before=base[key], after=value)


def _json_differences(old: object, new: object, at: str) -> Iterator[Difference]:
    if not is_object(old) or not is_object(new):
        if not same(old, new):
            yield Difference("changed", at, before=old, after=new)
        return
    for key in sorted(old.keys() | new.keys()):
        place = pointer(at, key)
        if key not in new:
            yield Difference("removed", place, before=old[key])
        elif key not in old:
            yield Difference("added", place, after=new[key])
        else:
            yield from _json_differences(old[key], new[key], place)


def _text_difference(old: str, new: str) -> Difference:
    """Return the lines between the equal ones at both ends, as one part."""
    before, after = old.split("\n"), new.split("\n")
    limit = min(len(before), len(after))
    head = 0
    while head < limit and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < limit - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    lines = before[head : len(before) - tail], after[head : len(after) - tail]
    texts = ["\n".join(each) if each else None for each in lines]
    kind: Kind = "added" if not lines[0] else "removed" if not lines[1] else "changed"
    return Difference(kind, line=head + 1, before=texts[0], after=texts[1])


def traced_differences(start: Content | None, trace: Trace) -> list[Difference]:
    """Return what differs between a state and a trace that began there, with the events.

    The trace must have begun with provenance of sequence 0: see ``memfold.audit.redo.traced``.
    """
    if isinstance(start, str) and isinstance(trace.content, str):
        return _line_differences(start, trace)
    removed = _all_removed(start, trace) if not is_object(start) else []
    old = dict(leaves(start)) if is_object(start) else {}
    if isinstance(trace.content, str):
        whose = cast("Lines", trace.provenance)
        added = [
            Difference("added", line=number, after=line, position=position)
            for number, (line, position) in enumerate(
                zip(trace.content.split("\n"), whose, strict=True), start=1
            )
        ]
        new: dict[str, Any] = {}
    else:
        added = []
        new = dict(leaves(trace.content)) if trace.content is not None else {}
    known = trace.provenance
    found = [*removed]
    for at in sorted(old.keys() | new.keys()):
        if at not in new:
            found.append(Difference("removed", at, before=old[at], position=trace.gone.get(at)))
            continue
        assert isinstance(known, dict)
        if at not in old:
            found.append(Difference("added", at, after=new[at], position=known[at]))
        elif not same(old[at], new[at]):
            change = Difference("changed", at, None, old[at], new[at], known[at])
            found.append(change)
    return found + added


def _all_removed(start: Content | None, trace: Trace) -> list[Difference]:
    if not isinstance(start, str):
        return []
    return [
        Difference("removed", line=number + 1, before=line, position=trace.gone_lines[0, number])
        for number, line in enumerate(start.split("\n"))
    ]


def _line_differences(start: str, trace: Trace) -> list[Difference]:
    """Return the lines that have no equal one in the other text, each with who touched it."""
    old, new = start.split("\n"), cast("str", trace.content).split("\n")
    whose = cast("Lines", trace.provenance)
    kept = [(line[1], number) for number, line in enumerate(whose) if line[0] == 0]
    found: list[Difference] = []
    taken = taken_new = 0
    for number, number_new in [*same_lines(old, new, kept), (len(old), len(new))]:
        found += (
            Difference("removed", line=at + 1, before=old[at], position=trace.gone_lines[0, at])
            for at in range(taken, number)
        )
        found += (
            Difference("added", line=at + 1, after=new[at], position=whose[at])
            for at in range(taken_new, number_new)
        )
        taken, taken_new = number + 1, number_new + 1
    return found


def within(found: Iterable[Difference], part: str) -> Iterator[Difference]:
    """Yield of what differs in a document that which lies in one of its parts."""
    for each in found:
        if each.path is None:
            # Lines have no paths.
            continue
        if below(each.path, part):
            yield each
        elif below(part, each.path):
            rest = part[len(each.path) :]
            old, new = _found(each.before, rest), _found(each.after, rest)
            if old is _NOTHING and new is not _NOTHING:
                yield Difference("added", part, after=new)
            elif new is _NOTHING and old is not _NOTHING:
                yield Difference("removed", part, before=old)
            elif old is not _NOTHING and not same(old, new):
                yield Difference("changed", part, before=old, after=new)


def _found(value: object, rest: str) -> object:
    """Return what a JSON Pointer names, ``_NOTHING`` where there is no such part."""
    for token in rest.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if not is_object(value) or key not in value:
            return _NOTHING
        value = value[key]
    return value


def below(path: str | None, part: str | None) -> bool:
    """Tell whether a path lies in the part of a document that another one names."""
    return part is None or path == part or (path is not None and path.startswith(f"{part}/"))
