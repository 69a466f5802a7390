"""Two reports set side by side: what moved, what overlaps, and what was set otherwise."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.artifact import write_json
from midspec.core.errors import ConfigError
from midspec.report import ReportData, write_against
from midspec.report._report_comparison import Pair, compare_reports
from midspec.study import reports_against

from .simulated import simulated_report
from .test_page import Reader

STUDY = (
    "name: x\nseeds: [1, 2]\ntraining:\n  midtrain: {learning_rate: 0.001}\ncontrasts:\n  - {name: apart, plus: a}\n"
)


def moved(data: ReportData, by: float) -> ReportData:
    """The same report with its first contrast, and that interval, moved."""
    first = data.contrasts[0]
    one = first.estimate
    ends = {name: getattr(one, name) + by for name in ("value", "low", "high")}
    changed = first.model_copy(update={"estimate": one.model_copy(update=ends)})
    return data.model_copy(update={"contrasts": (changed, *data.contrasts[1:])})


@pytest.fixture(scope="module")
def two() -> tuple[ReportData, ReportData]:
    here = simulated_report().model_copy(update={"config_yaml": STUDY})
    there = moved(simulated_report(), 0.4)
    other = STUDY.replace("0.001", "0.002").replace("[1, 2]", "[1, 2, 3]").replace("plus: a", "plus: b")
    return here, there.model_copy(update={"config_yaml": other})


def test_it_finds_the_one_estimate_that_moved_and_names_the_settings(two):
    found = compare_reports(*two)
    assert [pair.one.name for pair in found.pairs if pair.found == "apart"] == ["specs apart"]
    assert found.pairs[0].change == pytest.approx(-0.4)
    assert {one.key: (one.here, one.there) for one in found.settings} == {
        "seeds": ("1, 2", "1, 2, 3"),
        "training.midtrain.learning_rate": ("0.001", "0.002"),
        "contrasts.apart.plus": ("a", "b"),
    }
    assert found.versions == ()


def test_runs_at_urls_are_called_by_their_urls(two, tmp_path):
    for name, data in zip(("run", "first"), two, strict=True):
        (tmp_path / name / "report").mkdir(parents=True)
        write_json(tmp_path / name / "report" / "report_data.json", data)
    folders = (tmp_path / "run", tmp_path / "first")
    for shown, title in (
        (("s3://bucket/second", "s3://bucket/first"), "second against first"),
        (("s3://bucket/first", "s3://other/first"), "s3://bucket/first against s3://other/first"),
    ):
        page, _ = reports_against(*folders, shown=shown)
        assert title in " ".join(" ".join(Reader(page.read_text(encoding="utf-8")).text).split())
    with pytest.raises(ConfigError, match="names the same run"):
        reports_against(*folders, shown=("s3://bucket/first", "s3://bucket/first"))


def test_the_page_and_the_rows_say_the_same(two, tmp_path):
    built = write_against(*two, tmp_path, names=("after", "before"))
    text = " ".join(" ".join(Reader((tmp_path / "against.html").read_text(encoding="utf-8")).text).split())
    assert "after against before" in text
    assert all(sentence in text for sentence in built.summary["says"])
    assert "the intervals have no value in common" in built.summary["says"][0]
    assert "3 settings differ." in built.summary["says"][-1]
    with (tmp_path / "against.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(compare_reports(*two).pairs)
    assert [row["found"] for row in rows].count("apart") == 1
    assert float(rows[0]["value_here"]) - float(rows[0]["value_there"]) == pytest.approx(float(rows[0]["change"]))


def test_a_report_against_itself_has_nothing_to_tell(two):
    found = compare_reports(two[0], two[0])
    assert set(found.counts("contrast")) == {"alike"}
    assert {pair.found for pair in found.pairs} <= {"alike", "not comparable"}
    assert not found.settings


def test_what_one_report_alone_has_is_said(two):
    here, there = two
    fewer = there.model_copy(update={"contrasts": there.contrasts[1:], "main_contrasts": ()})
    assert compare_reports(here, fewer).counts("contrast")["only here"] == 1
    assert compare_reports(fewer, here).counts("contrast")["only there"] == 1


spans = st.tuples(*[st.floats(-1, 1)] * 3).map(sorted)


@given(spans, spans)
def test_intervals_are_apart_exactly_where_they_share_no_value(mine, other):
    one, two = (
        simulated_report().contrasts[0].estimate.model_copy(update=dict(zip(("low", "value", "high"), x, strict=True)))
        for x in (mine, other)
    )
    found = Pair.of(one, two).found
    assert (found == "apart") == (mine[0] > other[2] or other[0] > mine[2])
    assert (found == "alike") == (mine[0] <= other[1] <= mine[2] and other[0] <= mine[1] <= other[2])
    assert Pair.of(two, one).found == found


def test_an_input_that_was_edited_in_place_is_told(two, tmp_path):
    here, there = ({"spec/america (text)": digest, "eval/AFT (items)": "a1"} for digest in ("b2", "c3"))
    built = write_against(*two, tmp_path, names=("after", "before"), inputs=(here | {"spec/new (text)": "d4"}, there))
    assert built.summary["says"][-1] == "1 input is not the same in content: spec/america (text)."
    assert "b2" in (tmp_path / "against.html").read_text(encoding="utf-8")
