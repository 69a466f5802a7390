"""The tree in the README is the tree on disk."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _tree_in_readme() -> set[str]:
    """The rooms in the fenced block whose first line begins with `src/midspec/`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.S | re.M)
    block = next(block for block in blocks if block.lstrip().startswith("src/midspec/"))
    return {match for line in block.splitlines()[1:] if (match := _room(line))}


def _room(line: str) -> str:
    found = re.match(r"[\s│├└─|`+-]*([a-z_]+)(/|\.py)(\s|$)", line)
    return found[1] if found else ""


def _tree_on_disk() -> set[str]:
    rooms = {path.parent.name for path in (ROOT / "src" / "midspec").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "src" / "midspec").glob("[a-z]*.py")}
    return rooms | modules


def test_the_readme_shows_every_room_and_no_other() -> None:
    shown, real = _tree_in_readme(), _tree_on_disk()
    folders = {path.parent.name for path in (ROOT / "src" / "midspec").glob("*/__init__.py")}
    assert shown >= folders
    assert shown <= real
