"""Reads the packages' source without importing it: where a name is defined, and what stands there.

What is written in the source is the same for every version of Python; what is found at run time
(annotations, docstrings, signatures) is not, so the page of the Python interface is made from here.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from support.shared import ROOT

ROOTS: Final = {
    "memfold": ROOT / "engine",
    "memfold_projections": ROOT / "projections",
    "memfold_consumers": ROOT / "consumers",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Assignment = ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    text: str
    tree: ast.Module

    def segment(self, node: ast.expr) -> str:
        """Return an expression as it is written, on one line and without comments."""
        found = ast.get_source_segment(self.text, node)
        assert found is not None
        if "\n" not in found:
            return found
        if isinstance(node, ast.Constant):
            return json.dumps(node.value, ensure_ascii=False)
        found = re.sub(r"  # .*", "", found)
        found = re.sub(r"\s+", " ", found)
        return re.sub(r",? ([\])}])", r"\1", re.sub(r"([\[({]) ", r"\1", found))

    def annotation(self, node: ast.expr) -> str:
        """Return an annotation as it is written, without quotes around it."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self.segment(node)


@dataclass(frozen=True)
class Found:
    """The definition of one name, and its docstring."""

    module: Module
    name: str
    node: ast.ClassDef | Function | Assignment
    doc: str


@cache
def module(name: str) -> Module:
    """Return a module of the packages."""
    first, *rest = name.split(".")
    path = Path(ROOTS[first], first, *rest)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = file.read_text("utf-8")
    return Module(name, text, ast.parse(text))


@cache
def find(where: str, name: str) -> Found | None:
    """Return what a name means in a module of the packages; None if it is not theirs."""
    here = module(where)
    statements = tuple(flat(here.tree.body))
    # The implementation of a function stands behind its overloads.
    for place, node in reversed(list(enumerate(statements))):
        if isinstance(node, ast.ClassDef | Function) and node.name == name:
            return Found(here, name, node, ast.get_docstring(node) or "")
        if isinstance(node, Assignment) and target(node) == name:
            return Found(here, name, node, doc_behind(statements, place))
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    known = node.module is not None and node.module.split(".")[0] in ROOTS
                    return find(str(node.module), alias.name) if known else None
    return None


def flat(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a block, and those under an ``if`` like ``TYPE_CHECKING``."""
    for node in body:
        if isinstance(node, ast.If):
            yield from flat(node.body)
        else:
            yield node


def target(node: ast.AST) -> str | None:
    """Return the one plain name, or ``self.name``, that an assignment gives a value."""
    match node:
        case ast.AnnAssign(target=place) | ast.Assign(targets=[place]):
            pass
        case _:
            return None
    match place:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return f"self.{name}"
        case _:
            return None


def doc_behind(statements: Sequence[ast.stmt], place: int) -> str:
    """Return the docstring that stands behind an assignment."""
    match statements[place + 1 : place + 2]:
        case [ast.Expr(value=ast.Constant(value=str() as text))]:
            return inspect.cleandoc(text)
        case _:
            return ""


def decorators(node: ast.ClassDef | Function) -> set[str]:
    """Return the names of what a definition is decorated with."""
    called = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return {ast.unparse(each).split(".")[-1] for each in called}


def names(node: ast.AST) -> list[str]:
    """Return the names that an expression mentions, those in quotes too."""
    found: list[str] = []
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            found.append(each.id)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            found += re.findall(r"[A-Za-z_]\w*", each.value)
    return found
