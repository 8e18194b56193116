"""What a model is shown is read by people first: every text and every tool has its golden file."""

from __future__ import annotations

import json
import os

import pytest

from memfold.prompts.texts import PROMPT_VERSION
from support.prompts import PROMPTS, golden

CASES = golden()
VERSION = PROMPTS / "version.txt"


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_prompt_reads_as_recorded(name: str) -> None:
    path = PROMPTS / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(CASES[name], "utf-8")
        VERSION.write_text(f"{PROMPT_VERSION}\n", "utf-8")
    assert path.read_text("utf-8") == CASES[name]


def test_the_version_of_the_wording_is_that_of_the_files() -> None:
    assert int(VERSION.read_text("utf-8")) == PROMPT_VERSION
    assert {path.name for path in PROMPTS.iterdir()} == {*CASES, VERSION.name}


def test_tools_are_shaped_as_each_provider_takes_them() -> None:
    """B180: the tool is there in every provider's shape, with the same parameters."""
    openai = json.loads(CASES["tool.json_free.openai.json"])
    anthropic = json.loads(CASES["tool.json_free.anthropic.json"])
    plain = json.loads(CASES["tool.json_free.plain.json"])
    assert openai["type"] == "function"
    assert openai["function"] == plain
    assert anthropic["input_schema"] == plain["parameters"]
    assert anthropic["name"] == plain["name"] == "update_working_memory"
