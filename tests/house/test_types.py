"""What the public interface's types promise: right use is accepted, and mistakes are found."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import pytest

import memfold
from support.shared import ROOT

TYPED = ROOT / "tests" / "typed"
ACCEPTED = TYPED / "accepted.py"
REJECTED = TYPED / "rejected.py"
TIMEOUT_S = 110


def marked(page: Path) -> set[int]:
    """Return the lines that must be refused."""
    lines = page.read_text("utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("  # error")}


def run(name: str, *arguments: object) -> str:
    """Run a checker at the root and return what it prints."""
    command = [sys.executable, "-m", name, *map(str, arguments)]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert ran.returncode == 1, f"{name} finds no mistake, or fails: {ran.stdout}{ran.stderr}"
    return ran.stdout


def mypy(tmp_path: Path) -> list[tuple[str, int]]:
    """Return the page and line of all that mypy refuses, as the project has set it."""
    del tmp_path
    found = run("mypy", "--no-pretty", "--no-error-summary", ACCEPTED, REJECTED)
    places = re.findall(r"^(.+?):(\d+): error: ", found, re.MULTILINE)
    return [(Path(page).name, int(line)) for page, line in places]


def pyright(tmp_path: Path) -> list[tuple[str, int]]:
    """Return the same of pyright, as the project has set it for code without exceptions.

    It skips an excluded file even where that is named, so it gets the settings without that.
    """
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pyright"]
    root = Path(os.path.relpath(ROOT, tmp_path))
    settings |= {
        "include": [str(root / TYPED.relative_to(ROOT))],
        "extraPaths": [str(root / name) for name in ("engine", "projections", "consumers")],
        "venvPath": str(root),
        "exclude": [],
        "executionEnvironments": [],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    found = json.loads(run("pyright", "--outputjson", "-p", tmp_path))
    assert found["summary"]["filesAnalyzed"] == len([ACCEPTED, REJECTED])
    return [
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in found["generalDiagnostics"]
    ]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_right_use_is_accepted_and_each_mistake_found(
    tmp_path: Path, checker: Callable[[Path], list[tuple[str, int]]]
) -> None:
    found = set(checker(tmp_path))
    assert marked(ACCEPTED) == set()
    assert found == {(REJECTED.name, line) for line in marked(REJECTED)}


def used() -> set[str]:
    """Return every name and attribute of the page of typed usage."""
    nodes = list(ast.walk(ast.parse(ACCEPTED.read_text("utf-8"))))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_typed_usage_leaves_out_no_public_name_and_no_method() -> None:
    public = {name: getattr(memfold, name) for name in memfold._HOME}
    wanted = {*public, "local", "__version__"}
    for value in public.values():
        if inspect.isclass(value) and not issubclass(value, Exception):
            wanted |= {
                name
                for name, member in vars(value).items()
                if not name.startswith(("_", "model_"))
                and isinstance(member, FunctionType | classmethod | staticmethod | property)
            }
    assert wanted - used() == set()
