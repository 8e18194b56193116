"""The values of a large JSON file, one after the other, without holding the file in memory.

Finds where values begin and end, and leaves it to the gate whether they are JSON.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, NoReturn

from memfold.errors import InvalidEvent
from memfold.gate import parse
from memfold_consumers.formats.stable import InvalidInput

VALUE_BYTES_MAX: Final = 128 * 1024 * 1024
"""Largest value, one conversation for example: it is what has to fit in memory."""
CHUNK_BYTES: Final = 1 << 20
START_BYTES: Final = 16
"""As many are enough to tell what kind of file it is."""

_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
"""All up to the next bracket, whole texts included; stops before a text that is not whole yet."""
_TO_BRACKET_OR_LINE: Final = re.compile(
    rb'(?:[^"\[\]{}\n]++|\n(?=[^{])|"(?:[^"\\\n]++|\\[^\n])*+")*+'
)
"""The same where values stand one a line: stops before a line that may begin another one, too."""
_OPENS: Final = (b"[", b":", b",")
"""Behind one of these an object may begin on a line of its own."""
_BETWEEN: Final = re.compile(rb"[\s,]*+")
_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb'[^\s,:"\[\]{}]++')
_WITHIN: Final = "the file ends within it"
_CLOSING: Final = {ord("["): ord("]"), ord("{"): ord("}")}


class Bytes:
    """The bytes of a file from its beginning on; ``taken`` says how many were read so far.

    Whoever waits for them no longer calls ``stop``, in any thread.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.taken = 0
        self._stream = stream
        self._start = stream.read(START_BYTES)
        self._ahead = self._start
        self._stopped = False

    def begins(self, text: bytes) -> bool:
        """Tell whether the file begins with a text of at most ``START_BYTES``."""
        return self._start.startswith(text)

    def read(self, size: int) -> bytes:
        """Return the next bytes, some of ``size``; none at the end."""
        if self._stopped:
            return b""
        found, self._ahead = self._ahead or self._stream.read(size), b""
        self.taken += len(found)
        return found

    def stop(self) -> None:
        """End it here."""
        self._stopped = True


@dataclass(frozen=True, slots=True)
class Value:
    """One value: ``top`` numbers those of the file, ``place`` those of a list, both from 1.

    ``place`` is 0 for what stands by itself; ``name`` is the member whose list it is in.
    ``problem`` says why there is no payload. ``line`` is where one that stands by itself begins.
    """

    payload: bytes
    top: int
    place: int = 0
    name: str = ""
    problem: str = ""
    line: int = 0


class _BrokenError(Exception):
    """What begins here is not JSON, and cannot become JSON with the lines behind it."""


def values(
    stream: Bytes, *, lists: Collection[str] = (), bytes_max: int = VALUE_BYTES_MAX
) -> Iterator[Value]:
    """Yield the values of JSON, of JSON lines, or of a JSON list (its elements).

    An object that has a member of ``lists`` yields the elements of these lists alone; such a member
    that is no list is a problem. What is not whole at the end of the file comes last, as a problem;
    a broken line is one as well, and what follows goes on at the next line that begins an object.

    Raises:
        InvalidInput: brackets do not match, or one text is larger than ``bytes_max``; and of a file
            of lines this is all there is.
    """
    yield from _Splitter(stream, frozenset(lists), bytes_max).run()


