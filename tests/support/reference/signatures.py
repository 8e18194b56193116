"""Signatures as they are called: ``await``, ``async with``, defaults as values."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Final

from support.reference.source import Found, Function, Module, decorators, find, names

LINE_MAX: Final = 100
VALUE_MAX: Final = 40
CONTEXTS: Final = {"asynccontextmanager", "contextmanager"}


@dataclass(frozen=True)
class Signature:
    """What stands before and behind the parentheses, and between them."""

    before: str
    parameters: tuple[str, ...]
    result: str

    def __str__(self) -> str:
        line = f"{self.before}({', '.join(self.parameters)}){self.result}"
        if len(line) <= LINE_MAX:
            return line
        inner = "".join(f"    {each},\n" for each in self.parameters)
        return f"{self.before}(\n{inner}){self.result}"


def signature(module: Module, node: Function, name: str, *, bound: bool) -> Signature:
    """Return how a function is called, under a name; ``bound`` leaves its first parameter out."""
    return Signature(
        f"{_prefix(node)}{name}",
        tuple(_parameters(module, node.args, bound=bound)),
        "" if node.returns is None else f" -> {_result(module, node)}",
    )


def unpacked(module: Module, node: Function) -> tuple[str, Found] | None:
    """Return the name of the keyword arguments and the TypedDict that lists them."""
    match node.args.kwarg:
        case ast.arg(
            arg=name, annotation=ast.Subscript(value=ast.Name(id="Unpack"), slice=ast.Name(id=what))
        ):
            found = find(module.name, what)
            assert found is not None, what
            return name, found
        case _:
            return None


def annotated(node: Function) -> list[str]:
    """Return the names that a function's annotations mention."""
    places = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    places += [each for each in (node.args.vararg, node.args.kwarg) if each is not None]
    found = [each.annotation for each in places] + [node.returns]
    return [name for each in found if each is not None for name in names(each)]


def value(module: Module, node: ast.expr) -> str:
    """Return a default: a constant's own value where that is short, else its name."""
    if isinstance(node, ast.Name):
        found = find(module.name, node.id)
        given = None if found is None else getattr(found.node, "value", None)
        if found is not None and isinstance(given, ast.expr):
            text = value(found.module, given)
            return text if len(text) <= VALUE_MAX else node.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        given = {each.arg: each.value for each in node.keywords}
        if node.func.id in {"field", "Field"}:
            return _field(module, node, given)
    return module.segment(node)


def _field(module: Module, node: ast.Call, given: dict[str | None, ast.expr]) -> str:
    factory = given.get("default_factory")
    if factory is None:
        return value(module, node.args[0] if node.args else given["default"])
    base = factory.value if isinstance(factory, ast.Subscript) else factory
    empty = {"dict": "{}", "list": "[]", "tuple": "()"}
    return empty.get(ast.unparse(base), f"{ast.unparse(base)}()")


def _prefix(node: Function) -> str:
    if decorators(node) & CONTEXTS:
        return "async with " if isinstance(node, ast.AsyncFunctionDef) else "with "
    if not isinstance(node, ast.AsyncFunctionDef):
        return ""
    yields = any(isinstance(each, ast.Yield) for each in ast.walk(node))
    return "async for each in " if yields else "await "


def _result(module: Module, node: Function) -> str:
    assert node.returns is not None
    if isinstance(node.returns, ast.Subscript) and not _prefix(node).startswith("await"):
        inner = node.returns.slice
        generator = ast.unparse(node.returns.value).endswith(("Generator", "Iterator"))
        if generator and _prefix(node):
            first = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            return module.annotation(first)
    return module.annotation(node.returns)


def _parameters(module: Module, given: ast.arguments, *, bound: bool) -> list[str]:
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults))
    defaults += given.defaults
    found: list[str] = []
    for place, (each, default) in enumerate(zip(plain, defaults, strict=True), 1):
        if not (bound and place == 1):
            found.append(_parameter(module, each, default))
        if place == len(given.posonlyargs) and found:
            found.append("/")
    if given.vararg is not None:
        found.append("*" + _parameter(module, given.vararg, None))
    elif given.kwonlyargs:
        found.append("*")
    for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(_parameter(module, each, default))
    if given.kwarg is not None:
        found.append("**" + _parameter(module, given.kwarg, None))
    return found


def _parameter(module: Module, given: ast.arg, default: ast.expr | None) -> str:
    text = given.arg
    if given.annotation is not None:
        text += f": {module.annotation(given.annotation)}"
    if default is not None:
        text += f"{' = ' if given.annotation is not None else '='}{value(module, default)}"
    return text
