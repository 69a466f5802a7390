"""What readers are shown: the pages, their fenced blocks, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("examples/README.md"),
    )
)
_BLOCK = re.compile(r"(?:<!-- (?P<mark>run(?:: slow)?) -->\n)?^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is to be saved as, and whether it is marked to be run."""

    page: str
    language: str
    title: str
    text: str
    mark: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(text_of(page)):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        found.append(Block(page, language, title[1] if title else "", match["text"], match["mark"] or ""))
    return found


def command_lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each `midspec` command in a shell script; variables that it sets are filled in."""
    variables: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line.lstrip().startswith("#"):
            continue
        if match := re.match(r'(\w+)="([^"]*)"\s*(?:#.*)?$', line.strip()):
            variables[match[1]] = match[2]
        for name, value in variables.items():
            line = re.sub(rf"\$\{{?{name}\b\}}?", value, line)
        words = shlex.split(line, comments=True)
        commands: list[list[str]] = [[]]
        for word in words:
            if word in {"&&", "||", "|", ";", "&", "do", "then"}:
                commands.append([])
            elif word != "...":  # something left out
                commands[-1].append(word)
        for command in commands:
            if "midspec" in command[:8] and (command[0] == "midspec" or "-m" in command):
                yield command[command.index("midspec") :]
