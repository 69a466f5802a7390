"""Several studies on one page: what each found, a null as a null, and how many chats were saved."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from midspec.analysis import data_saving
from midspec.core.errors import ConfigError
from midspec.report import IndexedReport, ReportData, index_lines, write_index
from midspec.report._format import holds, leaves_out_0, saving_sentence

from .simulated import simulated_report
from .test_page import Reader

NUMBERS = (14, 54, 216)


@pytest.fixture(scope="module")
def data() -> ReportData:
    whole = simulated_report()
    return whole.model_copy(update={"main_contrasts": tuple(one.estimate.name for one in whole.contrasts)})


def indexed(data: ReportData, folder: Path, name: str, shared_s: float = 0.0) -> IndexedReport:
    return IndexedReport(name, folder / name / "report" / "report.html", data, 120.0, shared_s)


def saved(shift: float):
    """Rates that rise by 0.1 with each four-fold, with the treatment as if there were `shift` times as many chats."""
    without = {n: dict.fromkeys(range(6), 0.4 + 0.1 * at) for at, n in enumerate(NUMBERS)}
    more = {1.0: 0.0, 4.0: 0.1, 64.0: 0.3, 0.25: -0.1}[shift]
    treated = {n: {base: rate + more for base, rate in rates.items()} for n, rates in without.items()}
    return data_saving(without, treated, names=("the whole corpus", "conflict", "choice_logprob"))


def test_each_main_contrast_stands_there_with_what_could_have_been_found(data: ReportData, tmp_path: Path) -> None:
    built = write_index([indexed(data, tmp_path, "one"), indexed(data, tmp_path, "two", 60.0)], tmp_path / "all.html")
    assert built.outputs == ("all.html", "all.csv")
    text = (tmp_path / "all.html").read_text(encoding="utf-8")
    links = [attrs["href"] for tag, attrs in Reader(text).tags if tag == "a"]
    assert links == ["all.csv", "one/report/report.html", "two/report/report.html"]
    assert text.count('class="null"') == 2 * sum(not holds(one.estimate) for one in data.contrasts)
    assert text.count('class="shown"') == 2 * sum(holds(one.estimate) for one in data.contrasts)
    assert "2.0 minutes of CPU, 1.0 of them in results that other studies have made" in text
    assert "3 minutes of CPU in all" in text
    assert "<script" not in text


def test_minutes_in_all_are_told_where_every_study_has_them(data: ReportData, tmp_path: Path) -> None:
    old = indexed(data, tmp_path, "old", 60.0)._replace(cpu_s=None)
    write_index([old, indexed(data, tmp_path, "new")], tmp_path / "all.html")
    assert "minutes of CPU in all" not in (tmp_path / "all.html").read_text(encoding="utf-8")


def test_a_page_with_the_name_of_the_other_file_is_refused(data: ReportData, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all comparisons"):
        write_index([indexed(data, tmp_path, "one")], tmp_path / "all.csv")


def test_the_file_beside_it_has_every_comparison(data: ReportData, tmp_path: Path) -> None:
    write_index([indexed(data, tmp_path, "one")], tmp_path / "all.html")
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["comparison"] for row in rows] == [one.estimate.name for one in data.contrasts]
    assert [float(row["value"]) for row in rows] == [one.estimate.value for one in data.contrasts]


def test_what_the_correction_leaves_unsure_is_told_as_not_significant(data: ReportData) -> None:
    first = next(one for one in data.contrasts if leaves_out_0(one.estimate))
    unsure = first.estimate.model_copy(update={"note": "p 0.03 alone, 0.12 after Holm's correction for 4 contrasts"})
    lost = data.model_copy(
        update={
            "contrasts": (first.model_copy(update={"estimate": unsure}),),
            "main_contrasts": (first.estimate.name,),
        }
    )
    [_, said] = index_lines([indexed(lost, Path(), "one")])
    assert said.endswith("Not significant: p\u00a00.12 after Holm’s correction for 4 comparisons.")


def test_numbers_of_chats_of_one_curve_alone_are_not_told_as_those_of_the_rate() -> None:
    curve = {n: dict.fromkeys(range(6), 0.4 + 0.1 * at) for at, n in enumerate(NUMBERS)}
    fewer = {n: rates for n, rates in curve.items() if n < 216}
    said = saving_sentence(data_saving({7: curve[14], **curve}, fewer, names=("it", "conflict", "choice_logprob")))
    assert "the rate that 54 chats give alone (50.0)" in said


def test_savings_are_said_first_and_bounds_as_bounds(data: ReportData) -> None:
    with_savings = data.model_copy(update={"savings": (saved(4.0),)})
    lines = index_lines([indexed(with_savings, Path(), "one")])
    assert lines[1] == f"  - {saving_sentence(saved(4.0))}"
    assert "4.0 times fewer chats give the rate that 216 chats give alone (60.0)" in lines[1]
    bound = saving_sentence(saved(64.0))
    assert "14 chats or fewer give" in bound
    assert "at least 15.4 times fewer" in bound
    assert "(95% interval 15.4 or more; 6 bases)" in bound
    assert saving_sentence(saved(0.25)).endswith(
        "gives the rate that 216 chats give alone (60.0), nor does the upper end of its 95% interval: "
        "none are saved (6 bases)."
    )
    assert "which includes 1: no saving is shown" in saving_sentence(saved(1.0))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((0.3, -0.1), "4.0 times fewer chats give"),  # half of the bases reach the rate, half never do
        ((0.01, -0.05), "no number of chats that was tried gives"),
    ],
)
def test_an_interval_without_a_lower_end_gets_words_and_no_number(more: tuple[float, ...], said: str) -> None:
    without = {n: dict.fromkeys(range(6), 0.4 + 0.1 * at) for at, n in enumerate(NUMBERS)}
    treated = {n: {base: rate + more[base % len(more)] for base, rate in rates.items()} for n, rates in without.items()}
    sentence = saving_sentence(data_saving(without, treated, names=("it", "conflict", "choice_logprob")))
    assert said in sentence
    assert ", without a lower end" in sentence
    assert "no saving is shown" in sentence
    assert "0.0 to" not in sentence
