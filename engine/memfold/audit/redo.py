"""Changes that are known to have been applied, done again on a state. Pure, nothing is checked.

``redone`` gives the content alone, as fast as it can be. ``Trace`` gives content and provenance as
the fold has them, and notes which event took away what was there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from memfold.canonical import is_object
from memfold.definitions import Content
from memfold.merge import merge
from memfold.provenance import Lines, Pointers, Position, Provenance, leaves, replaced_json

MERGE = "merge"
REPLACE = "replace"
APPEND = "append"


def redone(content: Content | None, mode: str, change: Any) -> Content:  # noqa: ANN401  # any JSON value
    """Return a working memory's content after an update; objects in it are changed in place."""
    if mode == MERGE:
        return _patched(content, change)
    if mode == REPLACE:
        return cast("Content", change)
    text = content if isinstance(content, str) else ""
    if mode == APPEND:
        return f"{text}\n{change}" if text else str(change)
    search, replacement = change["search"], change["replacement"]
    if search in text:
        return text.replace(search, replacement, 1)
    return f"{text}\n{replacement}" if text else str(replacement)


def _patched(target: object, patch: dict[str, Any]) -> dict[str, Any]:
    """Lay an RFC 7396 patch over a value that nobody else has."""
    result = target if is_object(target) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif is_object(value):
            result[key] = _patched(result.get(key), value)
        else:
            result[key] = value
    return result


class _Noting(dict[str, Position]):
    """Provenance that notes when the leaf of a path goes away."""

    def __init__(self, known: Mapping[str, Position], gone: dict[str, Position]) -> None:
        super().__init__(known)
        self._gone = gone
        self.position: Position = (0, 0)

    def pop(self, at: str, default: Any = None) -> Any:  # noqa: ANN401  # any default
        if at in self:
            self._gone[at] = self.position
        return super().pop(at, default)


class Trace:
    """A document with its provenance, and by which event each former part of it went away.

    ``gone`` has the last event that took away the leaf at a path; of a text, that of a line which
    was given a provenance of sequence 0: so the lines of a first state can be followed.
    """

    def __init__(self, content: Content | None, provenance: Provenance | None) -> None:
        self.content = content
        self.gone: dict[str, Position] = {}
        self.gone_lines: dict[Position, Position] = {}
        self._known = _Noting({}, self.gone)
        self._lines: list[str] = []
        self._whose: Lines = []
        if isinstance(content, str):
            self._lines = content.split("\n")
            self._whose = list(cast("Lines", provenance))
        elif content is not None:
            self._known.update(cast("Pointers", provenance))

    @property
    def provenance(self) -> Provenance:
        """Which event set each part."""
        return self._whose if isinstance(self.content, str) else self._known

    def update(self, mode: str, change: Any, position: Position) -> None:  # noqa: ANN401  # any JSON value
        """Do one update of a working memory."""
        self._known.position = position
        if mode == MERGE:
            self.content, _ = merge(self.content, change, self._known, position, in_place=True)
        elif mode == REPLACE:
            self.put(change, position)
        elif mode == APPEND:
            self._append(change, position)
        else:
            self._edit(change["search"], change["replacement"], position)

    def put(self, content: Content, position: Position) -> None:
        """Put a whole document in place."""
        self._known.position = position
        if isinstance(content, str):
            self._put_text(content, position)
            return
        self._end_text(position)
        old = self.content if is_object(self.content) else None
        fresh = replaced_json(old, content, self._known, position)
        for at in self._known.keys() - fresh.keys():
            self.gone[at] = position
        self._known.clear()
        self._known.update(fresh)
        self.content = content

    def end(self, position: Position) -> None:
        """Take the document away, as the end of its thread does."""
        self._known.position = position
        self._end_text(position)
        self._end_json(position)
        self.content = None

    def _end_text(self, position: Position) -> None:
        self._note_lines(self._whose, position)
        self._lines, self._whose = [], []

    def _end_json(self, position: Position) -> None:
        self.gone.update(dict.fromkeys(self._known, position))
        self._known.clear()

    def _note_lines(self, whose: Lines, position: Position) -> None:
        for line in whose:
            if line[0] == 0:
                self.gone_lines[line] = position

    def _put_text(self, text: str, position: Position) -> None:
        lines = text.split("\n")
        if isinstance(self.content, str):
            self._splice(0, len(self._lines), lines, position)
        else:
            self._end_json(position)
            self._lines, self._whose = lines, [position] * len(lines)
        self.content = text

    def _append(self, text: str, position: Position) -> None:
        if not isinstance(self.content, str) or not self.content:
            self._put_text(text, position)
            return
        self._splice(len(self._lines), 0, text.split("\n"), position)
        self.content = f"{self.content}\n{text}"

    def _edit(self, search: str, replacement: str, position: Position) -> None:
        text = self.content if isinstance(self.content, str) else ""
        place = text.find(search)
        if place < 0:
            self._append(replacement, position)
            return
        first = text.count("\n", 0, place)
        number = search.count("\n") + 1
        region = "\n".join(self._lines[first : first + number])
        fresh = region.replace(search, replacement, 1).split("\n")
        self._splice(first, number, fresh, position)
        self.content = text[:place] + replacement + text[place + len(search) :]

    def _splice(self, first: int, number: int, fresh: list[str], position: Position) -> None:
        """Put lines in the place of others; equal lines at both ends of the text keep theirs.

        The same as ``memfold.provenance.replaced_text``, which compares all lines.
        """
        lines = self._lines
        before = len(lines)
        behind = before - first - number
        lines_old = lines[first : first + number]
        lines[first : first + number] = fresh
        limit = min(before, len(lines))
        head = first
        # Beyond the changed lines the old ones stand at other places than the new ones.
        shift = number - len(fresh)

        def old(at: int) -> str:
            if at < first:
                return lines[at]
            if at < first + number:
                return lines_old[at - first]
            return lines[at - shift]

        while head < limit and old(head) == lines[head]:
            head += 1
        tail = min(behind, limit - head)
        while tail < limit - head and old(before - 1 - tail) == lines[-1 - tail]:
            tail += 1
        self._note_lines(self._whose[head : before - tail], position)
        self._whose[head : before - tail] = [position] * (len(lines) - head - tail)


def traced(content: Content | None, sequence: int = 0) -> Trace:
    """Return a trace that begins at a state: its lines are numbered, its leaves are all of it."""
    if content is None:
        return Trace(None, None)
    if isinstance(content, str):
        return Trace(content, [(sequence, number) for number in range(content.count("\n") + 1)])
    return Trace(content, {at: (sequence, 0) for at, _ in leaves(content)})