def parse_value(payload: bytes) -> Any:  # noqa: ANN401 - any JSON value.
    """Parse a value; a lone surrogate in it is left for the event that it will stand in.

    Raises:
        InvalidEvent: it is not strict JSON.
    """
    try:
        return parse(payload)
    except InvalidEvent as error:
        if error.reason != "lone_surrogate":
            raise
    try:
        return json.loads(payload, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        message = "not acceptable JSON (not_json)"
        raise InvalidEvent(message, reason="not_json") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        message = "not acceptable JSON (duplicate_key)"
        raise InvalidEvent(message, reason="duplicate_key")
    return found


class _Splitter:
    """Reads on as needed.

    ``_at`` is where the value begins that is being read. Other places count on from there, because
    the buffer moves when more is read.
    """

    def __init__(self, stream: Bytes, lists: frozenset[str], bytes_max: int) -> None:
        self._stream = stream
        self._lists = lists
        self._bytes_max = bytes_max
        self._buffer = b""
        self._at = 0
        self._read = 0
        self._top = 0
        self._cut = False
        self._line = 1
        self._counted = 0

    def run(self) -> Iterator[Value]:
        while len(self._buffer) < len(BOM_UTF8) and self._more():
            pass
        if self._begins(BOM_UTF8):
            self._at = len(BOM_UTF8)
        while self._next():
            self._top += 1
            if self._begins(b"["):
                self._at += 1
                yield from self._elements("")
            elif self._lists and self._begins(b"{") and self._has_list():
                self._at += 1
                yield from self._members()
            else:
                yield self._alone()

    def _alone(self) -> Value:
        """Take a value that stands by itself; a broken one ends with its line."""
        line = self._line_here()
        try:
            if self._top > 1 and not self._begins(b"{"):
                return Value(self._rest_of_line(), self._top, line=line)
            return replace(self._value(0, "", lines=True), line=line)
        except (_BrokenError, InvalidInput) as error:
            goes_on = self._to_next_object() or self._top > 1
            if not goes_on and isinstance(error, InvalidInput):
                raise
            return Value(b"", self._top, problem="not JSON", line=line)

    def _line_here(self) -> int:
        self._line += self._buffer.count(b"\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _rest_of_line(self) -> bytes:
        """Take what is no object as far as its line goes."""
        while (end := self._buffer.find(b"\n", self._at)) < 0 and self._more():
            pass
        start, self._at = self._at, end if end >= 0 else len(self._buffer)
        return self._buffer[start : self._at].rstrip()

    def _to_next_object(self) -> bool:
        """Go on to the next line that begins with an object; False at the end of the file."""
        while (found := self._buffer.find(b"\n{", self._at)) < 0:
            self._at = max(self._at, len(self._buffer) - 1)
            if not self._more():
                self._at = len(self._buffer)
                return False
        self._at = found + 1
        return True

    def _members(self) -> Iterator[Value]:
        """Yield the elements of an object's lists; the object has begun."""
        while self._next():
            if self._begins(b"}"):
                self._at += 1
                return
            name = self._value(0, "").payload
            if not self._next() or not self._begins(b":"):
                break
            self._at += 1
            if not self._next():
                break
            key = name[1:-1].decode(errors="replace")
            if key in self._lists and self._begins(b"["):
                self._at += 1
                yield from self._elements(key)
                if self._cut:
                    return
                continue
            passed = self._value(0, key)
            if key in self._lists and not self._cut and passed.payload != b"null":
                yield Value(b"", self._top, 0, key, f"{key} is not a list")
        self._cut = True
        yield Value(b"", self._top, problem=_WITHIN)

    def _elements(self, name: str) -> Iterator[Value]:
        """Yield the elements of a list; it has begun."""
        place = 0
        while not self._cut:
            place += 1
            if not self._next():
                self._cut = True
                yield Value(b"", self._top, place, name, "the file ends before it")
                return
            if self._begins(b"]"):
                self._at += 1
                return
            yield self._value(place, name)

    def _value(self, place: int, name: str, *, lines: bool = False) -> Value:
        """Take the value that begins here; ``lines`` tells that it is broken where others begin."""
        end, forgotten = self._end(lines=lines)
        if end == 0:
            self._cut = True
            self._at = len(self._buffer)
            return Value(b"", self._top, place, name, _WITHIN)
        payload = self._buffer[self._at : self._at + end]
        self._at += end
        if forgotten + end > self._bytes_max:
            return Value(b"", self._top, place, name, f"it is larger than {self._bytes_max} bytes")
        return Value(payload, self._top, place, name)

    def _end(self, *, lines: bool) -> tuple[int, int]:
        """Return how far the value goes from here, 0 if it never ends, and how much went before."""
        if self._buffer[self._at] not in _CLOSING:
            return self._end_of_scalar(), 0
        closings: list[int] = []
        end = forgotten = 0
        while True:
            if end > self._bytes_max:
                # Too large to be given out, so it is not kept either.
                self._at += end
                forgotten, end = forgotten + end, 0
            end, found = self._advance(end, lines=lines)
            if end < 0:
                return 0, 0
            if not found:
                continue
            bracket = self._buffer[self._at + end]
            end += 1
            if bracket in _CLOSING:
                closings.append(_CLOSING[bracket])
            elif closings.pop() != bracket:
                self._fail(end - 1)
            if not closings:
                return end, forgotten

    def _end_of_scalar(self) -> int:
        """Return how far the text, number or word goes that begins here; 0 if it never ends."""
        is_text = self._begins(b'"')
        if not is_text and not _SCALAR.match(self._buffer, self._at):
            self._fail(0)
        while True:
            found = (_TEXT if is_text else _SCALAR).match(self._buffer, self._at)
            if found and (is_text or found.end() < len(self._buffer)):
                return found.end() - self._at
            if not self._more():
                return 0 if is_text else len(self._buffer) - self._at

    def _has_list(self) -> bool:
        """Look through the members of the object that begins here for one of the lists."""
        depth = end = 0
        while True:
            try:
                end, found = self._advance(end, lines=True)
            except _BrokenError:
                return False
            if end < 0:
                return False
            if not found:
                continue
            if depth == 1 and self._begins(b"[", end):
                before = self._buffer[self._at : self._at + end].rstrip()
                key = before.removesuffix(b":").rstrip()
                if any(key.endswith(b'"' + name.encode() + b'"') for name in self._lists):
                    return True
            depth += 1 if self._buffer[self._at + end] in _CLOSING else -1
            end += 1
            if depth == 0:
                return False

    def _advance(self, start: int, *, lines: bool) -> tuple[int, bool]:
        """Go on towards the next bracket, and tell whether it is there; -1 is the file's end."""
        pattern = _TO_BRACKET_OR_LINE if lines else _TO_BRACKET
        match = pattern.match(self._buffer, self._at + start)
        end = match.end() - self._at if match else start
        here = self._at + end
        if here == len(self._buffer) or self._begins(b'"', end):
            if lines and self._buffer.find(b"\n", here) >= 0:
                # A text never goes over its line.
                raise _BrokenError
            if self._more():
                return end, False
            if lines and self._buffer.find(b"\n{", self._at) >= 0:
                raise _BrokenError
            return -1, False
        if not self._begins(b"\n", end):
            return end, True
        if here + 1 == len(self._buffer) and self._more():
            return end, False
        if self._begins(b"{", end + 1) and not self._may_open(end):
            raise _BrokenError
        return end + 1, False

    def _may_open(self, end: int) -> bool:
        """Tell whether an object may begin behind what was read."""
        before = self._at + end - 1
        while before > self._at and self._buffer[before : before + 1].isspace():
            before -= 1
        return before <= self._at or self._buffer[before : before + 1] in _OPENS

    def _begins(self, text: bytes, further: int = 0) -> bool:
        return self._buffer.startswith(text, self._at + further)

    def _next(self) -> bool:
        """Go on to the next value or bracket; False at the end of the file."""
        while True:
            found = _BETWEEN.match(self._buffer, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._buffer):
                return True
            if not self._more():
                return False

    def _more(self) -> bool:
        """Read on; twice as much each time, so that a long text is not read again and again."""
        self._line_here()
        kept = len(self._buffer) - self._at
        if kept > 2 * self._bytes_max:
            message = f"a text in it is larger than {self._bytes_max} bytes"
            raise InvalidInput(message)
        chunk = self._stream.read(max(CHUNK_BYTES, kept))
        self._buffer = self._buffer[self._at :] + chunk
        self._at = self._counted = 0
        self._read += len(chunk)
        return bool(chunk)

    def _fail(self, further: int) -> NoReturn:
        place = self._read - len(self._buffer) + self._at + further
        message = f"not JSON at byte {place}"
        raise InvalidInput(message)
