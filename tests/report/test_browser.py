"""The page in a real browser: it opens from a file, shows its figures, and asks for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midspec.analysis import compare_logs
from midspec.report import write_against, write_log_comparison

from ..analysis.test_log_comparison import logged
from .simulated import simulated_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(report_folder) -> Path:
    return report_folder / "report.html"


def show(browser, page: Path, *, width: int = 1200, dark: bool = False) -> None:
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


def visible_figures(browser) -> list[tuple[float, float]]:
    script = """return [...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect())
        .map(r => [r.width, r.height]).filter(s => s[0] > 0)"""
    return [tuple(size) for size in browser.execute_script(script)]


def test_it_opens_shows_its_figures_and_says_nothing_to_the_console(browser, page):
    show(browser, page)
    assert browser.title.startswith("Does the spec")
    sizes = visible_figures(browser)
    assert len(sizes) == 3
    assert all(width > 900 and height > 150 for width, height in sizes)
    assert browser.get_log("browser") == []


def test_it_needs_no_network(browser, page):
    show(browser, page)
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []


@pytest.mark.parametrize("opened", [False, True], ids=["as it opens", "with every part unfolded"])
def test_a_phone_needs_no_sideways_scrolling(browser, page, opened):
    show(browser, page, width=360)
    if opened:
        browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    sizes = visible_figures(browser)
    assert len(sizes) == 9
    assert all(250 < width <= 360 for width, _ in sizes)


def test_names_and_numbers_in_figures_keep_apart(browser, page):
    show(browser, page)
    overlaps = browser.execute_script("""
        const found = [];
        for (const svg of document.querySelectorAll('figure .wide svg')) {
            const boxes = [...svg.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()]);
            const frame = svg.getBoundingClientRect();
            for (const [i, [a, r]] of boxes.entries()) {
                if (r.left < frame.left - 1 || r.right > frame.right + 1) found.push(['outside', a]);
                for (const [b, s] of boxes.slice(i + 1))
                    if (r.left < s.right - 1 && s.left < r.right - 1 && r.top < s.bottom - 3 && s.top < r.bottom - 3)
                        found.push([a, b]);
            }
        }
        return found;""")
    assert overlaps == []


def luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in colour.strip("rgba() ").split(",")[:3])
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_of_page_and_figures_stands_out_in_both_themes(browser, page, dark):
    show(browser, page, dark=dark)
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(back) < 0.1) == dark
    script = """return [...document.querySelectorAll('body, .facts, figcaption, .note, td small, .warning h2')]
        .map(e => getComputedStyle(e).color)
        .concat([...document.querySelectorAll('figure svg text')].map(e => getComputedStyle(e).fill))"""
    for colour in set(browser.execute_script(script)):
        bright, dim = sorted((luminance(colour), luminance(back)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.4, colour


def test_hostile_text_runs_nothing(browser, evil_folder):
    show(browser, evil_folder / "report.html", width=360)
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_on_paper_nothing_is_cut_off(browser, page):
    show(browser, page, width=680)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 680
    hidden = browser.execute_script("""return [...document.querySelectorAll('.scroll, pre')]
        .filter(e => e.scrollWidth > e.clientWidth + 1).length""")
    assert hidden == 0
    assert len(visible_figures(browser)) == 3


@pytest.mark.parametrize("name", ["report.html", "transcripts", "against"])
def test_pages_with_all_evidence_fit_a_phone_and_paper(browser, evidence_folder, tmp_path, name):
    page = evidence_folder / name
    if name == "transcripts":
        page = sorted(page.glob("*.html"))[0]
    elif name == "against":
        data = simulated_report()
        write_against(data, data.model_copy(update={"config_yaml": "name: another\n"}), tmp_path, names=("a", "b" * 60))
        page = tmp_path / "against.html"
    show(browser, page, width=375)
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 375
    show(browser, page, width=680)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 680
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert browser.get_log("browser") == []


def test_a_click_on_a_number_opens_what_was_said_and_leads_back_without_a_network(browser, evidence_folder):
    show(browser, evidence_folder / "report.html")
    link = browser.find_element("css selector", "#rates .rates a.opens")
    value = link.text
    browser.execute_script("arguments[0].click()", link)
    assert browser.current_url.startswith((evidence_folder / "transcripts").as_uri())
    assert browser.find_element("css selector", ".rates b").text == value
    assert "the train." in browser.find_element("tag name", "main").text
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    browser.execute_script("document.querySelector('.eyebrow a').click()")
    assert browser.current_url == f"{(evidence_folder / 'report.html').as_uri()}#rates"


def test_the_answer_and_the_forest_come_before_everything_else_on_a_screen(browser, evidence_folder):
    show(browser, evidence_folder / "report.html")
    tops = browser.execute_script("""return ['answer', 'forest-figure', 'question', 'rates', 'methods']
        .map(id => document.getElementById(id).getBoundingClientRect().top)""")
    assert tops == sorted(tops)
    assert tops[0] < 600


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Path:
    """The page of three models with long and hostile names, with many notes on their logs."""
    draw = np.random.default_rng(4)
    names = ("hf/" + "a-model-with-a-long-name-" * 4, "openai/" + "x" * 70, "<script>alert(1)</script>")
    shares = dict(zip(names, (0.3, 0.6, 0.7), strict=True))
    scores = {name: (draw.random((2, 40, 1)) < share).astype(float) for name, share in shares.items()}
    found = logged(scores, task="agentic_misalignment_" + "y" * 40, scorer="model_graded/" + "harm_" * 12)
    logs = tuple(log.model_copy(update={"file": f"/data/{'deep/' * 20}{log.file}"}) for log in found.logs)
    notes = tuple(f"temperature differs: {n} and {'1' * 90}" for n in range(6))
    compared = compare_logs(found.model_copy(update={"logs": logs, "notes": notes}), equivalence_points=5)
    folder = tmp_path_factory.mktemp("compared")
    write_log_comparison(compared, found.scores, folder)
    return folder / "comparison.html"


@pytest.mark.parametrize(("width", "media"), [(360, ""), (680, "print"), (1200, "")], ids=["phone", "paper", "screen"])
def test_a_comparison_of_logs_fits_and_runs_nothing(browser, comparison, width, media):
    show(browser, comparison, width=width)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert media != "print" or browser.execute_script(wide) == 0
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.get_log("browser") == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_comparison_of_logs_begins_with_its_answer_and_leads_to_its_files(browser, comparison):
    show(browser, comparison)
    assert browser.execute_script("return document.getElementById('answer').getBoundingClientRect().top") < 900
    links = [link.get_attribute("href") for link in browser.find_elements("css selector", "a")]
    assert [link.rpartition("/")[2] for link in links] == ["comparison.json", "estimates.csv", "hibayes.csv"]
    for link in links:
        browser.get(link)
        assert "agentic_misalignment_" in browser.page_source
