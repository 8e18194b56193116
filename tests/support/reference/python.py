"""The page of the Python interface: every public name, as its source says."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import memfold
from support.reference import classes
from support.reference.markdown import anchor, cell, fence, line, text
from support.reference.signatures import CONTEXTS, LINE_MAX, annotated, signature, unpacked
from support.reference.source import Assignment, Found, Function, Module, decorators, find, names

INTRO: Final = """\
# Python

<!-- Written from the code by `make docs`: change the docstrings, not this page. -->

The public names: those of `memfold`, and `memfold_consumers.local`. Everything else may change.
The code is typed (`py.typed`). How to use it: [Guide](../guide.md).
"""
FIRST: Final = ("connect", "local", "Memory", "Resource", "Thread", "WorkingMemory", "Message")
"""What stands first in its group; the others follow by name."""
MORE: Final = {
    "Memory.status": "Its fields: [Operating](../operating.md#status).",
    "Memory.parked": "Their fields: [Queries](queries.md#shapes).",
    "Memory.prepare": "Reasons: [Events](events.md#reasons).",
    "Resource.attachment": "See [Attachments](../attachments.md).",
    "Thread.prompt": "See [Prompts](../prompts.md#prompts).",
    "MemoryTool": "How it answers: [The tool](../prompts.md#the-tool).",
    "Processor": "See [Two lines in an agent's loop](../prompts.md#two-lines-in-an-agents-loop).",
    "Attachment": "See [Attachments](../attachments.md).",
}
"""Where another page says more."""
KINDS: Final = {
    "Opening": "",
    "Handles": "",
    "Values": "All are frozen.",
    "Functions": "",
    "Constants": "",
    "Types": "What the signatures above mention. These are no names of `memfold`.",
    "Errors": "What to do about each, and all reasons: [Errors](errors.md).",
}


class Page:
    """Everything that the page shows, found once, so that its parts can link to each other."""

    def __init__(self) -> None:
        public = [_public("memfold", name) for name in (*memfold._HOME, "__version__")]
        self.public = [*public, _public("memfold_consumers", "local")]
        self.types = self._reached()
        every = [*self.public, *self.types]
        self.known = {each.name: anchor(each.name) for each in every}
        for each in every:
            if isinstance(each.node, ast.ClassDef):
                called = [f"{each.name}.{method}" for method in classes.methods(each)]
                self.known |= {name: anchor(name) for name in called}
                inner = [f"{each.name}.{field.name}" for field in classes.fields(each)]
                self.known |= dict.fromkeys(inner, anchor(each.name))
        errors = [each.name for each in every if classes.is_error(each)]
        self.known |= dict.fromkeys(errors, "errors")
        assert MORE.keys() <= self.known.keys(), f"there is no {MORE.keys() - self.known.keys()}"

    def render(self) -> str:
        """Return the page."""
        groups: dict[str, list[Found]] = {kind: [] for kind in KINDS}
        for each in self.public:
            groups[_kind(each)].append(each)
        for kind in KINDS:
            groups[kind].sort(key=_errors_order if kind == "Errors" else _order)
        groups["Types"] = sorted(self.types, key=_order)
        parts = [INTRO.strip(), "\n".join(self._contents(groups))]
        for kind, found in groups.items():
            if found:
                parts += [f"## {kind}", KINDS[kind]]
                parts += self._errors(found) if kind == "Errors" else self._sections(found)
        page = "\n\n".join(part for part in parts if part) + "\n"
        prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
        places = Counter(map(anchor, re.findall(r"^#+ (.+)$", prose, re.MULTILINE)))
        assert places.most_common(1)[0][1] == 1, f"two headings {places.most_common(1)}"
        return page

    def _contents(self, groups: dict[str, list[Found]]) -> Iterator[str]:
        for kind, found in groups.items():
            near = [f"[{_shown(each.name)}](#{self.known[each.name]})" for each in found]
            if kind == "Errors":
                yield f"- [{kind}](#{anchor(kind)})"
            elif near:
                yield f"- [{kind}](#{anchor(kind)}): {', '.join(near)}"

    def _sections(self, group: list[Found]) -> Iterator[str]:
        for found in group:
            assert found.doc, f"{found.module.name}.{found.name} has no docstring"
            yield f"### {_shown(found.name)}"
            if isinstance(found.node, ast.ClassDef):
                yield from self._class(found)
            elif isinstance(found.node, Function):
                home = found.module.name.split(".")[0]
                yield from self._function(found, [found.node], found.name, f"{home}.{found.name}")
            else:
                yield from self._assigned(found, found.node)

    def _class(self, found: Found) -> Iterator[str]:
        fields = classes.fields(found)
        if fields:
            inner = "\n".join(f"    {field}" for field in fields)
            yield fence(f"class {_heading(found)}:\n{inner}")
        yield text(found.doc, self.known)
        yield "\n".join(
            f"- `{field.name}`: {line(field.doc, self.known)}" for field in fields if field.doc
        )
        yield MORE.get(found.name, "")
        for base in classes.bases(found):
            inherited = [*classes.all_names(base), *classes.methods(base)]
            listed = ", ".join(f"`{name}`" for name in inherited)
            yield f"From [{base.name}](#{self.known[base.name]}): {listed}."
        methods = classes.methods(found) if self._is_used(found) else {}
        if len(methods) > 2:
            links = [f"[{name}](#{anchor(f'{found.name}.{name}')})" for name in methods]
            yield f"Methods: {', '.join(links)}."
        for name, nodes in methods.items():
            called = f"{found.name}.{name}"
            yield f"#### {called}"
            how = decorators(nodes[-1])
            receiver = found.name if how & {"classmethod", "staticmethod"} else _snake(found.name)
            bound = "staticmethod" not in how
            yield from self._function(found, nodes, called, f"{receiver}.{name}", bound=bound)

    def _function(
        self, found: Found, nodes: list[Function], name: str, called: str, *, bound: bool = False
    ) -> Iterator[str]:
        shown = [node for node in nodes if "overload" in decorators(node)] or nodes
        module = found.module
        yield fence("\n".join(str(signature(module, node, called, bound=bound)) for node in shown))
        yield text(ast.get_docstring(nodes[-1]) or "", self.known)
        for node in shown[:1]:
            listed = unpacked(module, node)
            if listed is not None:
                given = ", ".join(f"`{each}`" for each in classes.all_names(listed[1]))
                type_ = listed[1].name
                yield f"`**{listed[0]}`: {given}, see [{type_}](#{self.known[type_]})."
        yield MORE.get(name, "")

    def _assigned(self, found: Found, node: Assignment) -> Iterator[str]:
        if isinstance(node, ast.AnnAssign) and "Final" not in ast.unparse(node.annotation):
            yield fence(f"{found.name}: {found.module.annotation(node.annotation)}")
        elif isinstance(node.value, ast.Constant) and "\n" in str(node.value.value):
            yield fence(str(node.value.value).strip("\n"), "text")
        elif node.value is not None:
            yield fence(_alias(found.name, found.module.segment(node.value)))
        yield text(found.doc, self.known)

    def _errors(self, group: list[Found]) -> Iterator[str]:
        rows = ["| error | code | is a | meaning |", "|---|---|---|---|"]
        for each in group:
            parents = ", ".join(f"`{ast.unparse(base)}`" for base in classes.body(each).bases)
            meaning = cell(line(each.doc, {}))
            rows.append(f"| `{each.name}` | `{classes.code(each)}` | {parents} | {meaning} |")
        yield "\n".join(rows)
        yield "\n".join(
            f"- `{each.name}.{field}`: {line(field.doc, self.known)}"
            for each in group
            for field in classes.fields(each)
        )

    def _is_used(self, found: Found) -> bool:
        """Tell whether the methods of a class are for users: public, or inherited by what is."""
        if found in self.public or "Protocol" in classes.roots(found):
            return True
        return any(found in classes.bases(each) for each in self._classes())

    def _classes(self) -> list[Found]:
        return [each for each in self.public if isinstance(each.node, ast.ClassDef)]

    def _reached(self) -> list[Found]:
        """Return what the public names' signatures and fields mention, and what those do."""
        public = {each.name for each in self.public}
        found: dict[str, Found] = {}
        todo = list(self.public)
        while todo:
            each = todo.pop()
            for home, name in _mentioned(each):
                near = find(home.name, name)
                if near is None or near.name in public or not _is_type(near):
                    continue
                if near.name not in found:
                    found[near.name] = near
                    todo.append(near)
                same = ast.dump(found[near.name].node) == ast.dump(near.node)
                assert same, f"two types have the name {near.name}"
        return list(found.values())


