"""Check an export of a memfold log offline: this one file, Python 3.9 or newer, nothing else.

    python check_export.py EXPORT [--head ROOT:SIZE]... [--heads heads.ndjson]

Every byte of the export counts: each line must be exactly the canonical JSON of what it says, each
message must have its leaf in the tree of the header, and the last line counts and hashes all lines
before it. Heads that were kept elsewhere are compared with the export's tree: without any, the
export can only be shown to agree with itself. Ends with 0 if all is right, 1 if something is not,
2 if it could not be checked.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import IO, Any

FORMAT = 1
HEADER = ("format", "heads", "kind", "namespace", "resource", "root", "size", "thread")
HEAD = ("proof", "root", "size")
MESSAGE = ("kind", "msg_id", "payload", "proof", "sequence", "subject", "time_ns")
ERASED = ("kind", "leaf", "proof", "sequence")
END = ("count", "kind", "sha256")
HASH = re.compile("[0-9a-f]{64}")
EMPTY = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""
SIZES_SHOWN = 20
TOKENS = 7


class Wrong(Exception):
    """Something in the export is not as it must be."""


class Unproven(Exception):
    """Nothing is wrong, but what was asked for cannot be checked with this export."""


def canonical(value: object) -> bytes:
    """Return the one line that says this, with its newline."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii") + b"\n"


def leaf_of(message: dict[str, Any], payload: bytes) -> bytes:
    """Return the leaf of a message (RFC 6962: SHA-256 behind a byte of zeros)."""
    subject = message["subject"].encode("utf-8")
    msg_id = message["msg_id"].encode("utf-8")
    return hashlib.sha256(
        b"\x00"
        + message["sequence"].to_bytes(8, "big")
        + message["time_ns"].to_bytes(8, "big")
        + len(subject).to_bytes(2, "big")
        + subject
        + len(msg_id).to_bytes(2, "big")
        + msg_id
        + hashlib.sha256(payload).digest()
    ).digest()


def node_of(left: bytes, right: bytes) -> bytes:
    """Return the node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_included(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> bool:
    """Tell whether a proof leads from a leaf to the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_of(other, node)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            node = node_of(node, other)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def is_grown(old_size: int, size: int, old: bytes, root: bytes, proof: list[bytes]) -> bool:
    """Tell whether the tree of ``size`` begins with that of ``old_size`` (RFC 9162, 2.1.4.2)."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not proof and old == root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old)
    if not path:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    older = newer = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            older, newer = node_of(node, older), node_of(node, newer)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            newer = node_of(newer, node)
        place, last = place >> 1, last >> 1
    return last == 0 and older == old and newer == root


def token(name: str | None) -> str:
    """Return an id as a token of a subject; none is an underscore."""
    if name is None:
        return "_"
    if name == "_":
        return "%5F"
    plain = re.compile(r"[A-Za-z0-9_-]")
    return "".join(
        chr(byte) if plain.match(chr(byte)) else f"%{byte:02X}" for byte in name.encode("utf-8")
    )


def require(condition: object, problem: str) -> None:
    """Say what is wrong unless a condition holds."""
    if not condition:
        raise Wrong(problem)


def keys(value: dict[str, Any], names: tuple[str, ...]) -> None:
    """Require exactly these members."""
    require(tuple(sorted(value)) == names, "its members are not those of its kind")


def number(value: object, least: int = 0) -> int:
    """Return a whole number of at most 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 64:
        raise Wrong("a number is none, or out of its range")
    return value


def text(value: object) -> str:
    """Return text that has a form in UTF-8."""
    if not isinstance(value, str):
        raise Wrong("a text is none")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Wrong("a text holds half a character") from None
    return value


def items(value: Any) -> list[Any]:  # noqa: ANN401  # any JSON value
    """Return a list."""
    require(type(value) is list, "a list is none")
    found: list[Any] = value
    return found


