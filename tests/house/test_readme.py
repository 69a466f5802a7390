"""The pages for readers are true: their trees are the tree on disk, and every file that they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "midspec"
PAGES = (
    *("README.md", "DESIGN.md", "CONTRIBUTING.md", "examples/README.md"),
    *("docs/evaluations.md", "docs/exporting.md", "docs/servers.md", "docs/stages.md"),
)
TREES = ("README.md", "DESIGN.md")


def _tree(page: str) -> set[str]:
    """The packages and modules in the fenced block whose first line begins with `src/midspec/`, with their parents."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.S | re.M)
    block = next(block for block in blocks if block.lstrip().startswith("src/midspec/"))
    found, parent = set(), ""
    for line in block.splitlines()[1:]:
        if (match := re.match(r"( +)([a-z_]+)(?:/|\.py)(?:\s|$)", line)) is None:
            continue
        if len(match[1]) == 2:
            parent = match[2]
        found.add(match[2] if len(match[1]) == 2 else f"{parent}/{match[2]}")
    return found


@pytest.mark.parametrize("page", TREES)
def test_a_tree_shows_every_package_and_nothing_that_is_not_there(page: str) -> None:
    shown = _tree(page)
    packages = {path.parent.name for path in SRC.glob("*/__init__.py")}
    modules = {path.stem for path in SRC.glob("[a-z]*.py")}
    assert {name for name in shown if "/" not in name} >= packages
    inner = {name for name in shown if "/" in name}
    assert {name for name in shown if "/" not in name} <= packages | modules
    assert all((SRC / name).is_dir() for name in inner)


def _named_files(page: str) -> Iterator[str]:
    """The files that a page names in backticks or links to; not those that stand for several (`<name>.py`)."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    yield from re.findall(r"`((?!runs/)[\w./-]+/[\w.-]*\.(?:py|pyi|md|yaml|jsonl|toml))`", text)
    yield from re.findall(r"`((?:tests|examples|benchmarks|docs|src)/[\w./-]*)`", text)
    home = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        yield str((home / link).resolve().relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    places = (ROOT, SRC, (ROOT / page).parent)
    assert not [name for name in set(_named_files(page)) if not any((place / name).exists() for place in places)]


def test_the_design_is_at_most_150_lines() -> None:
    assert (ROOT / "DESIGN.md").read_text(encoding="utf-8").count("\n") <= 150
