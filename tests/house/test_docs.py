"""The documentation names what there is: links, commands, names, settings, types and codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import memfold
from memfold.errors import error_classes
from memfold.events import DATA_TYPES, Data, MemoryMerged
from memfold.subjects import Address, Facet
from memfold.wire import read_event
from memfold_consumers.queries import OPERATIONS
from memfold_consumers.requests import Request
from memfold_consumers.settings import EngineSettings
from support.shared import ROOT

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
CODE_BLOCK = re.compile(r"```.*?```", re.DOTALL)
JSON = re.compile(r"```json\n(.*?)```", re.DOTALL)
SHAPES: tuple[type[Data], ...] = (MemoryMerged, *DATA_TYPES)
EVENT_TYPES: dict[str, Facet] = {shape.type: shape.facet for shape in SHAPES}
# Words that mean something else elsewhere: docs/README.md has those that are used instead.
BANNED = re.compile(
    r"\b(sessions?|chats?|topics?|offsets?|cursors?|migrations?|views?|caches?|cached)\b",
    re.IGNORECASE,
)
NAMES = re.compile(r"OpenAI Agents SQLiteSession|session = thread")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text("utf-8")


def mentioned(text: str) -> set[str]:
    """Return every word that stands in code, inline or in a block."""
    return set(re.findall(r"[\w-]+", " ".join(CODE.findall(text))))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made by common renderers."""
    headings = re.findall(r"^#+ (.+)$", CODE_BLOCK.sub("", read(page)), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_page_and_its_heading(page: Path) -> None:
    broken: list[str] = []
    for link in LINK.findall(CODE_BLOCK.sub("", read(page))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_index() -> None:
    linked = {
        (DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(read(DOCS / "README.md"))
    }
    assert set(DOCS.rglob("*.md")) - linked == {DOCS / "README.md"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_keep_to_the_words_of_the_list(page: Path) -> None:
    prose = CODE.sub("", NAMES.sub("", read(page)))
    assert BANNED.findall(prose) == []


def test_every_setting_of_the_engine_is_in_the_reference_with_its_default() -> None:
    page = read(DOCS / "operating.md")
    for setting, field in EngineSettings.model_fields.items():
        [line] = [line for line in page.splitlines() if f"| `MEMFOLD_{setting.upper()}` |" in line]
        default = line.split("|")[2].strip().strip("`")
        assert EngineSettings.model_validate({setting: default}) == EngineSettings.model_validate(
            {setting: field.default}
        )


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_every_event_type_has_its_section_with_its_fields_and_an_example(type_: str) -> None:
    page = read(REFERENCE / "events.md")
    section = page.split(f"\n### {type_}\n")[1].split("\n### ")[0].split("\n## ")[0]
    assert f"Facet `{EVENT_TYPES[type_]}`" in section
    fields = {key for cls in SHAPES if cls.type == type_ for key in cls.model_fields}
    assert fields - mentioned(section) == set()
    [example] = JSON.findall(section)
    event = json.loads(example)
    assert event["type"] == type_


def events_shown() -> list[tuple[str, dict[str, object]]]:
    return [
        (name(page), event)
        for page in PAGES
        for block in JSON.findall(read(page))
        if "specversion" in (event := json.loads(block))
    ]


@pytest.mark.parametrize(("page", "event"), events_shown())
def test_every_event_that_is_shown_would_be_read(page: str, event: dict[str, object]) -> None:
    facet = EVENT_TYPES[str(event["type"])]
    data = event["data"]
    assert isinstance(data, dict)
    wide = facet == "resource" or data.get("scope") == "resource"
    thread = None if wide else str(event.get("threadid", "support_456"))
    address = Address(str(event.get("resourceid", "user_123")), thread, facet, str(event["source"]))
    read_event(event, address)


def codes(file: str) -> set[str]:
    return set(read(ROOT / "tests" / "golden" / file).split())


def test_every_error_code_and_its_class_is_in_the_reference() -> None:
    page = mentioned(read(REFERENCE / "errors.md"))
    assert codes("error_codes.txt") - page == set()
    classes = {cls.__name__ for cls in error_classes().values()}
    assert {each for each in classes if each in memfold._HOME} - page == set()


def test_every_reason_is_in_the_reference() -> None:
    section = read(REFERENCE / "events.md").split("\n## Reasons\n")[1]
    assert codes("reason_codes.txt") - mentioned(section) == set()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_query_is_in_the_reference_with_its_arguments(operation: str) -> None:
    page = read(REFERENCE / "queries.md")
    [line] = [line for line in page.splitlines() if line.startswith(f"| `{operation}` |")]
    request, _ = OPERATIONS[operation]
    own = set(request.model_fields) - set(Request.model_fields)
    assert own - mentioned(line.split("|")[2]) == set()
    assert set(Request.model_fields) - mentioned(page) == set()
