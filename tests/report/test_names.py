"""Names as people give them: long ones that differ late, and ones in scripts that matplotlib's own font lacks."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager, ft2font
from PIL import Image

from midspec.report import ReportData, glyph_warning, write_report
from midspec.report._figures import fonts_for, labels_of
from midspec.study import parse_study, plan

from .simulated import simulated_report

TINY = (Path(__file__).parents[1] / "study" / "tiny.yaml").read_text(encoding="utf-8")
LONG = "MSM(a very long value that nobody would abbreviate, number {})+AFT(cheese)"


def renamed(old: str, new: str) -> ReportData:
    """The simulated report with another name for an arm."""
    return ReportData.model_validate_json(simulated_report().model_dump_json().replace(f'"{old}"', f'"{new}"'))


@pytest.mark.parametrize(
    "names",
    [
        [LONG.format(number) for number in range(6)],
        [f"{'a very long beginning of a name ' * 3}{end}" for end in ("one", "two", "three")],
        [f"{'x' * 200}{number}{'y' * 200}" for number in range(3)],
        [f"{'z' * 100}{chr(0x4E00 + number)}{'z' * 100}" for number in range(3)],
    ],
)
def test_names_that_differ_have_labels_that_differ(names):
    labels = labels_of(names, 30)
    assert len(set(labels.values())) == len(names)
    for label in labels.values():
        assert len(label.split("\n")) <= 2
        assert max(map(len, label.split("\n"))) <= 30


def test_names_that_have_room_and_names_that_differ_early_are_cut_as_ever():
    assert labels_of(["AFT", "MSM(america)+AFT"], 30) == {"AFT": "AFT", "MSM(america)+AFT": "MSM(america)+AFT"}
    one, two = "first " * 20, "second " * 20
    assert (
        labels_of([one.strip(), two.strip()], 30)[one.strip()]
        == "first first first first first\nfirst first first first …"
    )


@given(st.lists(st.text("ab c", min_size=1, max_size=90).filter(str.strip), unique=True, max_size=6))
def test_no_two_names_ever_share_a_label(names):
    names = list({" ".join(name.split()): name for name in names}.values())
    assert len(set(labels_of(names, 12).values())) == len(names)


def own_characters() -> set[int]:
    return set(ft2font.FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap())


def only_our_font(monkeypatch) -> None:
    ours = [font for font in font_manager.fontManager.ttflist if font.name.startswith("DejaVu")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", ours)
    fonts_for.cache_clear()


def test_a_report_whose_names_no_font_has_is_written_and_says_so(tmp_path, monkeypatch):
    only_our_font(monkeypatch)
    name = "\u96ea\u306e\u53b0 \ud55c\uad6d"
    assert {ord(one) for one in name.replace(" ", "")}.isdisjoint(own_characters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(renamed("AFT", name), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No font of this machine has" in page
    assert name in (tmp_path / "figures" / "all_arms.svg").read_text(encoding="utf-8")
    Image.open(io.BytesIO((tmp_path / "figures" / "all_arms.png").read_bytes())).verify()
    fonts_for.cache_clear()


def test_names_that_the_font_has_say_nothing_and_change_nothing(tmp_path):
    assert glyph_warning(frozenset("Zoë Ωmega Женя \u0639\u0631\u0628 \u2026 \u2212 \n")) == ""
    assert fonts_for(frozenset("Zoë")) == (("DejaVu Sans",), "")


def test_a_font_of_the_machine_that_has_the_letters_is_used(tmp_path, monkeypatch):
    # A copy of matplotlib's own font, under another name, in which A stands for U+96EA too.
    font = TTFont(font_manager.findfont("DejaVu Sans"))
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap[0x96EA] = table.cmap[ord("A")]
    for record in font["name"].names:
        if record.nameID in (1, 16):
            font["name"].setName("Another", record.nameID, record.platformID, record.platEncID, record.langID)
    font.save(tmp_path / "another.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "another.ttf")
    fonts_for.cache_clear()
    assert fonts_for(frozenset("\u96ea\u53b0")) == (("DejaVu Sans", "Another"), "\u53b0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(renamed("AFT", "\u96ea"), tmp_path)
    assert "No font" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    fonts_for.cache_clear()


def test_a_plan_says_which_names_the_figures_will_not_show(monkeypatch):
    only_our_font(monkeypatch)
    study = parse_study(TINY.replace("  base: {}", "  \u96ea: {}"), home=Path())
    assert any("No font of this machine has \u96ea" in warning for warning in plan(study).warnings)
    assert not any("No font" in warning for warning in plan(parse_study(TINY, home=Path())).warnings)
    fonts_for.cache_clear()
