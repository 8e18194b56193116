"""The page of the command line: every command, as its parser and its docstring say."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from cyclopts import App, Argument
from cyclopts.validators import Number

from memfold_consumers.cli import errors
from memfold_consumers.cli.commands import app
from memfold_consumers.cli.options import GLOBAL, Options
from support.reference import classes
from support.reference.markdown import cell, fence, text
from support.reference.signatures import LINE_MAX
from support.reference.source import ROOTS, doc_behind, find, flat, module, target

INTRO: Final = """\
# Command line

<!-- Written from the code by `make docs`: change the docstrings, not this page. -->
"""
PLACES: Final[dict[type, str]] = {int: "INT", float: "FLOAT", Path: "PATH", str: "STR"}
"""What stands for a value, as in the parser's own help."""
SECTION: Final = re.compile(r"^(\w+)\n-+\n", re.MULTILINE)
"""A heading within a docstring: what stands before the first one is the description."""


def render() -> str:
    """Return the page as it is written to the file."""
    listed = list(names())
    parts = [
        INTRO.strip(),
        fence("memfold COMMAND [OPTIONS]", "text"),
        text(ast.get_docstring(module("memfold_consumers.cli").tree) or "", {}),
        "\n".join(map(_entry, listed)),
        "## Options of every command",
        text(inspect.getdoc(Options) or "", {}),
        _table([each for each in arguments(listed[0]) if _is_global(each)]),
        "## Commands",
        *(part for name in listed for part in _command(name)),
        "## Exit codes",
        "\n".join(_exit_codes()),
        f"{text(inspect.getdoc(errors.report) or '', {})} Codes: [Errors](errors.md).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def names() -> Iterator[str]:
    """Yield the name of each command; that of a command's own command is two words."""
    for name in app:
        if not name.startswith("-"):
            yield name
            yield from (f"{name} {own}" for own in command(name) if not own.startswith("-"))


def command(name: str) -> App:
    """Return what the parser knows of a command."""
    found = app
    for word in name.split():
        found = found[word]
        assert isinstance(found, App)
    return found


def arguments(name: str) -> list[Argument]:
    """Return a command's arguments and options that can be given."""
    found = command(name).assemble_argument_collection(parse_docstring=True)
    return [each for each in found if each.show]


def sections(name: str) -> dict[str, str]:
    """Return a command's description, under "", and the further sections of its docstring."""
    doc = inspect.getdoc(command(name).default_command) or ""
    first, *rest = SECTION.split(doc)
    return {"": first.strip(), **dict(zip(rest[::2], map(str.strip, rest[1::2]), strict=True))}


def _command(name: str) -> Iterator[str]:
    own = [each for each in arguments(name) if not _is_global(each)]
    told = sections(name)
    unknown = told.keys() - {"", "Parameters", "Notes"}
    assert not unknown, f"memfold {name}: its docstring has unknown sections {unknown}"
    yield f"### memfold {name}"
    yield fence("\n".join(_folded([f"memfold {name}", *map(_usage, own)])), "text")
    yield text(told[""], {})
    if own:
        yield _table(own)
    yield text(told.get("Notes", ""), {})


def _entry(name: str) -> str:
    return f"- [{name}](#memfold-{name.replace(' ', '-')}): {_summary(name)}"


def _summary(name: str) -> str:
    return " ".join(text(sections(name)[""].split("\n\n")[0], {}).split())


def _is_global(argument: Argument) -> bool:
    groups = argument.parameter.group
    return isinstance(groups, tuple) and GLOBAL in groups


def _place(argument: Argument) -> str:
    """Return what stands for an option's value; nothing for a switch."""
    choices = argument.get_choices()
    if choices:
        return "|".join(choices)
    if argument.parameter.metavar is not None:
        return f"{argument.parameter.metavar}"
    kinds = {argument.hint, *get_args(argument.hint)}
    if bool in kinds:
        return ""
    return next(place for type_, place in PLACES.items() if type_ in kinds)


def _is_positional(argument: Argument) -> bool:
    return not argument.name.startswith("-")


def _written(argument: Argument) -> str:
    if _is_positional(argument):
        many = argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL
        return f"{argument.name}..." if many else argument.name
    return f"{'|'.join(argument.names)} {_place(argument)}".strip()


def _usage(argument: Argument) -> str:
    written = _written(argument)
    return written if argument.required else f"[{written}]"


def _folded(words: list[str]) -> Iterator[str]:
    """Yield lines that are not too long; what goes on stands further right."""
    line = words[0]
    for word in words[1:]:
        if len(line) + 1 + len(word) > LINE_MAX:
            yield line
            line = "   "
        line += f" {word}"
    yield line


def _table(found: list[Argument]) -> str:
    rows = ["| argument | meaning | default |", "|---|---|---|"]
    for each in found:
        meaning = (each.parameter.help or "").strip()
        assert meaning, f"{each.name} has no help text"
        rows.append(
            f"| `{cell(_written(each))}` | {cell(meaning + _range(each))} | {_default(each)} |"
        )
    return "\n".join(rows)


def _range(argument: Argument) -> str:
    checks = argument.parameter.validator
    for check in checks if isinstance(checks, tuple) else ():
        if isinstance(check, Number) and check.gte is not None and check.lte is not None:
            return f" From {check.gte} to {check.lte}."
    return ""


def _default(argument: Argument) -> str:
    if argument.required:
        return "required"
    default = argument.field_info.default
    # Without identity, 0 would be False.
    nothing = any(default is each for each in (None, False, inspect.Parameter.empty))
    return "" if nothing or default == () else f"`{default}`"


def _exit_codes() -> Iterator[str]:
    """Yield the table of exit codes: the constants of their module, and what stands behind them."""
    here = module(errors.__name__)
    statements = tuple(flat(here.tree.body))
    known = {**errors._EXIT_CODES, errors.UsageError.code: errors.USAGE}
    by_exit: dict[int, list[str]] = {}
    for code in sorted({*_codes(), *known}):
        by_exit.setdefault(known.get(code, errors.FAILURE), []).append(code)
    yield "| code | meaning | error codes |"
    yield "|---|---|---|"
    for place, node in enumerate(statements):
        match node:
            case ast.AnnAssign(value=ast.Constant(value=int() as number)):
                doc = doc_behind(statements, place)
                assert doc, f"{target(node)} of {here.name} has no docstring"
                listed = ", ".join(f"`{code}`" for code in by_exit.get(number, []))
                yield f"| {number} | {doc} | {listed} |"
            case _:
                pass


def _codes() -> set[str]:
    """Return the codes of all errors of the packages."""
    found: set[str] = set()
    for name, root in ROOTS.items():
        for path in sorted((root / name).rglob("*.py")):
            here = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            for node in flat(module(here).tree.body):
                if isinstance(node, ast.ClassDef):
                    each = find(here, node.name)
                    if each is not None and classes.is_error(each):
                        found.add(classes.code(each))
    return found
