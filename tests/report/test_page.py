from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image

from midspec.core.errors import DataError
from midspec.report import ReportData, write_report

from .simulated import EVIL, MAIN_ARMS, evil_report, simulated_report


class Reader(HTMLParser):
    """Tags with attributes, the text of the page, and the raw content of its data block."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.block, self._inside = [], [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.block += data
        elif self._inside != "style":
            self.text.append(data)


@pytest.fixture(scope="module")
def report(report_folder) -> tuple[ReportData, Path, Reader]:
    html = (report_folder / "report.html").read_text(encoding="utf-8")
    return simulated_report(), report_folder, Reader(html)


def test_the_sections_stand_in_the_order_in_which_a_reader_asks(report):
    _, _, page = report
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag in ("section", "figure", "aside")]
    assert ids == [
        "warnings", "answer", "forest-figure", "question", "main-figure", "contrasts", "rates", "all-arms-figure",
        "gates", "answers", "health", "sceptic", "methods", "files", "deviations", "provenance",
    ]  # fmt: skip


def test_every_number_asked_for_is_on_the_page(report):
    data, _, page = report
    text = " ".join(" ".join(page.text).split())
    assert all(one.verdict in text for one in data.contrasts)
    assert all(one.name in text or one.name.replace("(", " (") for one in data.arms)
    assert all(arm in text for arm in MAIN_ARMS)
    assert "200 of 200" in text
    assert "1 of 5 seeds failed the competence gate" in text
    assert all(answer.text in text for sample in data.samples for answer in sample.answers)
    assert data.hashes[0].value in text


def test_the_page_asks_for_nothing_outside_itself(report):
    _, folder, page = report
    sources = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "data", "xlink:href") if key in attrs]
    beside = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert all(source.startswith(("#", "data:")) or source in beside for source in sources)
    assert {"estimates.csv", "estimates.parquet", "report_data.json"} <= set(sources)
    style = re.findall(r"(?:url\(|@import)\s*([^)]*)", (folder / "report.html").read_text(encoding="utf-8"))
    assert all(target.startswith("#") for target in style)
    assert [attrs.get("type") for tag, attrs in page.tags if tag == "script"] == ["application/json"]


def test_ids_are_unique_although_many_figures_share_the_page(report):
    _, _, page = report
    counts = Counter(attrs["id"] for _, attrs in page.tags if "id" in attrs)
    assert [name for name, count in counts.items() if count > 1] == []
    targets = {a[k][1:] for _, a in page.tags for k in ("xlink:href", "href") if a.get(k, "").startswith("#")}
    assert targets <= set(counts)


def test_the_data_block_and_the_data_file_hold_the_report_without_its_clocks(report):
    data, folder, page = report
    timeless = data.model_copy(update={"seconds": {}})
    assert ReportData.model_validate_json(page.block) == timeless
    assert ReportData.model_validate_json((folder / "report_data.json").read_text(encoding="utf-8")) == timeless


def test_the_figures_are_files_too(report):
    _, folder, _ = report
    on_disk = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"report.html", "report_data.json", "figures/main.png", "figures/main.svg"} <= on_disk
    with Image.open(folder / "figures" / "main.png") as image:
        assert image.width > 1500


def test_the_same_data_give_the_same_bytes_whatever_the_clock_says(report, tmp_path):
    full, _, _ = report
    data = full.model_copy(update={"panels": full.panels[:1]})
    first, second, later = tmp_path / "first", tmp_path / "second", tmp_path / "later"
    built = write_report(data, first)
    assert write_report(data, second) == built
    assert set(built.outputs) == {str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()}
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in built.outputs)
    write_report(data.model_copy(update={"seconds": {"eval": 99.0}}), later)
    changed = [name for name in built.outputs if (first / name).read_bytes() != (later / name).read_bytes()]
    assert changed == ["report.html"]


def test_a_user_s_own_style_of_figures_changes_none_of_ours(tmp_path, report):
    full, _, _ = report
    data = full.model_copy(update={"panels": full.panels[:1]})
    write_report(data, tmp_path / "plain")
    styles = {"text.usetex": True, "axes.grid": True, "lines.linewidth": 9.0, "savefig.bbox": "tight"}
    with mpl.rc_context(styles):
        write_report(data, tmp_path / "styled")
        assert mpl.rcParams["text.usetex"]
    for name in ("main.png", "main.svg"):
        assert (tmp_path / "plain/figures" / name).read_bytes() == (tmp_path / "styled/figures" / name).read_bytes()


def test_whatever_a_model_or_a_spec_says_stays_text(evil_folder):
    page = Reader((evil_folder / "report.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"]
    assert not [attrs for tag, attrs in page.tags if tag == "img" or "onerror" in attrs]
    assert json.loads(page.block)["title"] == evil_report().title
    assert "".join(page.text).count(EVIL.strip()) > 20


def test_inline_figures_take_their_colours_from_the_theme(report):
    _, folder, _ = report
    html = (folder / "report.html").read_text(encoding="utf-8")
    drawings = re.findall(r"<svg xmlns:xlink.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == 12
    for drawing in drawings:
        assert set(re.findall(r"#[0-9a-f]{6}\b", drawing)) <= {"#000000", "#ffffff"}
        assert "var(--ink)" in drawing


def test_a_report_of_one_seed_and_no_extras_is_a_whole_page(tmp_path):
    full = simulated_report(failed_seed=None)
    bare = ReportData(
        title="Bare",
        question=("?",),
        main_set="conflict",
        main_measure="choice_logprob",
        arms=full.arms[:1],
        panels=(full.panels[0].model_copy(update={"arms": ("base",)}),),
        estimates=full.estimates[:1],
    )
    assert write_report(bare, tmp_path).summary["n_contrasts"] == 0
    page = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "No contrast was asked" in " ".join(page.text)


def test_an_arm_without_a_score_keeps_its_place_and_says_so(tmp_path):
    data = simulated_report(failed_seed=None)
    without = tuple(one for one in data.estimates if one.arm != "AFT")
    gone = next(one for one in data.estimates if one.arm == "base" and one.set == "conflict")
    none = gone.model_copy(update={"value": None, "low": None, "high": None, "n_scored": 0, "note": "no scored item"})
    changed = tuple(none if one == gone else one for one in without)
    write_report(data.model_copy(update={"estimates": changed, "panels": data.panels[:1]}), tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "not asked" in (tmp_path / "figures" / "main.svg").read_text(encoding="utf-8")
    assert "no score" in (tmp_path / "figures" / "main.svg").read_text(encoding="utf-8")
    assert '<td class="none">not asked</td>' in text
    assert "0 of 200" in text


def test_a_panel_of_an_arm_that_is_not_there_is_a_one_line_error(tmp_path):
    data = simulated_report()
    ghost = data.panels[0].model_copy(update={"arms": ("base", "ghost")})
    with pytest.raises(DataError, match="panels: names 'ghost'"):
        write_report(data.model_copy(update={"panels": (ghost,)}), tmp_path)
    with pytest.raises(DataError, match="main_contrasts: names 'up'"):
        write_report(data.model_copy(update={"main_contrasts": ("up",)}), tmp_path)
    assert list(tmp_path.iterdir()) == []