def member(value: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON value
    """Return an object."""
    require(type(value) is dict, "a JSON object is none")
    found: dict[str, Any] = value
    return found


def hash_of(value: object) -> bytes:
    """Return a hash written in lower-case hexadecimal digits."""
    digits = text(value)
    require(HASH.fullmatch(digits), "a hash is none")
    return bytes.fromhex(digits)


def hashes(value: object) -> list[bytes]:
    """Return a list of hashes."""
    return [hash_of(each) for each in items(value)]


class Check:
    """One export, line by line."""

    def __init__(self, heads: list[tuple[int, bytes]] | None = None) -> None:
        """Take the heads that were kept elsewhere, as (size, root)."""
        self.heads = heads or []
        self.proven = 0
        """Up to this sequence it is the log of the newest head that could be compared."""
        self.behind = 0
        """Messages behind that."""
        self.line = 0
        self.count = 0
        self.erased = 0
        self.sequence = 0
        self.header: dict[str, Any] = {}
        self.root = b""
        self.size = 0
        self.known: dict[int, bytes] = {0: EMPTY}
        self.ended = False
        self._hash = hashlib.sha256()

    def take(self, line: bytes) -> None:
        """Check one more line."""
        self.line += 1
        require(not self.ended, "something stands behind the last line")
        try:
            value = json.loads(line.decode("ascii"))
            same = canonical(value) == line
        except (ValueError, RecursionError):
            raise Wrong("it is not JSON in ASCII") from None
        require(same, "it is not written the one way it must be")
        value = member(value)
        kind = value.get("kind")
        if self.line == 1:
            require(kind == "header", "the first line is not the header")
            self._header(value)
        elif kind == "message":
            self._message(value)
        elif kind == "erased":
            keys(value, ERASED)
            self._included(value, hash_of(value["leaf"]))
            self.erased += 1
        elif kind == "end":
            self._end(value)
        else:
            raise Wrong("it is of no known kind")
        self._hash.update(line)

    def _header(self, value: dict[str, Any]) -> None:
        keys(value, HEADER)
        if value["format"] != FORMAT or type(value["format"]) is not int:
            raise Wrong(f"this checker knows only format {FORMAT}")
        text(value["namespace"])
        for name in ("resource", "thread"):
            if value[name] is not None:
                text(value[name])
        whole = value["resource"] is None and value["thread"] is not None
        require(not whole, "it names a thread of no resource")
        self.size, self.root = number(value["size"]), hash_of(value["root"])
        require(self.size or self.root == EMPTY, "its root is not that of no messages")
        self.known[self.size] = self.root
        before = 0
        for each in items(value["heads"]):
            head = member(each)
            keys(head, HEAD)
            size, root = number(head["size"], 1), hash_of(head["root"])
            require(before < size, "the heads are not in order")
            grown = is_grown(size, self.size, root, self.root, hashes(head["proof"]))
            require(grown, f"the tree does not begin with the head of size {size}")
            self.known[size] = root
            before = size
        self.header = value
        for size, root in self.heads:
            same = self.known.get(size, root) == root
            require(same, f"the head of size {size} that was given has another root: another log")
            if size in self.known:
                self.proven = max(self.proven, size)

    def _message(self, value: dict[str, Any]) -> None:
        keys(value, MESSAGE)
        number(value["time_ns"])
        subject, msg_id = text(value["subject"]), text(value["msg_id"])
        fits = len(subject.encode("utf-8")) < 1 << 16 > len(msg_id.encode("utf-8"))
        require(fits, "its subject or Nats-Msg-Id cannot be")
        try:
            payload = base64.b64decode(text(value["payload"]), validate=True)
        except (binascii.Error, ValueError):
            raise Wrong("its payload is not base64") from None
        same = base64.b64encode(payload).decode("ascii") == value["payload"]
        require(same, "its payload is not base64 written the one way it must be")
        number(value["sequence"], 1)
        self._belongs(subject.split("."))
        self._included(value, leaf_of(value, payload))

    def _belongs(self, tokens: list[str]) -> None:
        header = self.header
        if header["resource"] is None:
            return
        mine = len(tokens) == TOKENS and tokens[:2] == [header["namespace"], "events"]
        mine = mine and tokens[3] == token(header["resource"])
        if header["thread"] is not None:
            mine = mine and tokens[4] == token(header["thread"])
        require(mine, "its subject is not of the exported resource or thread")

    def _included(self, value: dict[str, Any], leaf: bytes) -> None:
        sequence = number(value["sequence"], 1)
        require(sequence > self.sequence, "its sequence is not above the one before")
        proof = hashes(value["proof"])
        included = is_included(sequence - 1, self.size, leaf, proof, self.root)
        require(included, "it is not in the tree of the header")
        self.sequence = sequence
        self.count += 1
        self.behind += sequence > self.proven

    def _end(self, value: dict[str, Any]) -> None:
        keys(value, END)
        require(number(value["count"]) == self.count, "it counts other lines than there are")
        require(hash_of(value["sha256"]) == self._hash.digest(), "the lines before have changed")
        self.ended = True

    def compare(self) -> None:
        """Require that the heads that were given could be compared, as far as the export goes."""
        missing = sorted({size for size, _ in self.heads if size not in self.known})
        asked = [size for size in missing if size <= self.size]
        if asked:
            flags = "".join(f" --head {size}" for size in asked[:SIZES_SHOWN])
            more = len(asked) - SIZES_SHOWN
            raise Unproven(
                f"{len(asked)} of the heads given are not proven by this export, so the log may "
                f"have been another one then: export again with{flags}"
                + (f" and {more} more, or give fewer heads" if more > 0 else "")
            )
        if self.heads and min(self.heads)[0] > self.size:
            raise Unproven(
                f"the export ends at {self.size}, before all heads given: export again, or give "
                "an older head"
            )
        if not self.proven and not self.count:
            raise Unproven("it has no message, and there is no head to compare it with")


def read_heads(given: list[str], file: str | None) -> list[tuple[int, bytes]]:
    """Return the heads to compare with, as (size, root)."""
    found: list[tuple[int, bytes]] = []
    for each in given:
        root, colon, size = each.partition(":")
        if not colon or not HASH.fullmatch(root) or not re.fullmatch("[0-9]{1,19}", size):
            raise ValueError(f"--head takes ROOT:SIZE, not {each!r}")
        found.append((int(size), bytes.fromhex(root)))
    if file is not None:
        with Path(file).open("rb") as lines:
            for line in lines:
                head = json.loads(line)
                found.append((number(head["size"]), hash_of(head["root"])))
    return found


def run(lines: IO[bytes], heads: list[tuple[int, bytes]], out: IO[str]) -> int:
    """Check an export and say what was found; return the exit code."""
    check = Check(heads)
    try:
        for line in lines:
            check.take(line)
        check.line += 1
        require(check.ended, "the export ends before its last line")
        check.compare()
    except Wrong as problem:
        out.write(f"WRONG: line {check.line}, behind sequence {check.sequence}: {problem}\n")
        return 1
    except Unproven as problem:
        out.write(f"cannot check: {problem}\n")
        return 2
    header = check.header
    whose = "the whole log" if header["resource"] is None else f"resource {header['resource']!a}"
    if header["thread"] is not None:
        whose += f", thread {header['thread']!a}"
    out.write(
        f"ok: {check.count} messages of {whose}, {check.erased} of them erased, "
        f"all in the tree of size {check.size} with root {check.root.hex()}\n"
    )
    if header["resource"] is None and check.count == check.size:
        out.write("complete: it has every message of the log up to there\n")
    met = sum(size <= check.size for size, _ in heads)
    out.write(f"proven up to {check.proven}: ")
    if met:
        out.write(f"it is the log of {met} of the {len(heads)} heads given\n")
    else:
        out.write("no head was given, so whoever made the export may have made the log as well\n")
    if met and check.behind:
        out.write(
            f"not proven: {check.behind} messages behind {check.proven}; a newer head that was "
            "kept elsewhere would prove them\n"
        )
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Check an export of a memfold log offline.")
    parser.add_argument("export", help="the file, - for standard input")
    parser.add_argument("--head", action="append", default=[], metavar="ROOT:SIZE")
    parser.add_argument("--heads", metavar="FILE", help="heads.ndjson, as it was kept elsewhere")
    given = parser.parse_args(arguments)
    try:
        heads = read_heads(given.head, given.heads)
        if given.export == "-":
            return run(sys.stdin.buffer, heads, sys.stdout)
        with Path(given.export).open("rb") as lines:
            return run(lines, heads, sys.stdout)
    except (OSError, ValueError, KeyError, TypeError, Wrong) as error:
        sys.stderr.write(f"cannot check: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
