"""What the pages, the Makefile and the metadata say must be so."""

import importlib.util
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "engine",
    "projections",
    "consumers",
    "tests",
    "deploy",
    "docs",
    "examples",
    "benchmarks",
}
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")),
    ]
)
TARGET = re.compile(r"^([a-z-]+):(?!=)([^#\n]*)(?:## (.+))?$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
MAKE = re.compile(r"^\s*(?:\$ )?make ([a-z-]+)|`make ([a-z-]+)", re.MULTILINE)


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def make_targets() -> dict[str, str]:
    return {name: text for name, _, text in TARGET.findall((ROOT / "Makefile").read_text("utf-8"))}


def check_sizes() -> ModuleType:
    path = ROOT / "tests" / "house" / "check_sizes.py"
    spec = importlib.util.spec_from_file_location("check_sizes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_make_target_has_a_help_text() -> None:
    targets = make_targets()
    assert {"demo", "test", "check"} <= targets.keys()
    assert [name for name, text in targets.items() if not text] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_pages_name_only_make_targets_that_exist(page: Path) -> None:
    named = {first or second for first, second in MAKE.findall(page.read_text("utf-8"))}
    assert named - make_targets().keys() == set()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(CODE.sub("", page.read_text("utf-8")))
    local = {target.split("#")[0] for target in targets if "://" not in target}
    assert [link for link in sorted(local) if link and not (page.parent / link).exists()] == []


def test_the_changelog_has_an_entry_for_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    headings = re.findall(
        r"^## \[?([\d.]+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert headings[0] == project["version"]


def test_one_version_of_uv_is_named_everywhere() -> None:
    files = [ROOT / "Makefile", ROOT / "deploy" / "Dockerfile"]
    versions = [re.findall(r"uv==([\d.]+)", file.read_text("utf-8")) for file in files]
    assert versions == [versions[0], versions[0]]
    assert len(versions[0]) == 1


@pytest.mark.parametrize("permissions", [False, True], ids=["open", "permissions"])
def test_the_broker_accepts_the_deployed_configuration(
    tmp_path: Path, *, permissions: bool
) -> None:
    deployed = ROOT / "deploy"
    text = (deployed / "nats.conf").read_text("utf-8")
    assert "# include" in text
    (tmp_path / "nats.conf").write_text(
        text.replace("# include", "include") if permissions else text, "utf-8"
    )
    accounts = (deployed / "permissions.conf").read_text("utf-8")
    (tmp_path / "permissions.conf").write_text(accounts, "utf-8")
    passwords = dict.fromkeys(re.findall(r"\$(MEMFOLD_\w+)", accounts), "secret")
    server = Path(sysconfig.get_path("scripts")) / "nats-server"
    checked = subprocess.run(
        [server, "-t", "-c", tmp_path / "nats.conf"],
        env=passwords,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert checked.returncode == 0, checked.stderr


def test_only_the_agreed_folders_are_at_the_root() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if listed.returncode != 0:
        pytest.skip("not a git work tree")
    folders = {line.split("/")[0] for line in listed.stdout.splitlines() if "/" in line}
    assert {name for name in folders if not name.startswith(".")} - FOLDERS == set()


def test_the_size_rule_finds_a_long_module_and_a_long_function() -> None:
    source = "def long() -> None:\n" + "    pass\n" * 70
    found = list(check_sizes().oversized(source, module_lines_max=60))
    assert found == [
        "1: module has 71 lines (60 at most)",
        "1: long has 71 lines (70 at most)",
    ]
