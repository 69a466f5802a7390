"""What stands beside a report's rates: each number says what it is of, opens its transcripts, and claims no more."""

from __future__ import annotations

import csv
import json
import re

import pytest
from pyarrow import parquet

from midspec.report import write_report
from midspec.report._evidence import cost_rows, raw_tables, seam_tables, side_effect_strips
from midspec.report._figures import draw_bars
from midspec.report._forest_figure import draw_forest

from .simulated import EVIL, SETS
from .simulated_evidence import AMERICA, THRIFT, report_with_evidence
from .test_page import Reader


@pytest.fixture(scope="module")
def page(evidence_folder) -> Reader:
    return Reader((evidence_folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows(evidence_folder) -> list[dict[str, str]]:
    with (evidence_folder / "estimates.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_estimate_is_a_row_that_says_what_it_is_of(rows):
    data = report_with_evidence()
    n_contrasts = len(data.contrasts) + len(data.robust)
    assert len(rows) == len(data.estimates) + n_contrasts + len(data.raw) + len(data.published)
    one = next(row for row in rows if row["name"] == "specs apart" and row["of"] == "all seeds")
    estimate = data.contrasts[0].estimate
    assert (one["arm"], one["minus"], one["set_title"]) == (AMERICA, THRIFT, "Conflict")
    assert one["target"] == "American and pricey over foreign and cheap"
    assert (float(one["value"]), float(one["low"]), float(one["mde"])) == (estimate.value, estimate.low, estimate.mde)
    noted = re.search(r"p ([\d.]+) alone, ([\d.]+) after", estimate.note)
    assert (float(one["p"]), float(one["p_holm"])) == tuple(map(float, noted.groups()))
    assert json.loads(one["by_seed"]) == {str(seed.seed): seed.value for seed in estimate.by_seed}
    assert {row["unit"] for row in rows if row["measure"] == "margin_logprob"} == {"nats"}
    assert [row["value"] for row in rows if row["kind"] == "published"] == ["0.71", "0.4"]


def test_the_parquet_file_holds_the_same_rows_and_says_what_columns_mean(evidence_folder, rows):
    table = parquet.read_table(evidence_folder / "estimates.parquet")
    assert table.column_names == list(rows[0])
    for mine, other in zip(table.to_pylist(), rows, strict=True):
        assert {name: "" if value is None else str(value) for name, value in mine.items()} == other
    assert all(field.metadata[b"meaning"] for field in table.schema)


def test_a_number_opens_the_page_of_what_was_said(evidence_folder, page):
    links = {(link["arm"], link["set"]): link["file"] for link in json.loads(page.block)["transcripts"]}
    assert len(links) == len(report_with_evidence().arms) * len(SETS)
    html = (evidence_folder / "report.html").read_text(encoding="utf-8")
    # In tables of rates, of contrasts, of seams, of raw rates.
    assert all(html.count(f'href="{links[AMERICA, name]}"') >= 4 for name in ("conflict",))
    shown = (evidence_folder / links[AMERICA, "conflict"]).read_text(encoding="utf-8")
    text = " ".join("".join(Reader(shown).text).split())
    assert "3 of 200 items, spread evenly over seeds and items" in text
    assert "inspect view --log-dir steps/eval/base-s11/logs" in text
    assert "the train." in text
    assert "ended: max_tokens" in text
    assert EVIL.strip() in text
    assert "<script" not in shown


def test_pages_of_transcripts_lead_to_each_other_and_back(evidence_folder, page):
    for link in json.loads(page.block)["transcripts"][:3]:
        path = evidence_folder / link["file"]
        hrefs = [attrs["href"] for tag, attrs in Reader(path.read_text(encoding="utf-8")).tags if tag == "a"]
        assert len(hrefs) == len(report_with_evidence().arms)
        assert all((path.parent / href.partition("#")[0]).resolve().is_file() for href in hrefs)


def test_the_forest_has_every_contrast_and_fills_only_what_holds(evidence_folder):
    svg = (evidence_folder / "figures" / "forest.svg").read_text(encoding="utf-8")
    assert all(name in svg for name in ("specs apart", "thrift down", "aft adds"))
    assert "p\u00a00.067" in svg
    html = (evidence_folder / "report.html").read_text(encoding="utf-8")
    found = re.findall(
        r'<tr>\s*<th scope="row">\s*<span class="says"><i>Asked</i> ([^<]*)</span>.*?<svg class="([^"]*)"', html, re.S
    )
    filled = {says for says, name in found if "sure" in name}
    # By hand from the notes: intervals leave out 0, and Holm's p is below 0.05.
    assert filled >= {"Two specs, the same fine-tuning", "The reason that is given"}
    assert "The America spec against fine-tuning alone" not in filled  # +6.7 to +32.3, and p 0.067 after correction


def test_a_published_figure_stands_beside_ours_in_figures_tables_and_a_list(page, evidence_folder):
    text = " ".join("".join(page.text).split())
    assert "◇ 71.0 (65.0 to 77.0)" in text
    assert "◇ +40.0" in text
    assert "nothing here tests whether two numbers agree" in text
    data = report_with_evidence()
    forests = [draw_forest(each, "forest", 9.8).svg for each in (data, data.model_copy(update={"published": ()}))]
    assert forests[0].count("<path") > forests[1].count("<path")
    assert forests[0] == (evidence_folder / "figures" / "forest.svg").read_text(encoding="utf-8")
    bars = [draw_bars(each, data.panels, "main", 9.8).svg for each in (data, data.model_copy(update={"published": ()}))]
    assert bars[0] != bars[1]


def test_a_change_at_the_seam_is_told_only_where_the_study_asked_for_it():
    tables = seam_tables(report_with_evidence())
    main = next(table for table in tables if table.set == "conflict")
    changes = {row.arm.name: row.change for row in main.rows}
    assert changes[AMERICA].startswith("−9.1 (−15.8 to −2.4)")
    assert {change for arm, change in changes.items() if arm != AMERICA} == {""}
    assert all(row.first.arm == row.seam and row.last.arm == row.arm.name for row in main.rows)


def test_side_effects_name_the_arm_that_is_furthest_from_the_base():
    data = report_with_evidence()
    strip = side_effect_strips(data)[0]
    values = {one.arm: one.value for one in data.estimates if (one.set, one.measure) == ("conflict", "parsed")}
    base = values.pop("base")
    assert abs(strip.furthest.value - base) == max(abs(value - base) for value in values.values())
    assert len(strip.marks) == len(values) + 1
    # Two intervals that share a value are not called apart.
    assert not strip.is_apart


def test_raw_rates_stand_beside_rates_of_what_was_read(page):
    table = raw_tables(report_with_evidence())[0]
    assert table.set == "conflict"
    for _, raw, read, share in table.rows:
        assert raw.value == pytest.approx(0.93 * read.value)
        assert share == pytest.approx(0.93, abs=0.03)
    assert "an answer that names neither option" in " ".join("".join(page.text).split())


def test_costs_that_were_not_recorded_are_no_zeros():
    train, analysis, documents, total = cost_rows(report_with_evidence())
    assert (train.cpu, train.clock, train.requests, train.dollars) == ("2.0 h", "1.1 h", "–", "–")
    assert analysis.cpu == "–"
    assert (documents.requests, documents.dollars, documents.steps) == ("1,200", "$3.20", "–")
    assert (total.steps, total.cpu, total.requests, total.dollars) == ("41", "–", "1,200", "$3.20")


def test_costs_and_clocks_are_on_the_page_and_not_in_the_data(page, evidence_folder):
    assert "What it cost" in "".join(page.text)
    data = json.loads((evidence_folder / "report_data.json").read_text(encoding="utf-8"))
    assert not {"costs", "seconds", "bills"} & set(data)


def test_a_rate_that_nobody_scored_is_an_empty_field(tmp_path):
    data = report_with_evidence()
    gone = data.estimates[0].model_copy(update={"value": None, "low": None, "high": None, "mde": None})
    bare = {"contrasts": (), "main_contrasts": (), "robust": (), "raw": (), "published": (), "seams": (), "panels": ()}
    changed = data.model_copy(update={**bare, "side_effects": (), "estimates": (gone, *data.estimates[1:])})
    write_report(changed, tmp_path)
    with (tmp_path / "estimates.csv").open(encoding="utf-8", newline="") as file:
        key = (gone.arm, gone.set, gone.measure)
        [row] = [row for row in csv.DictReader(file) if (row["arm"], row["set"], row["measure"]) == key]
    assert (row["value"], row["low"], row["mde"], row["p"]) == ("", "", "", "")
    assert not (tmp_path / "figures" / "forest.svg").exists()
    assert not (tmp_path / "transcripts").exists()
