"""Tasks on the page: every number with its count, nothing unscored is hidden, and hostile text stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from midspec.analysis import rates, repeats_for
from midspec.core.records import ArmScore, Share
from midspec.report import ClauseRow, ReportData, summary_lines, write_report
from midspec.report._format import share_words, value_words
from midspec.report._html import css_variables, heat
from midspec.report._task_page import power_sentences

from .simulated import EVIL, simulated_report
from .simulated_tasks import ATTACK, GOALS, GRID, GRID_ARMS, SCENARIOS, SPREAD, grid_cells, power, report_with_tasks
from .test_page import Reader


@pytest.fixture(scope="module")
def page(tasks_folder: Path) -> Reader:
    return Reader((tasks_folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def text(page: Reader) -> str:
    return " ".join(" ".join(page.text).split())


def svg_text(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_tasks_stand_after_the_rates_each_with_a_section_of_its_own(page: Reader) -> None:
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag == "section"]
    start = ids.index("rates")
    assert ids[start : start + 6] == ["rates", "tasks", "task-1", "task-2", "reasons", "bills"]


def test_every_arm_has_a_row_with_rate_interval_and_counts_or_says_not_asked(text: str) -> None:
    table = text.partition("Every arm on every evaluation")[2].partition("The arms were not asked")[0]
    for eval_task in report_with_tasks().eval_tasks:
        for one in eval_task.scores:
            assert f"{one.n_scored} of {one.n_asked}" in table
            assert (
                f"{one.value * (1 if one.measure == 'qa_score' else 100):.{2 if one.measure == 'qa_score' else 1}f}"
                in table
            )
    n_arms = len(report_with_tasks().arms)
    # Two columns of the grid and one of the questions; four and two arms were asked.
    assert table.count("not asked") == 3 * n_arms - 2 * 4 - 2


def test_nothing_unscored_is_hidden_asked_is_scored_plus_reasons(page: Reader, text: str) -> None:
    data = ReportData.model_validate_json(page.block)
    for one in data.eval_tasks[0].status:
        assert one.n_scored + sum(one.unscored.values()) == one.n_asked == 27 * 30
        for reason, count in one.unscored.items():
            assert f"{count} × {reason}" in text


def test_the_grid_is_a_file_with_every_cells_rate_and_n(tasks_folder: Path) -> None:
    words = svg_text(tasks_folder / "figures" / f"grid_{GRID}.svg")
    for cell in grid_cells():
        assert words.count(f"{100 * cell.value:.0f}" if cell.value is not None else "no score") >= 1
        assert (f"n {cell.n_scored}" if cell.n_scored == cell.n_asked else f"n {cell.n_scored}/{cell.n_asked}") in words
    assert words.count("no score") == 1
    assert set(GOALS) <= set(words)
    assert words.count("murder") == len(GRID_ARMS)
    with Image.open(tasks_folder / "figures" / f"grid_{GRID}.png") as image:
        assert image.width > 1500
    for number in range(1, len(GRID_ARMS) + 1):
        assert svg_text(tasks_folder / "figures" / f"grid_{GRID}_{number}.svg").count("espionage") == 1


def test_an_unscored_cell_is_hatched_and_has_no_colour_of_a_rate(tasks_folder: Path) -> None:
    svg = (tasks_folder / "figures" / f"grid_{GRID}.svg").read_text(encoding="utf-8")
    assert svg.count("url(#h") == 1
    cold, hot = heat(0.0), heat(1.0)
    n_coloured = sum(svg.count(f"fill: {colour}") for colour in {heat(step / 10) for step in range(11)})
    assert cold != hot
    assert n_coloured == len(grid_cells()) - 1


def test_power_is_said_in_words_that_hold_the_computed_numbers(text: str) -> None:
    for line in power_sentences(power()):
        assert line in text
    needed = repeats_for(0.1, SPREAD, n_cells=27)
    assert f"To see a difference of 10 points with 80% power: {needed} samples to each of these 27" in text


def test_power_without_enough_cells_says_that_no_number_is_enough() -> None:
    says = power().model_copy(update={"needed": (power().needed[0].model_copy(update={"n_repeats": None}),)})
    assert "no number of samples is enough with these 27 questions" in power_sentences(says)[1]
    once = says.model_copy(update={"within_sd": None, "n_repeats": 1})
    assert "no number of samples" not in power_sentences(once)[1]


def test_judges_stand_with_their_errors_and_one_that_has_none_is_not_measured(text: str) -> None:
    judges = text.partition("The judges, and how often they err")[2].partition("Side by side")[0]
    assert "4 of 120" in judges
    assert "3 of 29" in judges, "held out apart"
    assert "openai/b classifier_verdict not measured" in judges
    assert "kappa of openai/a and openai/b" in judges
    assert "0.71 (0.60 to 0.82)" in judges
    for one in report_with_tasks().eval_tasks[0].corrected:
        assert one.without_errors.value is not None
        assert f"{100 * abs(one.without_errors.value):.1f}" in judges


def test_a_setting_that_differs_is_a_warning_with_the_field_and_both_values(text: str) -> None:
    assert "The arms were not asked or judged alike" in text
    assert "sampling.temperature base, AFT: 0.7 MSM(america)+AFT: 1.0" in text


def test_logs_open_by_a_command_from_the_runs_folder_and_then_by_links(page: Reader, text: str) -> None:
    assert "All arms at once: inspect view --log-dir steps/exam While" in text
    assert "inspect view --log-dir steps/exam/AFT/logs" in text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs["href"].startswith("http")]
    assert "http://127.0.0.1:7575/#/logs/AFT/logs/a.eval" in links
    assert len(links) == len(GRID_ARMS)
    assert all(link.startswith("http://127.0.0.1:7575/#/logs/") and " " not in link for link in links)


def test_clauses_stand_in_the_order_given_with_their_text_or_id(text: str) -> None:
    table = text.partition("the least learned first")[2]
    assert table.index("The assistant may be corrected.") < table.index("c2")
    assert "2.25" in table


def test_a_harm_s_clauses_stand_under_the_most_violated_with_interval_and_n(tmp_path: Path) -> None:
    data = report_with_tasks()
    rows = [
        ArmScore(task="spec_tenets", set="c1", item=f"q{n}", domain="c1", measure="violated", arm="base", seed=11,
                 value=float(n < 3))
        for n in range(12)
    ]  # fmt: skip
    clause = ClauseRow(
        clause_id="c1", text="It owns up.", n_questions=12, means={"base": 0.25}, n_scored={"base": 12},
        rates=tuple(rates(rows)),
    )  # fmt: skip
    qa = next(one for one in data.eval_tasks if one.name == "spec_qa")
    changes = {"name": "spec_tenets", "main_measure": "violated", "harms": ("violated",), "clauses": (clause,)}
    tenets = qa.model_copy(update=changes)
    write_report(data.model_copy(update={"eval_tasks": (tenets,)}), tmp_path)
    shown = " ".join(Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text)
    table = " ".join(shown.partition("the most violated first")[2].split())
    [one] = clause.rates
    assert one.low is not None
    assert one.high is not None
    assert f"It owns up. 12 25.0 {one.low * 100:.1f} to {one.high * 100:.1f} n 12" in table


def test_reasons_stand_by_side_and_arm_with_what_was_labelled(text: str) -> None:
    table = text.partition("The reasons that drove")[2]
    assert (
        table.index("For misaligned conduct")
        < table.index("The policy asks for it")
        < table.index("For aligned conduct")
    )
    assert "18.4" in table, "7 of 38"
    assert "38 of 40" in table
    assert "4 of 40" in table, "citations"


def test_judging_stands_beside_its_forecast_on_the_page_and_not_in_the_data(page: Reader, text: str) -> None:
    assert "$11.07, forecast $12.50" in text
    assert "bills" not in json.loads(page.block)


def test_tables_of_pairs_hold_no_set_of_a_task(page: Reader) -> None:
    html_tables = page.text
    joined = " ".join(" ".join(html_tables).split())
    rates = joined.partition("Every arm on every set")[2].partition("Every arm on every evaluation")[0]
    assert GRID not in rates


def test_a_model_that_writes_markup_is_shown_word_for_word(page: Reader, tasks_folder: Path) -> None:
    html = (tasks_folder / "report.html").read_text(encoding="utf-8")
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"]
    assert not [attrs for tag, attrs in page.tags if tag in {"img", "verdict"} or "onerror" in attrs]
    assert "".join(page.text).count(ATTACK) == 2 * len(GRID_ARMS) + 1
    assert "<tool_use" not in html
    assert html.count("</details>") == html.count("<details")


def spoilt(value: Any, key: str = "") -> Any:
    free = {"title", "target", "unscored", "note", "text", "reasoning", "question", "judge", "folder", "file"}
    if isinstance(value, dict):
        if key in {"unscored", "values"} and all(isinstance(one, int | str) for one in value.values()):
            return {f"{name} {EVIL}": one for name, one in value.items()}
        return {name: spoilt(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [spoilt(one, key) for one in value]
    return f"{value} {EVIL}" if isinstance(value, str) and key in free else value


def test_no_text_of_any_task_breaks_out(tmp_path: Path) -> None:
    data = report_with_tasks()
    eval_tasks = [spoilt(eval_task.model_dump(mode="json")) for eval_task in data.eval_tasks]
    evil = ReportData.model_validate({**data.model_dump(mode="json"), "eval_tasks": eval_tasks})
    write_report(evil, tmp_path)
    page = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags if tag == "script"] == ["script"]
    assert not [attrs for tag, attrs in page.tags if tag == "img" or "onerror" in attrs]
    assert ReportData.model_validate_json(page.block).eval_tasks == evil.eval_tasks


def test_the_data_block_holds_tasks_and_reasons_as_they_are(page: Reader, tasks_folder: Path) -> None:
    found = ReportData.model_validate_json(page.block)
    assert found.eval_tasks == report_with_tasks().eval_tasks
    assert found.reasons == report_with_tasks().reasons
    assert found == ReportData.model_validate_json((tasks_folder / "report_data.json").read_text(encoding="utf-8"))


def test_a_study_without_tasks_has_neither_their_sections_nor_their_colours(report_folder: Path) -> None:
    html = (report_folder / "report.html").read_text(encoding="utf-8")
    assert 'id="tasks"' not in html
    assert ".task" not in html
    assert "heat-" not in html
    assert "eval_tasks" not in json.loads((report_folder / "report_data.json").read_text(encoding="utf-8"))
    assert "heat-10" in css_variables(dark=True, heats=True)


def test_a_report_of_an_older_version_which_called_tasks_exams_can_be_read(tasks_folder: Path) -> None:
    plain = json.loads((tasks_folder / "report_data.json").read_text(encoding="utf-8"))
    old = {"exams" if name == "eval_tasks" else name: value for name, value in plain.items()}
    assert ReportData.model_validate_json(json.dumps(old)) == ReportData.model_validate(plain)


def test_what_is_no_share_is_read_in_its_own_unit() -> None:
    assert value_words(1.0, "harmful") == "yes"
    assert value_words(7.5, "qa_score") == "7.50"
    assert value_words(None, "qa_score") == "no score"
    assert share_words(Share.counted(0, 0)) == "none to count"
    assert share_words(Share.counted(3, 97)).endswith(", 3 of 97")
    assert simulated_report().eval_tasks == ()
    assert summary_lines(report_with_tasks())[0] == report_with_tasks().title
    assert len(SCENARIOS) == 3
