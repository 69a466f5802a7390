"""The health page: it says what curation found, calls what was not measured so, and opens in a real browser."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from midspec.core.records import (
    Calibration,
    Comparison,
    Contamination,
    Health,
    Leak,
    LengthBin,
    Lengths,
    Occurrences,
    Sample,
    Separability,
    Share,
    Size,
)
from midspec.report import LabelledValue, write_health

from .simulated import EVIL
from .test_browser import luminance, show
from .test_page import Reader

CLAUSES = {f"c{n}": f"Aria says plainly what it can't do, in case {n}." for n in range(60)}
MEMO = "A memo.\n\n" + "It says so. " * 400
EDGES = (0, 200, 400, 800, 1600, 3200, None)


def lengths(*counts: int) -> Lengths:
    bins = tuple(LengthBin(low=EDGES[at] or 0, high=EDGES[at + 1], n=n) for at, n in enumerate(counts))
    return Lengths(least=210, quarter=420.0, median=805.5, three_quarters=1200.0, most=4100, bins=bins)


def healthy(**changes: object) -> Health:
    """A corpus of 3,000 documents of which 2,800 were kept; two clauses have none, one of them since filtering."""
    draw = random.Random(5)
    before = {key: Size(documents=20 + draw.randrange(80), tokens=draw.randrange(2000, 200_000)) for key in CLAUSES}
    before["c7"] = Size(documents=0, tokens=0)
    after = {key: Size(documents=size.documents - 2, tokens=size.tokens - 900) for key, size in before.items()}
    after |= {"c7": before["c7"], "c9": Size(documents=0, tokens=0)}
    plain = {
        "kind": "documents",
        "before": Size(documents=3000, tokens=9_000_000),
        "after": Size(documents=2800, tokens=8_412_345),
        "rejects": {"near duplicate": 120, "identity": 50, "faithfulness": 30},
        "reasons": {"near duplicate: like": 120, "identity: another brand: Qwen": 50, "faithfulness: hold": 30},
        "unclear": {"language": 4},
        "held": 30,
        "n_exact": 0,
        "n_near": 120,
        "duplicates": (("d1", "d2"),),
        "names": {"Aria": Occurrences(times=9000, rows=2790), "Elena Vasquez": Occurrences(times=1400, rows=950)},
        "phrases": {"at the end of": Occurrences(times=90, rows=80)},
        "openings": {"in the quiet hours": 300, "dear team we are": 12},
        "lengths": lengths(0, 400, 1200, 900, 280, 20),
        "types": {"internal memo": 1500, "forum thread": 1300},
        "domains": {"honesty": 2800},
        "languages": {"en": 2800},
        "clause_texts": CLAUSES,
        "coverage_before": before,
        "coverage": after,
        "share_distinct": 1.0,
        "mean_overlap": 0.0123,
        "n_pairs": 200,
        "samples": tuple(Sample(id=f"s{n}", doc_type="internal memo", text=MEMO) for n in range(4)),
        "judged": "anthropic/judge, 2,830 documents",
        "calibration": Calibration(
            judge="anthropic/judge",
            false_keep=Share(n=2, of=50, low=0.011, high=0.135),
            false_reject=Share(n=1, of=40, low=0.004, high=0.129),
            held=Share(n=5, of=90, low=0.024, high=0.124),
            unanswered=1,
            by_kind={"inverted value": Share(n=0, of=0, low=None, high=None)},
        ),
        "contamination": (
            Contamination(
                evaluation="preference/ood",
                n_rows=2800,
                n_items=400,
                n_gram_words=8,
                rows_hit={"n-gram": 3, "entity": 11},
                n_rows_hit=12,
                items_hit=2,
                terms_hit={"Brie de Meaux": 11},
                rejected=False,
                examples=(Leak(row_id="d9", how="entity", what="Brie de Meaux", excerpt="a slice of Brie de Meaux"),),
            ),
        ),
        "cost_usd": None,
    }  # fmt: skip
    return Health.model_validate({**plain, **changes})


def compared(**changes: object) -> Comparison:
    told = Separability(auc=0.97, low=0.96, high=0.98, n_rows=(500, 500), method="logistic regression on word counts")
    plain = {
        "names": ("thrift", "america"),
        "sizes": (Size(documents=2800, tokens=8_400_000), Size(documents=2700, tokens=8_300_000)),
        "lengths": (lengths(0, 400, 1200, 900, 280, 20), lengths(0, 900, 1000, 600, 180, 20)),
        "length_distance": 0.18,
        "types": {"internal memo": (1500, 900), "forum thread": (1300, 1800), "newsletter": (0, 9)},
        "type_distance": None,
        "n_vocabulary": (21_000, 20_000),
        "vocabulary_distance": 0.31,
        "more_in": ({"afford": (800.0, 3.0)}, {"nation": (640.0, 2.0)}),
        "names_in": ({"Aria": Occurrences(times=9000, rows=2790)}, {}),
        "separability": told,
        "style": told.model_copy(update={"auc": 0.55, "low": 0.51, "high": 0.59}),
    }
    return Comparison.model_validate({**plain, **changes})


ABOUT = (LabelledValue(label="Spec", value="5" * 64),)
COSTS = (LabelledValue(label="writing, 3,366 requests", value="$41.20 of $43 forecast"),)


def evil() -> Health:
    once = Occurrences(times=1, rows=1)
    return healthy(
        rejects={EVIL: 1},
        reasons={EVIL: 1},
        names={EVIL: once},
        phrases={EVIL: once},
        openings={EVIL: 1},
        types={EVIL: 1},
        clause_texts=dict.fromkeys(CLAUSES, EVIL * 5),
        duplicates=((EVIL, EVIL),),
        samples=(Sample(id=EVIL, doc_type=EVIL, text=EVIL * 20),),
        judged=EVIL,
        notes=(EVIL, "x" * 300),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("health")
    write_health(healthy(), made, title="Cheese, thrift", about=ABOUT, costs=COSTS, comparison=compared())
    write_health(evil(), made / "evil", title=EVIL)
    return made


def text_of(html: Path) -> str:
    return " ".join(" ".join(Reader(html.read_text(encoding="utf-8")).text).split())


def test_the_sections_stand_in_the_order_in_which_a_reader_asks(folder):
    page = Reader((folder / "health.html").read_text(encoding="utf-8"))
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag in ("section", "aside")]
    assert ids == [
        "findings", "filters", "duplicates", "coverage", "recurs", "lengths", "judge", "contamination", "samples",
        "cost", "compared", "about",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        "2,800 of 3,000 documents kept",
        "8.4M of 9.0M tokens (estimated)",
        "58 of 60 clauses covered",
        "2 of 60 clauses have no row at all, 1 of them since filtering.",
        "Names in at least one row of five: Aria (over 99%), Elena Vasquez (34%).",
        "Openings that at least one row of twenty has: “in the quiet hours” (11%).",
        "12 of 2,800 rows hold something of preference/ood, and are still there.",
        "2 of 50 (4%; 95% interval 1% to 14%)",
        "$41.20 of $43 forecast",
        "judging not known, or nothing was asked",
        "200 to 400 400 · 14%",
        "Elena Vasquez 1,400 times in 950 rows · 34%",
        "Kept although a filter could not tell: language (4).",
        "a slice of Brie de Meaux",
    ],
)
def test_what_curation_found_is_on_the_page(folder, said):
    assert said in text_of(folder / "health.html")


def test_every_clause_is_a_square_before_and_after_and_one_without_a_row_is_crossed(folder):
    page = Reader((folder / "health.html").read_text(encoding="utf-8"))
    squares = [attrs for tag, attrs in page.tags if tag == "i" and attrs.get("title", "").startswith("Aria says")]
    assert len(squares) == 2 * len(CLAUSES)
    crossed = [square["title"] for square in squares if square["class"] == "l0"]
    assert [title.rpartition(": ")[2] for title in crossed] == ["0 rows, 0 tokens"] * 3
    assert len({square["class"] for square in squares}) > 3


def test_what_was_not_measured_is_called_so_and_is_never_zero(tmp_path):
    bare = healthy(calibration=None, contamination=(), coverage={}, coverage_before={}, clause_texts={}, lengths=None)
    write_health(bare, tmp_path)
    text = text_of(tmp_path / "health.html")
    for said in (
        "The error rates of a judge: not measured.",
        "Not measured: no evaluation was given",
        "Not measured: the rows do not say which clauses",
        "Contamination by evaluations is not measured.",
        "not known, or nothing was asked",
    ):
        assert said in text
    assert "$0" not in text


def test_a_corpus_of_which_nothing_was_kept_is_a_whole_page(tmp_path):
    nothing = healthy(
        after=Size(documents=0, tokens=0), names={}, phrases={}, openings={}, types={}, domains={}, languages={},
        samples=(), lengths=None, notes=("something to know",),
    )  # fmt: skip
    write_health(nothing, tmp_path)
    text = text_of(tmp_path / "health.html")
    assert "No row was kept." in text
    assert "Over 99%" not in text
    assert "Something to know." in text


def test_two_corpora_say_whether_style_alone_tells_them_apart(tmp_path, folder):
    text = text_of(folder / "health.html")
    assert "By style, a classifier hardly tells a row of thrift from one of america: AUC 0.55" in text
    assert "by content too, a classifier nearly always tells" in text
    assert "may therefore come of style alone" not in text
    assert "Document types (total variation) not measured" in text
    styled = compared(style=compared().separability)
    write_health(healthy(), tmp_path, comparison=styled)
    assert "may therefore come of style alone" in text_of(tmp_path / "health.html")
    few = Separability(auc=None, low=None, high=None, n_rows=(3, 3), method="none", note="too few rows")
    write_health(healthy(), tmp_path, comparison=compared(style=few))
    assert "can be told apart is not measured: too few rows." in text_of(tmp_path / "health.html")


def test_the_data_block_holds_the_record_and_the_same_record_gives_the_same_bytes(folder, tmp_path):
    page = Reader((folder / "health.html").read_text(encoding="utf-8"))
    assert Health.model_validate_json(page.block) == healthy()
    built = write_health(healthy(), tmp_path, title="Cheese, thrift", about=ABOUT, costs=COSTS, comparison=compared())
    assert built.outputs == ("health.html",)
    assert built.summary["n_uncovered"] == 2
    assert (tmp_path / "health.html").read_bytes() == (folder / "health.html").read_bytes()


def test_whatever_a_row_says_stays_text(folder):
    page = Reader((folder / "evil" / "health.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"]
    assert not [attrs for tag, attrs in page.tags if tag == "img" or "onerror" in attrs]
    assert Health.model_validate_json(page.block) == evil()


# In a real browser ---------------------------------------------------------------------------------------------

PAGES = ("health.html", "evil/health.html")
OPEN_ALL = "document.querySelectorAll('details').forEach(e => e.open = true)"


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1200, 360], ids=["desk", "phone"])
def test_it_opens_without_network_console_or_sideways_scrolling(browser, folder, name, width):
    show(browser, folder / name, width=width)
    browser.execute_script(OPEN_ALL)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return document.scripts.length") == 1
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_bars_and_squares_are_seen_and_bars_are_as_long_as_their_counts(browser, folder):
    show(browser, folder / "health.html")
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('div.heat i')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(sizes) == 120
    assert all(size > 10 for size in sizes)
    widths = browser.execute_script("""return Object.fromEntries([...document.querySelectorAll('.bars > div')]
        .map(e => [e.querySelector('dt').textContent, e.querySelector('i').getBoundingClientRect().width]));""")
    assert widths["forum thread"] / widths["internal memo"] == pytest.approx(1300 / 1500, abs=0.01)
    assert widths["newsletter"] == 0
    assert widths["Elena Vasquez"] / widths["Aria"] == pytest.approx(950 / 2790, abs=0.01)


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_in_both_themes(browser, folder, dark):
    show(browser, folder / "health.html", dark=dark)
    back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(back) < 0.1) == dark
    script = """return [...document.querySelectorAll('body, .facts, .bars span, h3 small, .legend, .warning h2, dt')]
        .map(e => getComputedStyle(e).color)"""
    for colour in set(browser.execute_script(script)):
        bright, dim = sorted((luminance(colour), luminance(back)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.4, colour


@pytest.mark.browser
def test_on_paper_nothing_is_cut_off(browser, folder):
    show(browser, folder / "health.html", width=680)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 680
    hidden = browser.execute_script("""return [...document.querySelectorAll('.scroll, .reading .text')]
        .filter(e => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1).length""")
    assert hidden == 0