def render() -> str:
    """Return the page as it is written to the file."""
    return Page().render()


def _public(module: str, name: str) -> Found:
    found = find(module, name)
    assert found is not None, f"{module}.{name} is public and nowhere defined"
    return found


def _kind(found: Found) -> str:
    match found.node:
        case ast.ClassDef():
            if classes.is_error(found):
                return "Errors"
            return "Values" if classes.is_value(found) else "Handles"
        case ast.Assign() | ast.AnnAssign():
            return "Constants"
        case _:
            return "Opening" if decorators(found.node) & CONTEXTS else "Functions"


def _order(found: Found) -> tuple[int, str]:
    return (FIRST.index(found.name) if found.name in FIRST else len(FIRST), found.name)


def _errors_order(found: Found) -> tuple[int, str]:
    """Order errors as their module does; those of other modules stand behind."""
    home = found.module.name == "memfold.errors"
    return (found.node.lineno if home else 1_000_000, found.name)


def _mentioned(found: Found) -> Iterable[tuple[Module, str]]:
    node = found.node
    if isinstance(node, ast.ClassDef):
        return [] if classes.is_error(found) else classes.mentions(found)
    if isinstance(node, Function):
        return [(found.module, name) for name in annotated(node)]
    if node.value is None or found.name.isupper():
        return []
    return [(found.module, name) for name in names(node.value)]


def _is_type(found: Found) -> bool:
    """Tell a class or an alias of types from functions, constants and type variables."""
    if isinstance(found.node, ast.ClassDef):
        return True
    if isinstance(found.node, Function) or found.name.isupper():
        return False
    value = found.node.value
    return not (isinstance(value, ast.Call) or value is None)


def _shown(name: str) -> str:
    """Return a name as text: one with underscores around it would be bold."""
    return f"`{name}`" if name.startswith("_") else name


def _heading(found: Found) -> str:
    node = classes.body(found)
    given = [found.module.segment(each) for each in node.bases]
    given += [f"{each.arg}={found.module.segment(each.value)}" for each in node.keywords]
    bases = ", ".join(given)
    return f"{found.name}({bases})" if bases else found.name


def _alias(name: str, value: str) -> str:
    if len(name) + len(value) + 3 <= LINE_MAX or " | " not in value:
        return f"{name} = {value}"
    inner = "\n    | ".join(value.split(" | "))
    return f"{name} = (\n    {inner}\n)"


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")
