"""The site is built without a warning; every link and anchor of it leads somewhere; each page has its Markdown twin."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

from .pages import ROOT

pytest.importorskip("zensical", reason="zensical (midspec[dev]) is not installed here")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site_build", ROOT / "docs" / "site" / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(builder: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = builder.build(tmp_path_factory.mktemp("site") / "site")
    return folder


class _Page(HTMLParser):
    """The ids and targets of a page, and the text of its paragraphs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.paragraphs: list[str] = []
        self._in_paragraph = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := given.get(name))}
        self.targets += [value for name in ("href", "src") if (value := given.get(name))]
        if tag == "p":
            self._in_paragraph = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_paragraph = self._in_paragraph and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._in_paragraph:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Page]:
    return {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}


def test_every_link_and_anchor_leads_somewhere(site: Path, pages: dict[Path, _Page]) -> None:
    wrong, n_inside = [], 0
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            n_inside += 1
            named = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            named = named / "index.html" if named.is_dir() else named
            if not named.is_relative_to(site.resolve()) or not named.is_file():
                wrong.append(f"{path.name}: {target}")
            elif parts.fragment and named in pages and unquote(parts.fragment) not in pages[named].ids:
                wrong.append(f"{path.name}: {target} (no such heading)")
    assert n_inside > 500
    assert not wrong


def test_a_page_loads_nothing_from_elsewhere(pages: dict[Path, _Page], site: Path) -> None:
    loaded = re.compile(r"""<(?:script|img|link|iframe)[^>]+(?:src|href)=["']?(https?:)?//[^"'> ]+""")
    assert not [path.name for path in pages if loaded.search(path.read_text(encoding="utf-8"))]
    assert (site / "search.json").is_file()


def test_a_list_is_a_list_and_no_paragraph_with_hyphens(pages: dict[Path, _Page]) -> None:
    found = [
        (path.name, text[:80])
        for path, page in pages.items()
        for text in page.paragraphs
        if re.search(r"^- \w", text, re.M)
    ]
    assert not found


def test_a_table_is_a_table(pages: dict[Path, _Page]) -> None:
    assert not [
        (path.name, text[:80])
        for path, page in pages.items()
        for text in page.paragraphs
        if re.search(r"^\|.*\|$", text, re.M)
    ]


def test_each_page_has_its_twin_and_a_line_in_the_list_for_models(site: Path, pages: dict[Path, _Page]) -> None:
    listed = set(re.findall(r"\]\(([\w/.-]+\.md)\)", (site / "llms.txt").read_text(encoding="utf-8")))
    twins = {path.relative_to(site).with_suffix(".md").as_posix() for path in pages}
    assert listed == twins
    assert all((site / name).read_text(encoding="utf-8").startswith("# ") for name in twins)
    # The links of twins lead to twins, or to files beside them.
    wrong = [
        f"{name}: {target}"
        for name in twins
        for target in _markdown_links((site / name).read_text(encoding="utf-8"))
        if not (site / name).parent.joinpath(target).exists()
    ]
    assert not wrong


def _markdown_links(text: str) -> Iterator[str]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    text = re.sub(r"`+[^`]+`+", "", text)
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def test_every_export_and_every_command_has_an_entry(site: Path) -> None:
    import midspec.train
    from midspec.cli._main import app

    page = (site / "python" / "train.md").read_text(encoding="utf-8")
    assert not [name for name in midspec.train.__all__ if f"\n## {name}\n" not in page]
    commands = {command.name for command in app.registered_commands}
    assert commands <= {path.stem for path in (site / "commands").glob("*.md")}


def test_a_link_without_a_target_is_refused(builder: ModuleType) -> None:
    sources = {"docs/a.md": "a.md", "docs/b.md": "b.md"}
    change = builder._relinked("docs/a.md", "a.md", sources, {})
    assert change("[x](b.md#c) and [y](https://example.org)") == "[x](b.md#c) and [y](https://example.org)"
    assert change("[x](../pyproject.toml)") == "[x](files/pyproject.toml)"
    with pytest.raises(builder.BuildError, match="no such file"):
        change("[x](nowhere.md)")


def test_a_list_after_a_paragraph_gets_the_line_that_it_needs(builder: ModuleType) -> None:
    text = "Words:\n- one\n- two\n  more of two\n\nAfter.\n```\nx\n- not one\n```\n"
    assert builder.in_site_dialect(text) == text.replace("Words:\n", "Words:\n\n")


def test_what_belongs_to_an_item_is_moved_under_it(builder: ModuleType) -> None:
    text = "- one:\n\n  | a | b |\n  |---|---|\n\n  So it is:\n- two\n\nAfter.\n"
    assert builder.in_site_dialect(text) == (
        "- one:\n\n    | a | b |\n    |---|---|\n\n    So it is:\n\n- two\n\nAfter.\n"
    )
