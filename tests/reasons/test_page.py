"""The page in a real browser: what a person edits, merges and drops there is what is read back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from midspec.core.records import Reason, ReasonCluster
from midspec.reasons import ClusterSet, read_clusters, write_page

pytestmark = pytest.mark.browser

EVIL = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)> & \u2028 &lt;b>"


def made() -> tuple[ClusterSet, list[Reason]]:
    names = ("Staying", "Not ending", "Obeying", "Caring", "Noise")
    reasons = [
        Reason(
            id=f"r{n}", arm="MSM" if n % 2 else "base", seed=0, task="t", set="s", item=f"i{n}", domain="d",
            text=f"Reason {n}.", quote=EVIL if n == 0 else f"as I said {n}",
        )
        for n in range(10)
    ]  # fmt: skip
    clusters = tuple(
        ReasonCluster(
            id=f"c{n}",
            name=name,
            description=EVIL if n == 2 else f"About {name.lower()}.",
            side="aligned" if n > 1 else "misaligned",
            reasons=(f"r{2 * n}", f"r{2 * n + 1}"),
        )
        for n, name in enumerate(names)
    )
    return ClusterSet(made=tuple(each.id for each in clusters), clusters=clusters), reasons


@pytest.fixture
def page(browser, tmp_path: Path) -> Path:
    write_page(tmp_path / "reasons.html", *made())
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    browser.get((tmp_path / "reasons.html").as_uri())
    return tmp_path / "clusters.edited.json"


def part(browser, key: str, selector: str):
    found = browser.find_element("css selector", f'[data-id="{key}"] {selector}')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)  # not behind the bar
    return found


def write(browser, key: str, selector: str, words: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = part(browser, key, selector)
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(words or Keys.BACKSPACE)
    browser.find_element("css selector", "h1").click()


def press(browser, name: str) -> None:
    browser.find_element("id", name).click()


def saved(browser, path: Path) -> ClusterSet:
    press(browser, "save")
    for _ in range(200):
        if path.exists() and path.read_bytes().endswith(b"}\n"):
            break
        time.sleep(0.05)
    return read_clusters(path)


def told(browser) -> str:
    return browser.find_element("id", "told").text


def test_nothing_edited_is_saved_as_it_was_made(browser, page: Path) -> None:
    assert saved(browser, page) == made()[0]


def test_a_name_is_edited_two_clusters_merged_one_dropped_and_all_of_it_is_read_back(browser, page: Path) -> None:
    write(browser, "c0", ".name", "Self-preservation")
    write(browser, "c3", "textarea", "It cares.")
    part(browser, "c3", ".side option[value=neutral]").click()
    for key in ("c1", "c0"):
        part(browser, key, ".tick").click()
    press(browser, "merge")
    part(browser, "c4", ".drop").click()
    before = {each.id: each for each in made()[0].clusters}
    found = saved(browser, page)
    assert found.made == made()[0].made
    assert found.clusters == (
        before["c0"].model_copy(
            update={"name": "Self-preservation", "reasons": ("r0", "r1", "r2", "r3"), "merged": ("c1",)}
        ),
        before["c2"],
        before["c3"].model_copy(update={"description": "It cares.", "side": "neutral"}),
    )
    assert found.dropped == (before["c4"],)


def test_a_cluster_that_is_dragged_onto_another_is_merged_into_it(browser, page: Path) -> None:
    browser.execute_script("""
        const data = new DataTransfer();
        const how = {dataTransfer: data, bubbles: true, cancelable: true};
        const fire = (at, type) => at.dispatchEvent(new DragEvent(type, how));
        fire(document.querySelector('[data-id=c1] .grip'), 'dragstart');
        const onto = document.querySelector('[data-id=c0]');
        fire(onto, 'dragover');
        fire(onto, 'drop');""")
    found = saved(browser, page)
    assert [each.id for each in found.clusters] == ["c0", "c2", "c3", "c4"]
    assert (found.clusters[0].name, found.clusters[0].merged) == ("Staying", ("c1",))


def test_from_a_name_that_was_edited_one_goes_on_to_the_next_field(browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    part(browser, "c0", ".name").send_keys(" on", Keys.TAB)
    part(browser, "c0", ".name")
    assert browser.execute_script("return document.activeElement.className") == "side"
    assert saved(browser, page).clusters[0].name == "Staying on"


def test_a_drag_with_the_mouse_merges(browser, page: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    grip, onto = (browser.find_element("css selector", f"[data-id={key}] .grip") for key in ("c1", "c0"))
    moves = ActionChains(browser, duration=100).click_and_hold(grip).move_by_offset(0, -8).pause(0.1)
    moves.move_to_element(onto).pause(0.1).move_by_offset(2, 2).pause(0.1).release().perform()
    WebDriverWait(browser, 10).until(lambda shown: len(shown.find_elements("tag name", "article")) == 4)
    assert saved(browser, page).clusters[0].merged == ("c1",)


def test_everything_can_be_undone_step_by_step_and_what_was_dropped_taken_back(browser, page: Path) -> None:
    write(browser, "c0", ".name", "Other")
    for key in ("c0", "c1"):
        part(browser, key, ".tick").click()
    press(browser, "merge")
    part(browser, "c2", ".drop").click()
    part(browser, "c2", ".back").click()
    assert [each.get_attribute("data-id") for each in browser.find_elements("tag name", "article")][-1] == "c2"
    for _ in range(4):
        press(browser, "undo")
    assert not browser.find_element("id", "undo").is_enabled()
    assert saved(browser, page) == made()[0]


@pytest.mark.parametrize(("name", "words"), [(" not  ENDING ", "Two clusters are called"), ("", "has no name")])
def test_two_clusters_of_one_name_or_one_of_none_are_not_saved(browser, page: Path, name: str, words: str) -> None:
    write(browser, "c0", ".name", name)
    press(browser, "save")
    assert words in told(browser)
    assert not page.exists()


def test_hostile_words_are_shown_as_words(browser, page: Path) -> None:
    assert browser.title.startswith("Reasons")
    assert part(browser, "c2", "textarea").get_attribute("value").startswith("</script><script>")
    part(browser, "c0", "summary").click()
    wait_for_list = browser.execute_async_script(
        "const done = arguments[0]; setTimeout(() => done(document.querySelector('[data-id=c0] q').textContent), 100)"
    )
    assert wait_for_list == EVIL
    part(browser, "c4", ".drop").click()
    assert part(browser, "c0", "details").get_attribute("open")
    assert browser.execute_script("return document.scripts.length") == 2
    assert browser.get_log("browser") == []


def test_the_page_asks_for_nothing_and_fits_a_phone(browser, page: Path) -> None:
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    text = page.with_name("reasons.html").read_text(encoding="utf-8")
    data = text.partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(data)["made"] == list(made()[0].made)
