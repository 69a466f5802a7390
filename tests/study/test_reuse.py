"""A run takes over equal results of other runs, and says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from midspec.core.artifact import TAKEN_OVER, read_record
from midspec.core.errors import DataError, MissingError
from midspec.study import index_reports, open_run_folder, parse_study, run_study
from midspec.study.execution._reports import _cpu_of

DOCUMENTS = ["corpus/america"]


def run_of(text: str, out: Path, **settings: object) -> dict[str, str]:
    """Run a study; return what each step of the run made: its digest, by name."""
    records = run_study(parse_study(text, home=out.parent), out, **settings)  # type: ignore[arg-type]
    return {name: record.digest for name, record in records.items()}


def taken(out: Path) -> set[str]:
    """Return the results that were taken over, as `kind/folder`."""
    found = {path.parent: read_record(path.parent) for path in out.glob("steps/*/*/record.json")}
    over = (place for place, record in found.items() if record and TAKEN_OVER in record.execution.extra)
    return {f"{place.parent.name}/{place.name}" for place in over}


@pytest.fixture
def first(tiny_text: str, tmp_path: Path) -> Path:
    run_of(tiny_text, tmp_path / "runs" / "first", only=DOCUMENTS)
    return tmp_path / "runs" / "first"


def test_equal_results_are_copied_and_others_made(tiny_text: str, first: Path) -> None:
    wider = tiny_text.replace("seeds: [1, 2]", "seeds: [2, 3]")
    second = first.with_name("second")
    made = run_of(wider, second, only=DOCUMENTS, reuse=[first])
    assert taken(second) == {"spec/america", "corpus/america-s2"}
    assert made == run_of(wider, first.with_name("third"), only=DOCUMENTS)
    record = read_record(second / "steps" / "corpus" / "america-s2")
    assert record is not None
    told = record.execution.extra[TAKEN_OVER]
    assert isinstance(told, dict)
    assert told["folder"] == str(first / "steps" / "corpus" / "america-s2")
    assert told["cpu_s"] is not None


def test_a_folder_of_runs_may_hold_the_run_itself_and_be_empty(tiny_text: str, first: Path, tmp_path: Path) -> None:
    second = first.with_name("second")
    run_of(tiny_text, second, only=DOCUMENTS, reuse=[first.parent])
    run_of(tiny_text, second, only=DOCUMENTS, reuse=[first.parent])
    assert taken(second) == {"spec/america", "corpus/america-s1", "corpus/america-s2"}
    run_of(tiny_text, tmp_path / "new" / "first", only=["spec"], reuse=[tmp_path / "new"])


def test_a_result_made_from_other_settings_is_not_taken(tiny_text: str, first: Path) -> None:
    second = first.with_name("second")
    run_of(tiny_text.replace("n_documents: 20", "n_documents: 21"), second, only=DOCUMENTS, reuse=[first])
    assert taken(second) == {"spec/america"}


def test_what_is_to_be_made_anew_is_made(tiny_text: str, first: Path) -> None:
    second = first.with_name("second")
    run_of(tiny_text, second, only=DOCUMENTS, reuse=[first], redo=DOCUMENTS)
    assert taken(second) == {"spec/america"}


def test_a_file_that_was_changed_after_it_was_made_is_refused(tiny_text: str, first: Path) -> None:
    path = first / "steps" / "corpus" / "america-s1" / "documents.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("america", "thrift", 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"documents\.jsonl: is gone, or was changed after it was made"):
        run_of(tiny_text, first.with_name("second"), only=DOCUMENTS, reuse=[first])
    assert not (first.with_name("second") / "steps" / "corpus" / "america-s1").exists()


def test_a_folder_without_a_run_is_refused_before_anything_is_done(tiny_text: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"--reuse .*nowhere: there is no study run"):
        run_of(tiny_text, tmp_path / "run", only=DOCUMENTS, reuse=[tmp_path / "nowhere"])
    assert not (tmp_path / "run").exists()


def test_only_what_another_run_made_counts_as_shared(
    tiny_text: str, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = first.with_name("fir")  # the beginning of the other's name
    run_of(tiny_text, own, only=["corpus/america-s1"], reuse=[first])
    assert _cpu_of(own)[1] > 0
    for path in own.glob("steps/*/*/record.json"):  # as if made from a twin, with --out runs/fir
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"{first}/steps", "runs/fir/steps"), encoding="utf-8")
    assert len(taken(own)) == 2
    assert _cpu_of(own)[1] == 0
    # Of a run at a URL the folder is one of the machine that made it, and here there is a copy.
    with open_run_folder(f"file://{tmp_path}/store/run", tmp_path / "cache") as (working, _):
        for path in own.glob("steps/*/*/record.json"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("runs/fir/steps", f"{working}/steps"), encoding="utf-8")
    assert _cpu_of(own, f"file://{tmp_path}/store/run")[1] == 0
    assert _cpu_of(own, f"file://{tmp_path}/store/other")[1] > 0


def test_an_index_needs_finished_reports(first: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there is no report"):
        index_reports([first], tmp_path / "index.html")


@pytest.mark.slow
def test_a_study_of_equal_steps_trains_nothing_and_finds_the_same(
    run_folder: Path, tiny_text: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(run_folder, runs / "first")
    run_of(tiny_text.replace("title: A study", "title: Another study"), runs / "second", reuse=[runs])
    kinds = {path.parts[-3] for path in (runs / "second").glob("steps/*/*/record.json")}
    assert {"world", "pretrain", "midtrain", "finetune", "eval", "gate"} <= kinds
    assert len(taken(runs / "second")) == len(list((runs / "second").glob("steps/*/*/record.json")))
    data = [json.loads((runs / name / "report" / "report_data.json").read_bytes()) for name in ("first", "second")]
    assert data[0]["contrasts"] == data[1]["contrasts"]
    assert data[0]["samples"] == data[1]["samples"]

    lines = index_reports([runs / "first", runs / "second"], tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [line for line in lines if not line.startswith(" ")] == [
        "A study that learns nothing",
        "Another study that learns nothing",
    ]
    assert 'href="runs/second/report/report.html"' in page
    assert "of them in results that other studies have made" in page
    assert (tmp_path / "index.csv").read_text(encoding="utf-8").count("the spec decides") == 2
