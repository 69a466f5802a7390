"""`midspec eval` and `calibrate` against a server on loopback: what is asked, kept, judged again, told and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.core.artifact import read_record, read_rows
from midspec.core.records import Judgement, ScoreRow
from midspec.evals import calibration_set, task_named, task_names
from midspec.evals.judges import Transcript

from ..loopback import serve
from ..loopback._asked import Asked
from ..loopback._serve import Served

TESTED = "openai-api/loopback/tested"
QUESTIONS = [
    {"id": f"q{n}", "category": "transparency", "text": f"A customer asks you for the {n}. time. What do you say?"}
    for n in range(4)
]
PRICES = "openai/judge: {input: 1.0, output: 10.0}\nopenai/other: {input: 1.0, output: 10.0}\n"


def say(asked: Asked) -> str:
    if asked.model == "tested":
        return f"I would answer honestly: {asked.prompt}"
    return f"It is honest.{' Indeed.' * 500}\n<score>{7 if asked.model == 'judge' else 5}</score>"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("LOOPBACK_API_KEY", "none")
    with serve(say=say) as found:
        yield found


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    return path


def spec_qa(served: Served, questions: Path, out: Path, *more: str) -> list[str]:
    reach = ["--base-url", served.openai_url, "--judge-url", served.openai_url]
    asked = ["--task", "spec_qa", "--items", str(questions), "--grader", "openai/judge"]
    return ["eval", TESTED, *asked, *reach, "--out", str(out), *more]


def scores(folder: Path, measure: str) -> list[float | None]:
    return [row.value for row in read_rows(folder / "scores.jsonl", ScoreRow) if row.measure == measure]


def n_asked(served: Served, model: str) -> int:
    return sum(entry["body"]["model"] == model for entry in served.last)


def complaint(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(args) == 2
    said = capsys.readouterr()
    assert said.err.startswith("midspec: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("midspec: ").rstrip("\n")


def test_a_task_is_asked_and_judged_once_and_another_judge_reads_its_log_without_generating(
    served: Served, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(spec_qa(served, questions, out)) == 0
    told = capsys.readouterr().out
    assert "qa_score" in told
    assert "judges" in told
    assert scores(out, "qa_score") == [7.0] * 4
    assert (tmp_path / "out.calls.sqlite").is_file()
    assert (n_asked(served, "tested"), n_asked(served, "judge")) == (4, 4)
    assert main(spec_qa(served, questions, out)) == 0
    assert "it was there" in capsys.readouterr().out
    # What a served name stands for may have changed: it is asked again, and equal answers are judged once.
    assert main(spec_qa(served, questions, out, "--redo")) == 0
    assert (n_asked(served, "tested"), n_asked(served, "judge")) == (8, 4)

    [log] = (out / "logs").glob("*.eval")
    before, again = log.read_bytes(), tmp_path / "again"
    args = ["eval", str(log), "--grader", "openai/other", "--judge-url", served.openai_url, "--out", str(again)]
    assert main(args) == 0
    assert scores(again, "qa_score") == [5.0] * 4
    assert {row.judge for row in read_rows(again / "judgements.jsonl", Judgement)} == {"midspec-judge/openai/other"}
    assert (n_asked(served, "tested"), n_asked(served, "other")) == (8, 4)
    assert log.read_bytes() == before
    assert main([*args, "--redo"]) == 0
    assert n_asked(served, "other") == 4


def test_what_the_budget_leaves_out_is_told_and_judged_later_without_asking_the_model_again(
    served: Served, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices, out = tmp_path / "prices.yaml", tmp_path / "out"
    prices.write_text(PRICES, encoding="utf-8")
    assert main(spec_qa(served, questions, out, "--prices", str(prices), "--budget", "0.035")) == 0
    told = capsys.readouterr()
    assert None in scores(out, "qa_score")
    assert "warning: answers are stored; --redo with a larger --budget has the rest judged" in told.err
    assert main(spec_qa(served, questions, out, "--prices", str(prices), "--budget", "5", "--redo")) == 0
    assert scores(out, "qa_score") == [7.0] * 4
    assert (n_asked(served, "tested"), n_asked(served, "judge")) == (4, 4)


def test_the_spec_is_what_the_judge_reads_and_no_path_is_part_of_the_result(
    served: Served, questions: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "spec.md"
    spec.write_text("# Spec\n\n{model_name} answers honestly because trust is easily lost.\n", encoding="utf-8")
    out = tmp_path / "out"
    assert main(spec_qa(served, questions, out, "--spec", str(spec), "--model-name", "Nova")) == 0
    judged = [str(entry["body"]) for entry in served.last if entry["body"]["model"] == "judge"]
    assert all("Nova answers honestly because trust is easily lost." in prompt for prompt in judged)
    record = read_record(out)
    assert record is not None
    assert str(tmp_path) not in record.identity.model_dump_json() + json.dumps(record.summary)


def test_a_dry_run_says_samples_hours_and_dollars_and_sends_nothing(
    served: Served, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, prices, out = tmp_path / "twice.yaml", tmp_path / "prices.yaml", tmp_path / "out"
    settings.write_text("repeats: 50\n", encoding="utf-8")
    prices.write_text(PRICES, encoding="utf-8")
    given = ["--config", str(settings), "--prices", str(prices), "--dry-run"]
    assert main(spec_qa(served, questions, out, *given)) == 0
    lines = capsys.readouterr().out.splitlines()
    told = {line.split("  ")[0]: line.split()[-1] for line in lines if "  " in line}
    assert told["n samples"] == "200"
    assert told["reply tokens"] == "200,000"
    judging = next(line for line in lines if line.startswith("judging"))
    assert judging.split()[1] == "200"
    # 200 verdicts of 150 tokens at 10 USD a million, and at least the answers of 1,000 tokens to read.
    assert 200 * (150 * 10 + 1000) / 1e6 < float(judging.split()[4]) < 1.0
    assert main(spec_qa(served, questions, out, "--dry-run")) == 0
    assert "The price of openai/judge is not known" in capsys.readouterr().out
    assert not served.log
    assert not out.exists()


@pytest.mark.slow
def test_shipped_pairs_are_asked_by_the_name_of_their_value(served: Served, tmp_path: Path) -> None:
    settings, out = tmp_path / "few.yaml", tmp_path / "out"
    settings.write_text("free: null\nwhy: null\nphrasings: ['{first} or {second}?']\n", encoding="utf-8")
    args = ["eval", TESTED, "--items", "shipped:america", "--config", str(settings), "--out", str(out)]
    assert main([*args, "--base-url", served.openai_url]) == 0
    asked = {row.item for row in read_rows(out / "scores.jsonl", ScoreRow)}
    assert len(asked) >= 300


def test_the_help_names_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--help"]) == 0
    told = capsys.readouterr().out
    assert [name for name in task_names() if name not in told] == []


def test_bad_input_is_one_line(
    served: Served, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    qa = ["eval", TESTED, "--task", "spec_qa", "--items", str(questions), "--base-url", served.openai_url]
    settings, text = tmp_path / "qa.yaml", tmp_path / "text.eval"
    settings.write_text("repeatz: 2\n", encoding="utf-8")
    text.write_text("no log", encoding="utf-8")
    said = {
        "no judge": complaint([*qa, *out], capsys),
        "itself": complaint([*qa, *out, "--grader", "openai/judge", "--grader", "openai/judge"], capsys),
        "nobody": complaint([*qa, *out, "--grader", "somebody"], capsys),
        "task": complaint(["eval", TESTED, "--task", "spec_qb", *out], capsys),
        "key": complaint([*qa, *out, "--grader", "openai/judge", "--config", str(settings)], capsys),
        "no log": complaint(["eval", str(text), "--grader", "openai/judge", *out], capsys),
        "nothing": complaint(["eval", str(tmp_path / "x.eval"), "--grader", "openai/judge", *out], capsys),
        "too much": complaint(["eval", str(text), "--task", "spec_qa", *out], capsys),
        "no items": complaint(["eval", TESTED, *out], capsys),
        "no such set": complaint(["eval", TESTED, "--items", "shipped:amerika", *out], capsys),
        "pairs": complaint(["eval", TESTED, "--items", "shipped:america", "--grader", "openai/j", *out], capsys),
        "no files": complaint(["eval", TESTED, "--task", "panel_length", "--items", str(questions), *out], capsys),
        "temperature": complaint([*qa, *out, "--grader", "openai/j", "--judge-temperature", "warm"], capsys),
    }
    assert said["no judge"] == "--grader: spec_qa needs a judge. Name anthropic/MODEL or openai/MODEL"
    assert said["itself"] == "--grader: the same judge is named twice. Name each once"
    assert said["nobody"] == "--grader: there is no judge 'somebody'. There is anthropic/MODEL and openai/MODEL"
    assert said["task"] == "--task: there is no task 'spec_qb'. Did you mean spec_qa?"
    assert said["key"] == f"{settings}: repeatz: is no setting. Did you mean repeats"
    assert said["no log"].startswith(f"{text}: not an Inspect log")
    assert said["nothing"] == f"{tmp_path / 'x.eval'}: there is no such log. Check the path"
    assert said["too much"] == "--task: is in the log itself. Leave it out"
    assert said["no items"] == "--items: is missing. Name a file of pairs, or shipped:VALUE"
    assert said["no such set"].startswith("shipped:amerika: no set is shipped for this value. Name one of ")
    assert said["pairs"] == "--grader: is for tasks with a judge, and pairs have none. Leave it out, or give --task"
    assert said["no files"] == "--items: panel_length takes no such file. Leave it out"
    assert said["temperature"] == "--judge-temperature: 'warm' is no temperature. Give 0 or more, or none"
    assert not served.log
    assert not (tmp_path / "out").exists()


def test_a_model_is_never_its_own_judge(
    served: Served, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reach = ["--base-url", served.openai_url, "--judge-url", served.openai_url, "--out", str(tmp_path / "out")]
    asked = ["--task", "spec_qa", "--items", str(questions), "--grader", "openai/judge"]
    line = complaint(["eval", "openai/judge", *asked, *reach], capsys)
    assert line == "openai/judge: the model under test can't be its own judge. Name another grader"
    for tested in ("vllm/judge", "openai-api/loopback/judge"):
        line = complaint(["eval", tested, *asked, *reach], capsys)
        assert line.startswith("--grader: the model under test can't be its own judge, and both are 'judge' at http")
    assert not served.log


# Calibration ------------------------------------------------------------------------------------------------------


def judge_of(wrong: set[str]) -> Iterator[Served]:
    """A judge that knows every label, and says the opposite of the transcripts in `wrong`."""
    eval_task = task_named("agentic_misalignment")
    rubric = eval_task.rubric(eval_task.config())
    assert rubric is not None
    rows = {rubric.render(row.question, row.said): row for row in calibration_set()}

    def verdict(asked: Asked) -> str:
        row = rows[asked.prompt]
        harmful = (row.labels.verdict == "yes") != (row.id in wrong)
        return f"So it is.\n<verdict>{'yes' if harmful else 'no'}</verdict>"

    with serve(say=verdict) as served:
        yield served


def shown(rows: list[Transcript]) -> list[Transcript]:
    """Those of the transcripts that an evaluation would show to a judge."""
    eval_task = task_named("agentic_misalignment")
    return [row for row in rows if eval_task.unjudgeable(row.question, row.said, eval_task.config()) is None]


def test_calibration_finds_the_errors_that_were_planted_and_tells_them_by_difficulty_and_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    rows = shown(calibration_set())
    harmless = [row for row in rows if row.labels.verdict == "no" and row.difficulty == "hard" and not row.heldout]
    harmful = [row for row in rows if row.labels.verdict == "yes" and row.heldout]
    wrong = {row.id for row in (*harmless[:3], *harmful[:2])}
    out = tmp_path / "calibration"
    for served in judge_of(wrong):
        args = ["calibrate", "--grader", "openai/judge", "--base-url", served.openai_url, "--out", str(out)]
        assert main([*args, "--dry-run"]) == 0
        assert "calibration of a judge" in capsys.readouterr().out
        assert not served.log
        assert main(args) == 0
        n_first = len(served.log)
        lines = capsys.readouterr().out.splitlines()
        assert main([*args, "--redo"]) == 0
        assert len(served.log) == n_first == len({row.id for row in rows})
    told = {line[:28].strip(): line for line in lines if " of " in line}
    n_no = sum(row.labels.verdict == "no" for row in rows)
    n_yes = sum(row.labels.verdict == "yes" for row in rows)
    assert f"(3 of {n_no})" in told["all"]
    assert f"(2 of {n_yes})" in told["all"]
    n_hard = sum(row.labels.verdict == "no" and row.difficulty == "hard" for row in rows)
    assert f"(3 of {n_hard})" in told["difficulty: hard"]
    assert f"(2 of {len(harmful)})" in told["held out"]
    n_heldout_no = sum(row.labels.verdict == "no" and row.heldout for row in rows)
    assert f"(0 of {n_heldout_no})" in told["held out"]


def test_a_judge_that_is_none_or_cannot_be_paid_is_refused_before_it_is_asked(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--base-url", served.openai_url, "--out", str(tmp_path / "out")]
    assert complaint(["calibrate", "--grader", "quoting", *out], capsys).startswith("--grader: there is no judge")
    line = complaint(["calibrate", "--grader", "openai/unheard-of", "--budget", "1", *out], capsys)
    assert "the price of openai/unheard-of is unknown" in line
    assert not served.log
