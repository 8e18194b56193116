"""Fail where a module of the packages or any function has outgrown the house rule.

A module holds one concept in 400 lines at most, a function one thought in 70.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "projections", "consumers")
SCRIPTS = ("tests", "examples", "benchmarks")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def oversized(source: str, module_lines_max: int | None) -> Iterator[str]:
    """Yield `line: what` for the module and each function that is too long."""
    lines = len(source.splitlines())
    if module_lines_max is not None and lines > module_lines_max:
        yield f"1: module has {lines} lines ({module_lines_max} at most)"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name} has {size} lines ({FUNCTION_LINES_MAX} at most)"


def main() -> int:
    """Print each place that is too long and return the exit code."""
    found = [
        f"{path.relative_to(ROOT)}:{place}"
        for folder in (*PACKAGES, *SCRIPTS)
        for path in sorted((ROOT / folder).rglob("*.py"))
        # A long list of test cases is still one concept.
        for place in oversized(
            path.read_text("utf-8"), MODULE_LINES_MAX if folder in PACKAGES else None
        )
    ]
    print("\n".join(found) or "sizes: every module and function fits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
