"""The page with evaluation tasks in a real browser: wide, on a phone, dark, on paper, with every part unfolded."""

from __future__ import annotations

import re

import pytest

from .simulated_tasks import ATTACK, GRID_ARMS, grid_cells
from .test_browser import luminance, show

pytestmark = pytest.mark.browser

UNFOLD = "document.querySelectorAll('details').forEach(e => e.open = true)"


@pytest.fixture(scope="module")
def page(tasks_folder):
    return tasks_folder / "report.html"


def test_it_says_nothing_to_the_console_and_asks_for_nothing(browser, page):
    show(browser, page)
    browser.execute_script(UNFOLD)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert browser.execute_script("return document.scripts.length") == 1


@pytest.mark.parametrize("opened", [False, True], ids=["as it opens", "with every part unfolded"])
def test_a_phone_needs_no_sideways_scrolling_and_sees_a_grid_an_arm(browser, page, opened):
    show(browser, page, width=360)
    if opened:
        browser.execute_script(UNFOLD)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    sizes = browser.execute_script("""return [...document.querySelectorAll('#task-1-grid svg')]
        .map(e => e.getBoundingClientRect()).map(r => [r.width, r.height]).filter(s => s[0] > 0)""")
    assert len(sizes) == len(GRID_ARMS)
    assert all(250 < width <= 360 for width, _ in sizes)


def colours(browser):
    """Each number on the wide grid with its own colour and that of the cell that it stands on."""
    script = """
        const svg = document.querySelector('#task-1-grid .wide svg');
        const boxes = [...svg.querySelectorAll('path')].map(e => [getComputedStyle(e).fill, e.getBoundingClientRect()])
            .filter(([fill, r]) => fill.startsWith('rgb') && r.width > 20 && r.width < 120 && r.height < 60);
        return [...svg.querySelectorAll('text')].map(e => {
            const r = e.getBoundingClientRect(), x = r.left + r.width / 2, y = r.top + r.height / 2;
            const under = boxes.filter(([_, b]) => b.left < x && x < b.right && b.top < y && y < b.bottom);
            return under.length ? [e.textContent, getComputedStyle(e).fill, under[0][0]] : null;
        }).filter(one => one);"""
    return browser.execute_script(script)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_number_of_the_grid_stands_out_from_its_own_cell(browser, page, dark):
    show(browser, page, dark=dark)
    found = colours(browser)
    assert len(found) >= 2 * (len(grid_cells()) - 1)
    for text, ink, cell in found:
        bright, dim = sorted((luminance(ink), luminance(cell)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.4, (text, ink, cell)


def test_a_higher_rate_has_a_stronger_colour(browser, page):
    show(browser, page)
    shades = {int(text): luminance(cell) for text, _, cell in colours(browser) if re.fullmatch(r"\d+", text)}
    apart = [(low, high) for low in shades for high in shades if high - low >= 10]
    assert apart
    assert all(shades[low] > shades[high] for low, high in apart)


def test_words_and_numbers_of_the_grid_keep_apart(browser, page):
    show(browser, page)
    overlaps = browser.execute_script("""
        const found = [];
        for (const svg of document.querySelectorAll('#task-1-grid .wide svg')) {
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


def test_hostile_words_of_a_model_stay_words_inside_their_box(browser, page):
    show(browser, page)
    browser.execute_script(UNFOLD)
    said = browser.execute_script("return [...document.querySelectorAll('.said pre')].map(e => e.textContent)")
    assert sum(ATTACK in text for text in said) == 2 * len(GRID_ARMS)
    assert browser.execute_script("return document.querySelectorAll('.said').length") == len(GRID_ARMS)
    assert browser.execute_script("return document.querySelectorAll('img, main script').length") == 0


def test_arms_stand_next_to_each_other_where_there_is_room(browser, page):
    show(browser, page)
    browser.execute_script(UNFOLD)
    tops = browser.execute_script("""return [...document.querySelectorAll('.said')].map(e => {
        const r = e.getBoundingClientRect(); return [Math.round(r.top), Math.round(r.left)]; })""")
    assert tops[0][0] == tops[1][0]
    assert tops[0][1] < tops[1][1]


def test_on_paper_nothing_is_cut_off(browser, page):
    show(browser, page, width=680)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 680
    hidden = browser.execute_script("""return [...document.querySelectorAll('.scroll, pre')]
        .filter(e => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)
        .map(e => e.textContent.slice(0, 60))""")
    assert hidden == []
