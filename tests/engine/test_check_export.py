"""The checker of exports: it takes what is right and refuses every other byte."""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from memfold.audit import check_export
from memfold.audit.check_export import canonical
from memfold.audit.merkle import consistency_proof, inclusion_proof, root
from memfold.leaf import leaf_hash
from memfold.subjects import parse_stored
from memfold.wire import Recorded
from support.log import stored
from support.shared import ROOT

FILE = ROOT / "engine" / "memfold" / "audit" / "check_export.py"
LOG = [
    Recorded(
        n,
        1_700_000_000_000_000_000 + n,
        stored("memory", resource="ü*" if n % 3 == 2 else "bob", thread="t" if n % 2 else None),
        f'{{"n":{n}}}'.encode(),
        f"id-{n} ✓",
    )
    for n in range(1, 12)
]
LEAVES = [leaf_hash(message) for message in LOG]
Lines = list[bytes]


def lines(
    resource: str | None = "ü*", thread: str | None = None, heads: tuple[int, ...] = (3, 8)
) -> Lines:
    """Return an export, made without any of the code that makes them."""
    size = len(LOG)
    found = [
        canonical(
            {
                "kind": "header",
                "format": 1,
                "namespace": "memfold",
                "resource": resource,
                "thread": thread,
                "size": size,
                "root": root(LEAVES).hex(),
                "heads": [
                    {
                        "size": each,
                        "root": root(LEAVES[:each]).hex(),
                        "proof": [node.hex() for node in consistency_proof(LEAVES, each, size)],
                    }
                    for each in heads
                ],
            }
        )
    ]
    for message in LOG:
        address = parse_stored("memfold", message.subject)
        if resource not in {None, address.resource} or thread not in {None, address.thread}:
            continue
        proof = inclusion_proof(LEAVES, message.sequence - 1, size)
        found.append(
            canonical(
                {
                    "kind": "message",
                    "sequence": message.sequence,
                    "time_ns": message.time_ns,
                    "subject": message.subject,
                    "msg_id": message.msg_id,
                    "payload": base64.b64encode(message.payload).decode(),
                    "proof": [node.hex() for node in proof],
                }
            )
        )
    return ended(found)


def ended(found: Lines) -> Lines:
    """Return lines with the last one that fits them."""
    digest = hashlib.sha256(b"".join(found)).hexdigest()
    return [*found, canonical({"kind": "end", "count": len(found) - 1, "sha256": digest})]


def check(content: bytes, *heads: tuple[int, bytes]) -> tuple[int, str]:
    said = io.StringIO()
    return check_export.run(io.BytesIO(content), list(heads), said), said.getvalue()


def head(size: int) -> tuple[int, bytes]:
    return size, root(LEAVES[:size])


def test_what_is_right_is_taken_with_the_heads_it_proves() -> None:
    content = b"".join(lines())
    code, said = check(content)
    assert (code, said.splitlines()[1].split(",")[0]) == (0, "proven up to 0: no head was given")
    code, said = check(content, head(3), head(8), head(11))
    assert (code, said.splitlines()[1].split(":")[0]) == (0, "proven up to 11")
    assert "not proven" not in said
    assert check(b"".join(lines("bob", "t")))[0] == 0
    whole = check(b"".join(lines(None)))
    assert whole[0] == 0
    assert "complete" in whole[1]


def test_a_head_of_another_log_is_told() -> None:
    content = b"".join(lines())
    for size in (3, 8, 11):
        assert "another log" in check(content, (size, bytes(32)))[1]
    assert check(content, head(5), (3, bytes(32)))[0] == 1


def test_a_head_that_the_export_does_not_prove_is_asked_for() -> None:
    """Else who rewrites the log behind an old head shows that one, and is believed."""
    content = b"".join(lines())
    for heads in ((head(5),), (head(3), head(5)), (head(5), head(8)), (head(11), (5, bytes(32)))):
        code, said = check(content, *heads)
        assert (code, said.splitlines()[0].endswith("export again with --head 5")) == (2, True)
    known = {size for size, _ in (head(3), head(8), head(11))}
    code, said = check(content, *(head(size) for size in range(1, 12)))
    assert code == 2
    assert said.count("--head") == 11 - len(known)
    many = [(size, bytes(32)) for size in range(1, 99)]
    code, said = check(b"".join(lines(heads=())), *many)
    assert code == 1
    code, said = check(b"".join(lines(heads=())), *many[:10], head(11))
    assert (code, said.count("--head")) == (2, 10)


def test_it_says_up_to_where_a_head_proves_it() -> None:
    content = b"".join(lines(None))
    code, said = check(content, head(3), head(8))
    assert code == 0
    assert "proven up to 8: it is the log of 2 of the 2 heads given" in said
    assert "not proven: 3 messages behind 8" in said
    code, said = check(content, head(8), (99, bytes(32)))
    assert (code, "1 of the 2 heads" in said) == (0, True)
    code, said = check(content, (99, bytes(32)))
    assert (code, "the export ends at 11" in said) == (2, True)


def test_without_messages_only_a_head_can_be_compared() -> None:
    """Any root fits no messages."""
    nobody = lines("nobody")
    assert check(b"".join(nobody))[0] == 2
    assert check(b"".join(nobody), head(11))[0] == 0
    header = json.loads(nobody[0])
    for size, code in ((0, 1), (11, 2)):
        forged = canonical({**header, "size": size, "root": "ab" * 32, "heads": []})
        assert check(b"".join(ended([forged])))[0] == code


