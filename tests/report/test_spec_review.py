"""The page of a proposed spec: what it shows, that texts stay texts, that ticking an edit puts it in the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from midspec.core.records import DiffWord, SpecEdit, SpecReview
from midspec.report import write_spec_review

from .simulated import EVIL
from .test_browser import show
from .test_page import Reader


def edit(at: int, before: str, after: str) -> SpecEdit:
    about = {"section_id": f"s{at // 2}", "section": f"Desk > Part {at // 2}", "clause_ids": (f"c{at}",)}
    made = {"tool": "ablate", "author": "openai/author", "request": f"r{at}", "note": "asked again for its length"}
    return SpecEdit.model_validate({"id": f"1a2b{at:04d}", "before": before, "after": after, **about, **made})


def review(text: str = "Ada is kind", n: int = 5, **changes: object) -> SpecReview:
    edits = tuple(edit(at, f"{text}, because of {at}.", f"{text}, and so {at}.") for at in range(n))
    words = tuple(
        (
            DiffWord(kind="same", text=f"{text},"),
            DiffWord(kind="out", text=f" because of {at}."),
            DiffWord(kind="in", text=f" and so {at}."),
        )
        for at in range(n)
    )
    values: dict[str, object] = {
        "title": "Desk",
        "tool": "ablate",
        "author": "openai/author",
        "n_tokens_before": 1000,
        "n_tokens_after": 1100,
        "n_tokens_wanted": 1000,
        "edits": edits,
        "words": words,
        "not_written": (("Ada asks first.", "refused: no"),),
    }
    return SpecReview.model_validate(values | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("review")
    write_spec_review(review(), made)
    write_spec_review(review(EVIL), made / "evil")
    return made


def test_each_edit_stands_with_its_words_before_and_after_and_a_box(folder: Path) -> None:
    page = Reader((folder / "review.html").read_text(encoding="utf-8"))
    boxes = [attrs["id"] for tag, attrs in page.tags if tag == "input"]
    assert boxes == [f"e-1a2b{at:04d}" for at in range(5)]
    text = " ".join("".join(page.text).split())
    assert "Ada is kind, because of 0." in text
    assert "Ada is kind, and so 0." in text
    assert "The length was missed by 10%." in text
    assert "Nothing usable came for 1 places" in text
    assert "refused: no" in text
    assert SpecReview.model_validate_json(page.block) == review()


def test_the_same_review_gives_the_same_bytes_and_none_of_its_texts_is_mark_up(folder: Path, tmp_path: Path) -> None:
    write_spec_review(review(), tmp_path)
    assert (tmp_path / "review.html").read_bytes() == (folder / "review.html").read_bytes()
    page = Reader((folder / "evil" / "review.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"]
    assert not [attrs for tag, attrs in page.tags if tag == "img" or "onerror" in attrs]
    assert SpecReview.model_validate_json(page.block) == review(EVIL)


def test_a_review_without_an_edit_says_so(tmp_path: Path) -> None:
    write_spec_review(review(n=0, n_tokens_wanted=None, not_written=()), tmp_path)
    page = Reader((tmp_path / "review.html").read_text(encoding="utf-8"))
    assert "There is no edit" in "".join(page.text)
    assert "midspec spec accept" not in "".join(page.text)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1200, 360], ids=["desk", "phone"])
def test_ticking_an_edit_puts_it_in_the_command_without_any_script(browser, folder, width):
    show(browser, folder / "review.html", width=width)
    command = "return document.querySelector('.accepting pre').innerText"
    assert browser.execute_script(command).strip().endswith("--clauses ''")
    browser.execute_script(
        "document.querySelectorAll('input')[1].click(); document.querySelectorAll('input')[4].click()"
    )
    assert browser.execute_script(command).strip().endswith("--clauses '1a2b0001,1a2b0004,'")
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
