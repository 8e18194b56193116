"""Classes as the page shows them: what kind they are, their fields, attributes and methods."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Final

from support.reference.signatures import annotated, value
from support.reference.source import (
    Found,
    Function,
    Module,
    decorators,
    doc_behind,
    find,
    flat,
    names,
    target,
)

ROOT_ERROR: Final = "MemfoldError"
PROPERTIES: Final = {"property", "cached_property"}


@dataclass(frozen=True)
class Field:
    """A field, an attribute or a property: its type, and the module that this is written in."""

    name: str
    module: Module
    type: ast.expr
    default: str | None = None
    doc: str = ""

    def __str__(self) -> str:
        default = "" if self.default is None else f" = {self.default}"
        return f"{self.name}: {self.module.annotation(self.type)}{default}"


def body(found: Found) -> ast.ClassDef:
    """Return the statement that defines a class."""
    assert isinstance(found.node, ast.ClassDef)
    return found.node


def bases(found: Found) -> list[Found]:
    """Return the base classes that are of the packages."""
    near = [find(found.module.name, ast.unparse(each)) for each in body(found).bases]
    return [each for each in near if each is not None]


def roots(found: Found) -> set[str]:
    """Return the names of all its base classes, of the packages or not."""
    near = {ast.unparse(each).split("[")[0] for each in body(found).bases}
    return near.union(*(roots(each) for each in bases(found)))


def is_value(found: Found) -> bool:
    """Tell a class of fields, which users make or read, from one that does something."""
    return "dataclass" in decorators(body(found)) or bool(
        roots(found) & {"BaseModel", "NamedTuple", "TypedDict"}
    )


def is_error(found: Found) -> bool:
    """Tell one of the errors that have a code."""
    if not isinstance(found.node, ast.ClassDef):
        return False
    return found.name == ROOT_ERROR or ROOT_ERROR in roots(found)


def code(found: Found) -> str:
    """Return an error's code, its own or inherited."""
    for node in body(found).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and target(node) == "code":
            assert isinstance(node.value, ast.Constant)
            return str(node.value.value)
    return code(bases(found)[0])


def fields(found: Found) -> list[Field]:
    """Return the public fields and attributes of a class's own, and its properties behind them."""
    statements = tuple(flat(body(found).body))
    own = [
        _declared(found, node, name, doc_behind(statements, place))
        for place, node in enumerate(statements)
        if isinstance(node, ast.AnnAssign)
        and (name := target(node)) is not None
        and not name.startswith("_")
        and not ast.unparse(node.annotation).startswith("ClassVar")
    ]
    known = {each.name for each in own}
    return own + [
        each for each in [*_attributes(found), *_properties(found)] if each.name not in known
    ]


def all_names(found: Found) -> list[str]:
    """Return the names of the fields of a class and its bases, in order."""
    inherited = [name for base in bases(found) for name in all_names(base)]
    return [*inherited, *(each.name for each in fields(found))]


def methods(found: Found) -> dict[str, list[Function]]:
    """Return the public methods of a class's own by name; several where they are overloaded."""
    every: dict[str, list[Function]] = {}
    for node in flat(body(found).body):
        if not isinstance(node, Function) or node.name.startswith("_"):
            continue
        if not decorators(node) & PROPERTIES:
            every.setdefault(node.name, []).append(node)
    return every


def mentions(found: Found) -> list[tuple[Module, str]]:
    """Return the names in its fields' types, its methods' annotations and its bases, and where."""
    near = [(each.module, name) for each in fields(found) for name in names(each.type)]
    own = [name for nodes in methods(found).values() for each in nodes for name in annotated(each)]
    own += [name for base in body(found).bases for name in names(base)]
    return near + [(found.module, name) for name in own]


def _declared(found: Found, node: ast.AnnAssign, name: str, doc: str) -> Field:
    default = None if node.value is None else value(found.module, node.value)
    return Field(name, found.module, node.annotation, default, doc)


def _properties(found: Found) -> list[Field]:
    near = [each for each in body(found).body if isinstance(each, Function)]
    return [
        Field(node.name, found.module, node.returns, None, ast.get_docstring(node) or "")
        for node in near
        if decorators(node) & PROPERTIES
        and not node.name.startswith("_")
        and node.returns is not None
    ]


def _attributes(found: Found) -> list[Field]:
    """Return what ``__init__`` gives every instance, with the type that the source shows."""
    if is_value(found):
        return []
    made = [each for each in body(found).body if isinstance(each, Function)]
    near: list[Field] = []
    for init in (each for each in made if each.name == "__init__"):
        for place, node in enumerate(init.body):
            name = (target(node) or "").removeprefix("self.")
            if (target(node) or "").startswith("self.") and not name.startswith("_"):
                home, type_ = _type(found, init, node)
                doc = doc_behind(init.body, place)
                near.append(Field(name, home, type_, None, doc))
    return near


def _type(found: Found, init: Function, node: ast.stmt) -> tuple[Module, ast.expr]:
    """Return the type of an attribute, and the module that it is written in."""
    match node:
        case ast.AnnAssign(annotation=annotation):
            return found.module, annotation
        case ast.Assign(value=ast.Name(id=name)):
            for each in [*init.args.args, *init.args.kwonlyargs]:
                if each.arg == name and each.annotation is not None:
                    return found.module, each.annotation
        case ast.Assign(value=ast.Call(func=ast.Name(id=name))):
            made = find(found.module.name, name)
            if made is not None and isinstance(made.node, Function) and made.node.returns:
                return made.module, made.node.returns
        case _:
            pass
    problem = f"{found.name}: say the type of {ast.unparse(node)!r} where it stands"
    raise AssertionError(problem)
