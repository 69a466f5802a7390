"""Build the documentation site: `python docs/site/build.py [OUT]`, by default into build/site. No network is used.

Pages are Markdown files of the repository, in GitHub's dialect, and pages generated from help texts and docstrings.
They are gathered in a folder, where links between them are those of the site. zensical makes HTML of them, and any
warning of it is an error. Beside each `page.html` stands its twin `page.md`, and `llms.txt` lists them all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from posixpath import normpath, relpath

sys.path.insert(0, str(Path(__file__).parent))
from reference import command_pages, package_pages

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent

# Pages by section, in order; every other page of docs/ goes to the end of "Guides".
SECTIONS: dict[str, tuple[str, ...]] = {
    "Start": ("index.md", "tutorial.md", "install.md"),
    "Guides": (
        *(
            "specs.md",
            "corpora.md",
            "real_model.md",
            "servers.md",
            "stages.md",
            "arms.md",
            "studies.md",
            "preferences_and_rewards.md",
        ),
        *(
            "evaluations.md",
            "reports.md",
            "comparing.md",
            "exporting.md",
            "bring_your_own.md",
            "costs.md",
            "examples.md",
        ),
    ),
    "When it goes wrong": ("traps.md", "symptoms.md", "intervals.md"),
    "The paper": ("paper.md",),
    "The project": ("contributing.md", "design.md", "changelog.md", "log.md"),
}
# Pages that stand elsewhere in the repository, and what they are called in the site.
ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "DESIGN.md": "design.md",
    "CHANGELOG.md": "changelog.md",
    "LOG.md": "log.md",
    "examples/README.md": "examples.md",
}
SHORT_TITLES = {"index.md": "midspec", "log.md": "What did not work", "examples.md": "Examples"}

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_ITEM = re.compile(r"^ *(?:[-*+]|\d+[.)]) ")


class BuildError(Exception):
    """A link without a target, or a warning of the site's builder."""


