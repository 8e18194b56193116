"""What was published once is read and folded the same for ever, and codes are never renamed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import memfold.gate
from memfold import errors
from memfold.events import DATA_TYPES
from memfold.sealed import Key, opened, seal
from memfold.subjects import Address
from memfold.wire import digest
from support.golden import ACTOR, CASES, HERE, folded, schemas
from support.shared import ROOT

ENGINE = ROOT / "engine" / "memfold"
FILES = sorted((HERE / "events").glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_event_of_the_past_folds_to_what_was_recorded(path: Path) -> None:
    golden = json.loads(path.read_text("utf-8"))
    assert folded(golden["messages"]) == golden["last"]


def test_each_case_has_its_file_and_each_event_type_a_case() -> None:
    assert {path.stem for path in FILES} >= set(CASES)
    types = {path.stem.partition(".")[0] for path in FILES}
    assert types == {"WorkingMemoryUpdated", *(cls.type for cls in DATA_TYPES)}


def test_the_shapes_on_the_wire_have_not_changed() -> None:
    """A shape that changes needs a new version, an upcaster and a golden file of its own."""
    assert schemas() == json.loads((HERE / "schemas.json").read_text("utf-8"))


def test_a_sealed_event_of_the_past_opens_to_what_was_recorded() -> None:
    """Under a fixed key and nonce the same bytes come out, here and with any other code."""
    golden = json.loads((HERE / "sealed.json").read_text("utf-8"))
    address = Address("user_123", "t1", "messages", ACTOR)
    key = Key(golden["key"]["id"], bytes.fromhex(golden["key"]["secret"]))
    nonce = bytes.fromhex(golden["nonce"])
    assert seal(golden["plain"], address, key, nonce) == golden["sealed"]
    opening = opened(golden["sealed"], address, _Ring(key))
    assert opening == {name: golden["plain"][name] for name in golden["plain"] if name != "salt"}
    assert digest(opening).hex() == golden["digest"]


class _Ring:
    def __init__(self, key: Key) -> None:
        self._key = key

    def find(self, _resource: str, keyid: str, /) -> Key | None:
        return self._key if keyid == self._key.id else None


def lines(name: str) -> list[str]:
    return (HERE / name).read_text("utf-8").split()


def reasons_of_call(node: ast.Call) -> list[ast.expr]:
    """Return the expressions of a call that give a reason code."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    found = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
    if name in {"_reject", "_fail"}:
        found.append(node.args[0])
    if name == "Outcome":
        found += node.args[1:2]
    return found


def reasons_of_gate(node: ast.AST) -> list[ast.expr]:
    """Return those of the gate's `_REASONS` and `_reason`."""
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_REASONS":
        assert isinstance(node.value, ast.Dict)
        return node.value.values
    if not isinstance(node, ast.FunctionDef) or node.name != "_reason":
        return []
    returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
    return [value.args[-1] if isinstance(value, ast.Call) else value for value in returned if value]


def reasons_in(tree: ast.AST) -> set[str]:
    """Return the reason codes that a module can give: they are always literals."""
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        found += reasons_of_call(node) if isinstance(node, ast.Call) else reasons_of_gate(node)
    return {
        node.value
        for node in found
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_reason_codes_are_those_of_the_list() -> None:
    """A reason is a promise: applications tell outcomes apart by it, and the log may hold it."""
    found: set[str] = set()
    for path in sorted(ENGINE.glob("*.py")):
        found |= reasons_in(ast.parse(path.read_text("utf-8")))
    assert sorted(found) == lines("reason_codes.txt")


def test_the_error_codes_are_those_of_the_list_and_each_stands_for_one_class() -> None:
    classes = [
        value
        for module in (errors, memfold.gate)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, errors.MemfoldError)
        and value.__module__ == module.__name__
    ]
    codes = sorted(cls.code for cls in classes)
    assert codes == lines("error_codes.txt")
    assert len(codes) == len(set(codes))
    known = errors.error_classes()
    assert {code: known[code] for code in codes} == {cls.code: cls for cls in classes}


def imports_of(path: Path) -> set[str]:
    tree: Any = ast.parse(path.read_text("utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


CORE = {
    *(
        "canonical",
        "definitions",
        "documents",
        "envelope",
        "erasure",
        "erasure_rules",
        "errors",
        "events",
    ),
    *(
        "fold",
        "gate",
        "ids",
        "values",
        "limits",
        "merge",
        "provenance",
        "rules",
        "sealed",
        "state",
        "steps",
        "subjects",
        "upcast",
        "wire",
    ),
}
PURE = {
    *("__future__", "base64", "binascii", "collections.abc", "dataclasses", "datetime"),
    *("functools", "hashlib", "hmac", "json", "math"),
    *("re", "typing", "urllib.parse", "jiter", "jsonschema_rs", "orjson", "pydantic", "memfold"),
    "cryptography.exceptions",
    "cryptography.hazmat.primitives.ciphers.aead",
    *(f"memfold.{name}" for name in CORE),
}


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_imports_nothing_that_could_differ_between_two_folds(name: str) -> None:
    path = ENGINE / f"{name}.py"
    assert imports_of(path) <= PURE
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "today", "utcnow", "fromtimestamp", "random"}
