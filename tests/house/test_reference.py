"""The reference of interface and command line is what the code gives, and leaves nothing out."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

import memfold
import memfold_consumers
from memfold_consumers.cli.commands import app
from support.reference import REFERENCE, pages
from support.reference.command_line import arguments

PYTHON = REFERENCE / "python.md"
COMMAND_LINE = REFERENCE / "command-line.md"
PUBLIC = {name: getattr(memfold, name) for name in memfold._HOME}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
ERRORS = {name for name, value in CLASSES.items() if issubclass(value, Exception)}
BLOCK = re.compile(r"```.*?```", re.DOTALL)


def section(page: Path, heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    text = BLOCK.sub(lambda match: match.group().replace("\n#", "\n "), page.read_text("utf-8"))
    [found] = re.findall(rf"(?ms)^#+ `?{re.escape(heading)}`?\n(.*?)(?=^#|\Z)", text)
    return str(found)


def public_members(cls: type) -> dict[str, object]:
    """Return what a class of ours has of its own and shows."""
    return {
        name: value
        for name, value in vars(cls).items()
        if not name.startswith(("_", "model_")) and not inspect.ismemberdescriptor(value)
    }


@pytest.mark.parametrize("page", [PYTHON, COMMAND_LINE], ids=lambda page: page.name)
def test_a_page_is_what_the_code_gives(page: Path) -> None:
    """Write it anew with ``make docs``."""
    assert page.read_bytes() == pages()[page].encode()


@pytest.mark.parametrize("name", [*memfold._HOME, "__version__", *memfold_consumers.__all__])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    if name in ERRORS:
        assert f"| `{name}` | `{PUBLIC[name].code}` |" in section(PYTHON, "Errors")
    else:
        assert section(PYTHON, name).strip()


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - ERRORS))
def test_every_member_of_a_public_class_is_in_the_reference(name: str) -> None:
    own = section(PYTHON, name)
    for member, value in public_members(CLASSES[name]).items():
        if isinstance(value, property):
            assert f"    {member}: " in own
        else:
            assert f".{member}(" in section(PYTHON, f"{name}.{member}")


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - ERRORS))
def test_every_field_of_a_value_is_in_the_reference(name: str) -> None:
    cls = CLASSES[name]
    fields = set(cls.model_fields) if issubclass(cls, BaseModel) else set[str]()
    if dataclasses.is_dataclass(cls):
        fields = {each.name for each in dataclasses.fields(cls)}
    shown = set(re.findall(r"^    (\w+): ", section(PYTHON, name), re.MULTILINE))
    assert {field for field in fields if not field.startswith("_")} - shown == set()


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - ERRORS))
def test_every_value_is_frozen_as_the_reference_says(name: str) -> None:
    cls = CLASSES[name]
    if dataclasses.is_dataclass(cls):
        assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    elif issubclass(cls, BaseModel):
        assert cls.model_config.get("frozen") is True


def functions() -> dict[str, Callable[..., object]]:
    """Return every public function and method by its heading."""
    found: dict[str, Callable[..., object]] = {"local": memfold_consumers.local}
    found |= {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
    for name in sorted(CLASSES.keys() - ERRORS):
        for member, value in public_members(CLASSES[name]).items():
            if not isinstance(value, property):
                found[f"{name}.{member}"] = getattr(CLASSES[name], member)
    return found


@pytest.mark.parametrize("heading", functions())
def test_a_signature_names_the_parameters_that_there_are(heading: str) -> None:
    function = functions()[heading]
    code = "".join(re.findall(r"```python\n(.*?)```", section(PYTHON, heading), re.DOTALL))
    shown = set(re.findall(r"[(,*\s](\w+)(?=: |=)", code))
    parameters = [each for each in inspect.signature(function).parameters if each != "self"]
    assert shown == set(parameters)
    if inspect.iscoroutinefunction(function):
        assert code.startswith("await ")


@pytest.mark.parametrize("command", [name for name in app if not name.startswith("-")])
def test_every_command_is_in_the_reference_with_its_options(command: str) -> None:
    shown = section(COMMAND_LINE, f"memfold {command}")
    shown += section(COMMAND_LINE, "Options of every command")
    named = {name for each in arguments(command) for name in each.names}
    assert named - set(re.findall(r"[\w-]+", shown)) == set()
    assert f"memfold {command}" in shown


def test_keyword_arguments_of_a_list_are_named_where_they_are_taken() -> None:
    assert "`archived`" in section(PYTHON, "Resource.threads")
    assert "[ThreadFilter](#threadfilter)" in section(PYTHON, "Resource.threads")