def prose(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to what stands outside fenced blocks and inline code."""
    made, fence = [], ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
            made.append(line)
        elif fence:
            made.append(line)
        else:
            parts = re.split(r"(`+[^`]+`+)", line)
            made.append("".join(part if part.startswith("`") else change(part) for part in parts))
    return "\n".join(made)


def in_site_dialect(text: str) -> str:
    """Write lists as zensical's dialect reads them, where GitHub's is more lenient.

    It needs a blank line between a paragraph and the list after it, and four spaces before what belongs to an item.
    """
    made: list[str] = []
    fence, in_list, begins, more = "", False, True, ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        is_item = not fence and not mark and _ITEM.match(line) is not None
        if begins and line.strip():
            is_inside = in_list and line.startswith("  ") and not line.startswith("    ")
            in_list, starts_as_item = in_list and (is_item or line.startswith(" ")), is_item
            more = "  " if is_inside and not is_item else ""
        elif is_item and not starts_as_item:
            made.append("")
            starts_as_item, more = True, ""
        in_list = in_list or is_item
        begins = not line.strip() and not fence
        made.append(f"{more}{line}" if line.strip() else line)
    return "\n".join(made)


def gather() -> tuple[dict[str, str], dict[str, Path]]:
    """Return the pages by their path in the site, as Markdown, and the other files that they link to.

    Raises:
        BuildError: a page links to a file that is not there.
    """
    sources = {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))} | ELSEWHERE
    files: dict[str, Path] = {}
    pages = {}
    for source, page in sources.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pages[page] = in_site_dialect(prose(text, _relinked(source, page, sources, files)))
    return pages | command_pages() | package_pages(), files


def _relinked(source: str, page: str, sources: dict[str, str], files: dict[str, Path]) -> Callable[[str], str]:
    """Return what rewrites the links of a page: to other pages, and to copies of the repository's other files."""

    def target(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        if re.match(r"[a-z]+:", link) or link.startswith("#"):
            return match[0]
        path, _, anchor = link.partition("#")
        # The README is the repository's front page; the site has one of its own.
        inside = normpath((Path(source).parent / path).as_posix())
        named = "index.md" if inside == "README.md" else sources.get(inside)
        if named is None and not (ROOT / inside).is_file():
            raise BuildError(f"{source}: links to {link}, and there is no such file")
        if named is None:
            named = inside.removeprefix("docs/") if inside.startswith("docs/") else f"files/{inside}"
            files[named] = ROOT / inside
        place = relpath(named, Path(page).parent.as_posix())
        return f"{before}{place}{'#' if anchor else ''}{anchor}{after}"

    return lambda text: _LINK.sub(target, text)


def title_of(page: str, text: str) -> str:
    """Return a page's title: its first heading, or a shorter one."""
    heading = re.search(r"^# (.+)$", text, flags=re.M)
    if heading is None:
        raise BuildError(f"{page}: has no heading")
    return SHORT_TITLES.get(page, heading[1].replace("`", "").rstrip("."))


def description_of(text: str) -> str:
    """Return the first sentence of a page, in plain words."""
    body = prose(text, lambda part: re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", part))
    for paragraph in re.split(r"\n\s*\n", body):
        words = " ".join(paragraph.split())
        if words and not re.match(r"[#|<!`\-*>\[]|\d+\. ", words):
            return re.split(r"(?<=[.:?]) ", words.replace("**", ""))[0].rstrip(":")
    return ""


def sections(pages: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each section of the site with its pages."""
    listed = {page for named in SECTIONS.values() for page in named}
    others = [page for page in pages if page not in listed and "/" not in page]
    for name, named in SECTIONS.items():
        yield name, [page for page in named if page in pages] + (others if name == "Guides" else [])
    yield "Commands", [page for page in pages if page.startswith("commands/")]
    yield "Python", [page for page in pages if page.startswith("python/")]


def settings(pages: dict[str, str]) -> str:
    """Return the builder's settings as TOML."""
    base = (HERE / "zensical.toml").read_text(encoding="utf-8")

    def entry(page: str) -> str:
        return f"{{ {json.dumps(title_of(page, pages[page]))} = {json.dumps(page)} }}"

    lines = [
        f"  {{ {json.dumps(name)} = [{', '.join(map(entry, inside))}] }}," for name, inside in sections(pages) if inside
    ]
    return base.replace("nav = []", "nav = [\n" + "\n".join(lines) + "\n]")


def llms_text(pages: dict[str, str]) -> str:
    """Return llms.txt: what the project is, and every page's Markdown twin with a sentence on it."""
    lines = ["# midspec", "", f"> {description_of(pages['index.md'])}"]
    for name, inside in sections(pages):
        lines += ["", f"## {name}", ""]
        lines += [f"- [{title_of(page, pages[page])}]({page}): {description_of(pages[page])}" for page in inside]
    return "\n".join(lines) + "\n"


def build(out: Path) -> Path:
    """Build the site into `out`, which is replaced; the sources go into a folder beside it.

    Raises:
        BuildError: a link without a target, or the builder warns.
    """
    work = out.with_name(f"{out.name}-source")
    for folder in (out, work):
        shutil.rmtree(folder, ignore_errors=True)
    pages, files = gather()
    for page, text in pages.items():
        (work / "docs" / page).parent.mkdir(parents=True, exist_ok=True)
        (work / "docs" / page).write_text(text, encoding="utf-8")
    for name, path in {**files, "site.css": HERE / "site.css"}.items():
        (work / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, work / "docs" / name)
    (work / "zensical.toml").write_text(settings(pages), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(
        command, cwd=work, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr))
    shutil.move(work / "site", out)
    for page, text in pages.items():
        (out / page).write_text(text, encoding="utf-8")
    (out / "llms.txt").write_text(llms_text(pages), encoding="utf-8")
    return out


def main() -> None:
    """Build the site, and say where it is."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"
    try:
        page = build(out.resolve()) / "index.html"
    except BuildError as error:
        sys.exit(f"docs/site/build.py: {error}")
    print(f"site: {page}")


if __name__ == "__main__":
    main()