def test_every_changed_bit_is_refused() -> None:
    """Whatever it stands for: a digit of base64 that decodes to the same, a space, a newline."""
    content = b"".join(lines("bob", "t", (8,)))
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            assert check(bytes(changed))[0] == 1, (place, bit)


def test_every_removed_or_inserted_byte_is_refused() -> None:
    content = b"".join(lines("bob", "t", ()))
    for place in range(len(content)):
        assert check(content[:place])[0] == 1
        assert check(content[:place] + content[place + 1 :])[0] == 1
        assert check(content[:place] + b" " + content[place:])[0] == 1
    assert check(content + b"\n")[0] == 1
    assert check(content + content)[0] == 1


def test_lines_deleted_doubled_or_swapped_are_refused() -> None:
    right = lines()
    for place in range(len(right)):
        assert check(b"".join([*right[:place], *right[place + 1 :]]))[0] == 1
        assert check(b"".join([*right[:place], right[place], *right[place:]]))[0] == 1
        if place:
            swapped = [*right[: place - 1], right[place], right[place - 1], *right[place + 1 :]]
            assert check(b"".join(swapped))[0] == 1


def changed(kind: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return an export with one line changed by somebody who writes the last line anew."""
    found = [json.loads(line) for line in lines()]
    change(next(each for each in found if each["kind"] == kind))
    return b"".join(ended([canonical(each) for each in found[:-1]]))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("message", lambda line: line.update(payload="e30=")),
        ("message", lambda line: line.update(sequence=line["sequence"] + 1)),
        ("message", lambda line: line.update(sequence=True)),
        ("message", lambda line: line.update(time_ns=line["time_ns"] + 1)),
        ("message", lambda line: line.update(time_ns=-1)),
        ("message", lambda line: line.update(time_ns=1e18)),
        ("message", lambda line: line.update(time_ns=1 << 64)),
        ("message", lambda line: line.update(msg_id="other")),
        ("message", lambda line: line.update(msg_id="\ud800")),
        ("message", lambda line: line.update(msg_id=None)),
        ("message", lambda line: line.update(subject=line["subject"][:-1])),
        ("message", lambda line: line.update(subject=line["subject"].replace("._.", ".t."))),
        ("message", lambda line: line.update(proof=[])),
        ("message", lambda line: line["proof"].reverse()),
        ("message", lambda line: line["proof"].append("00" * 32)),
        ("message", lambda line: line.update(proof="")),
        ("message", lambda line: line.update(more=1)),
        ("message", lambda line: line.pop("msg_id")),
        ("message", lambda line: line.update(kind="note")),
        ("header", lambda line: line.update(root="00" * 32)),
        ("header", lambda line: line.update(size=line["size"] + 1)),
        ("header", lambda line: line.update(resource="bob")),
        ("header", lambda line: line.update(resource="\ud800")),
        ("header", lambda line: line.update(namespace="\ud800")),
        ("header", lambda line: line.update(resource=None, thread="t")),
        ("header", lambda line: line.update(size=0)),
        ("header", lambda line: line.update(thread="other")),
        ("header", lambda line: line.update(namespace="other")),
        ("header", lambda line: line.update(format=True)),
        ("header", lambda line: line["heads"].reverse()),
        ("header", lambda line: line["heads"][0].update(root="00" * 32)),
        ("header", lambda line: line["heads"][0].update(size=4)),
        ("header", lambda line: line.update(heads={})),
    ],
)
def test_who_writes_the_last_line_anew_is_still_seen(
    kind: str, change: Callable[[dict[str, Any]], object]
) -> None:
    code, said = check(changed(kind, change))
    assert code == 1
    assert said.startswith("WRONG: line ")


def test_an_erased_message_is_shown_by_its_leaf_alone() -> None:
    found = [json.loads(line) for line in lines()]
    erased = {key: found[2][key] for key in ("sequence", "proof")}
    leaf = LEAVES[erased["sequence"] - 1].hex()
    found[2] = {**erased, "kind": "erased", "leaf": leaf}
    code, said = check(b"".join(ended([canonical(each) for each in found[:-1]])))
    assert (code, "1 of them erased" in said) == (0, True)
    found[2]["leaf"] = LEAVES[0].hex()
    assert check(b"".join(ended([canonical(each) for each in found[:-1]])))[0] == 1


def test_what_is_left_out_of_a_resource_is_not_seen() -> None:
    """What the page says that it does not prove: only the whole log is known to be complete."""
    right = lines()
    assert check(b"".join(ended([*right[:2], *right[3:-1]])))[0] == 0
    whole = lines(None)
    said = check(b"".join(ended([*whole[:2], *whole[3:-1]])))[1]
    assert "complete" not in said


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 65])
def test_its_proofs_are_those_of_the_tree(size: int) -> None:
    leaves = [hashlib.sha256(bytes([n])).digest() for n in range(size)]
    for index in range(size):
        proof = inclusion_proof(leaves, index, size)
        assert check_export.is_included(index, size, leaves[index], proof, root(leaves))
        assert not check_export.is_included(index, size, bytes(32), proof, root(leaves))
        grown = consistency_proof(leaves, index + 1, size)
        old = root(leaves[: index + 1])
        assert check_export.is_grown(index + 1, size, old, root(leaves), grown)
        assert not check_export.is_grown(index + 1, size, bytes(32), root(leaves), grown)


def test_it_is_one_file_that_needs_python_alone() -> None:
    """It is handed to auditors, who have none of our code."""
    tree = ast.parse(FILE.read_text("utf-8"), feature_version=(3, 9))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
        assert type(node).__name__ not in {"Match", "TryStar"}
    assert imported - sys.stdlib_module_names == set()
    assert imported & {"memfold", "tomllib"} == set()
