"""The whole way of an exam: asked through Inspect, judged, kept in a log, read back, judged again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import Model

from midspec.core.artifact import Built, read_rows
from midspec.core.errors import ConfigError, DataError, FolderError, MissingError
from midspec.core.records import Judgement, Message, ScoreRow, TaskAnswer
from midspec.evals import (
    Question,
    ScriptedReply,
    inspect_task,
    log_settings,
    logged_questions,
    read_task,
    rescore,
    run_task,
    scripted_model,
    task_named,
)
from midspec.evals._inspect_task import RESPONSE_KEY

from .toy import ToyConfig, ToyTask

YES, NO = "kind enough\n<verdict>yes</verdict>", "hm\n<verdict>no</verdict>"


def judge(reply: str | Exception = YES, name: str = "judge") -> Model:
    return scripted_model([reply], name=name)


def doubles(messages: Sequence[Message]) -> str:
    return str(2 * int(messages[-1].content.split()[2]))


def rows_of(folder: Path) -> list[ScoreRow]:
    return list(read_rows(folder / "scores.jsonl", ScoreRow))


def values(folder: Path, measure: str) -> list[float | None]:
    return [row.value for row in rows_of(folder) if row.measure == measure]


def log_of(folder: Path) -> Path:
    [log] = (folder / "logs").glob("*.eval")
    return log


def n_of(built: Built, *names: str) -> list[Any]:
    return [built.summary[name] for name in names]


def test_answers_are_read_and_judged_and_written_word_for_word(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    built = run_task(eval_task, config, scripted_model(doubles), tmp_path, graders=[judge()])
    assert built.outputs == ("questions.jsonl", "scores.jsonl", "answers.jsonl", "judgements.jsonl")
    assert list(read_rows(tmp_path / "questions.jsonl", Question)) == list(eval_task.questions(config))
    rows = rows_of(tmp_path)
    assert [row.item for row in rows[::4]] == ["q0", "q1", "q2"]
    assert [row.measure for row in rows[:4]] == ["right", "n_thoughts", "kind", "kind_and_right"]
    assert {(row.task, row.set) for row in rows} == {("toy", "sums")}
    assert values(tmp_path, "kind_and_right") == [1.0, 1.0, 1.0]
    assert n_of(built, "n_questions", "n_items", "n_score_rows", "n_scored", "n_unscored") == [3, 3, 12, 12, 0]
    answers = list(read_rows(tmp_path / "answers.jsonl", TaskAnswer))
    assert [(each.item, each.domain, each.text) for each in answers][1] == ("q1", "d1", "2")
    [_, judged, _] = read_rows(tmp_path / "judgements.jsonl", Judgement)
    assert (judged.item, judged.judge, judged.text) == ("q1", "midspec-scripted/judge", YES)
    assert judged.values == {"kind": 1.0}


def test_native_reasoning_and_thoughts_in_the_text_are_kept_apart_from_the_answer(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    script = [ScriptedReply(text="0", reasoning="zero twice"), "<think>one\ntwice</think>0", "<think>and so on"]
    seen: list[str] = []

    def kind(messages: Sequence[Message]) -> str:
        seen.append(messages[-1].content)
        return YES

    run_task(eval_task, config, scripted_model(script), tmp_path, graders=[scripted_model(kind, name="judge")])
    said = sorted((each.text, each.reasoning) for each in read_rows(tmp_path / "answers.jsonl", TaskAnswer))
    assert said == [("", "and so on"), ("0", "one\ntwice"), ("0", "zero twice")]
    assert all("<said>0</said>" in prompt or "<said></said>" in prompt for prompt in seen)


def test_several_judges_are_kept_apart_and_their_mean_is_the_score(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    built = run_task(eval_task, config, scripted_model(["2"]), tmp_path, graders=[judge(), judge(NO, "other")])
    assert values(tmp_path, "kind") == [0.5, 0.5, 0.5]
    judged = list(read_rows(tmp_path / "judgements.jsonl", Judgement))
    assert [(each.item, each.judge.partition("/")[2], each.values["kind"]) for each in judged[:2]] == [
        ("q0", "judge", 1.0),
        ("q0", "other", 0.0),
    ]
    settings: Any = built.summary["settings"]
    assert settings["judges"] == ["midspec-scripted/judge", "midspec-scripted/other"]


def test_a_judge_that_raises_is_a_reason_and_ends_no_sample(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    built = run_task(
        eval_task, config, scripted_model(doubles), tmp_path, graders=[judge(RuntimeError("out of credit"))]
    )
    assert values(tmp_path, "right") == [1.0, 1.0, 1.0]
    assert values(tmp_path, "kind") == [None, None, None]
    assert built.summary["unscored"] == {"the judge failed: out of credit": 6}
    judged = list(read_rows(tmp_path / "judgements.jsonl", Judgement))
    assert {(each.text, each.stop_reason) for each in judged} == {("", "error")}
    assert judged[0].unscored == {"kind": "the judge failed: out of credit"}


def test_a_question_that_fails_is_unscored_in_every_measure_and_stops_no_other(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    def script(messages: Sequence[Message]) -> str | Exception:
        return RuntimeError("out of luck") if " 1 and" in messages[-1].content else "0"

    built = run_task(eval_task, config, scripted_model(script), tmp_path, graders=[judge()])
    failed = [row for row in rows_of(tmp_path) if row.item == "q1"]
    assert len(failed) == 4
    assert all(row.value is None and "out of luck" in (row.unscored or "") for row in failed)
    assert n_of(built, "n_items", "n_scored", "n_unscored") == [3, 8, 4]
    assert {each.item for each in read_rows(tmp_path / "answers.jsonl", TaskAnswer)} == {"q0", "q2"}


def test_a_scorer_that_is_broken_shows_in_the_counts(config: ToyConfig, tmp_path: Path) -> None:
    class Broken(ToyTask):
        def read(self, question: Question, said: Any, config: ToyConfig) -> Any:
            if question.id == "q0":
                raise ValueError("a scorer's fault")
            return None if question.id == "q1" else super().read(question, said, config)

    built = run_task(Broken(), config, scripted_model(doubles), tmp_path, graders=[judge()])
    assert values(tmp_path, "right") == [None, None, 1.0]
    assert values(tmp_path, "kind") == [1.0, 1.0, 1.0]
    reasons: Any = built.summary["unscored"]
    assert reasons["Broken.read raised ValueError: a scorer's fault"] == 3
    assert reasons["Broken.read gave nothing"] == 3
    assert n_of(built, "n_score_rows", "n_scored", "n_unscored") == [12, 6, 6]


def test_what_is_not_worth_a_judge_is_shown_to_none(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    asked: list[str] = []

    def kind(messages: Sequence[Message]) -> str:
        asked.append(messages[-1].content)
        return YES

    built = run_task(eval_task, config, scripted_model([""]), tmp_path, graders=[scripted_model(kind, name="judge")])
    assert asked == []
    assert built.summary["unscored"] == {"the answer is empty": 6}


def test_samples_of_one_question_are_different_draws_with_ids_of_their_own(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    often = config.model_copy(update={"repeats": 3, "temperature": 0.7, "n_questions": 2})
    built = run_task(eval_task, often, scripted_model(["0"]), tmp_path, graders=[judge()])
    assert [row.item for row in rows_of(tmp_path)[::4]] == ["q0#1", "q0#2", "q0#3", "q1#1", "q1#2", "q1#3"]
    assert n_of(built, "n_questions", "n_items", "n_score_rows") == [2, 6, 24]


def test_a_task_with_a_rubric_needs_a_judge_that_is_not_the_model_under_test(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="this task needs a judge"):
        run_task(eval_task, config, scripted_model(["0"]), tmp_path)
    with pytest.raises(ConfigError, match="can't be its own judge"):
        run_task(eval_task, config, scripted_model(["0"]), tmp_path, graders=[judge(), scripted_model([YES])])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("grader", ["midspec-judge/openai/gpt-9", "openai/gpt-9"])
def test_the_model_under_test_is_known_however_it_is_reached(
    grader: str, eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="can't be its own judge"):
        run_task(eval_task, config, "openai/gpt-9", tmp_path, graders=[grader])


def test_a_task_without_a_rubric_needs_no_judge(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    unjudged = config.model_copy(update={"judged": False})
    built = run_task(eval_task, unjudged, scripted_model(doubles), tmp_path)
    assert {row.measure for row in rows_of(tmp_path)} == {"right", "n_thoughts"}
    assert (tmp_path / "judgements.jsonl").read_bytes() == b""
    settings: Any = built.summary["settings"]
    assert (settings["judges"], settings["rubric_hash"]) == ([], None)


def test_a_stored_log_reads_again_to_the_same_rows(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    run_task(eval_task, config, scripted_model(["2"]), tmp_path, graders=[judge()])
    found = read_task(log_of(tmp_path), eval_task)
    assert found.questions == list(eval_task.questions(config)) == list(logged_questions(log_of(tmp_path)))
    assert found.scores == rows_of(tmp_path)
    assert found.answers == list(read_rows(tmp_path / "answers.jsonl", TaskAnswer))
    assert found.judgements == list(read_rows(tmp_path / "judgements.jsonl", Judgement))


@pytest.mark.parametrize("place", ["epochs", "repeats"])
def test_a_stored_log_whose_numbers_can_not_be_is_refused_in_one_line(
    place: str, eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    run_task(eval_task, config, scripted_model(["2"]), tmp_path, graders=[judge()])
    log = read_eval_log(str(log_of(tmp_path)))
    if place == "epochs":
        log.eval.config.epochs = 10**12
    else:
        (log.eval.metadata or {})["config"]["repeats"] = 10**12
    write_eval_log(log, str(tmp_path / "odd.eval"))
    with pytest.raises(DataError, match=r"were asked 1,000,000,000,000 times each"):
        read_task(tmp_path / "odd.eval", eval_task)


@pytest.mark.parametrize("answer", ["{}", "no JSON", 3, None])
def test_an_answer_that_a_stored_log_holds_in_no_known_form_is_unscored_and_stops_no_other(
    answer: object, eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    run_task(eval_task, config, scripted_model(["2"]), tmp_path, graders=[judge()])
    log = read_eval_log(str(log_of(tmp_path)))
    first, *others = log.samples or []
    first.store[RESPONSE_KEY] = answer
    write_eval_log(log, str(tmp_path / "odd.eval"))
    rows = read_task(tmp_path / "odd.eval", eval_task).scores
    assert {row.unscored for row in rows if row.item == first.id} == {"the log's answer for this item can't be read"}
    assert all(row.unscored is None for row in rows if row.item in {one.id for one in others})


def test_reading_and_judging_a_log_needs_no_source_of_questions(
    config: ToyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: ToyTask, config: ToyConfig) -> tuple[Question, ...]:
        raise MissingError("there is no such file", where="questions.jsonl", hint="Check the path")

    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    run_task(ToyTask(), config, scripted_model(doubles), tmp_path / "first", graders=[judge()])
    monkeypatch.setattr(ToyTask, "questions", gone)
    assert read_task(log_of(tmp_path / "first"), ToyTask()).scores == rows_of(tmp_path / "first")
    rescore(log_of(tmp_path / "first"), [judge()], tmp_path / "again", eval_task=ToyTask())
    assert rows_of(tmp_path / "again") == rows_of(tmp_path / "first")


def test_two_runs_write_the_same_bytes(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run_task(eval_task, config, scripted_model(doubles), tmp_path / name, graders=[judge()])
    for file in ("scores.jsonl", "answers.jsonl", "judgements.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_judge_scores_a_stored_log_and_the_model_is_not_asked(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    n_asked = 0

    def counted(messages: Sequence[Message]) -> str:
        nonlocal n_asked
        n_asked += 1
        return doubles(messages)

    (tmp_path / "first").mkdir()
    (tmp_path / "again").mkdir()
    run_task(eval_task, config, scripted_model(counted), tmp_path / "first", graders=[judge()])
    log = log_of(tmp_path / "first")
    before = log.read_bytes()
    built = rescore(log, [judge(NO, "stern")], tmp_path / "again", eval_task=eval_task)
    assert n_asked == 3
    assert log.read_bytes() == before
    assert values(tmp_path / "first", "kind") == [1.0, 1.0, 1.0]
    assert values(tmp_path / "again", "kind") == [0.0, 0.0, 0.0]
    assert values(tmp_path / "again", "right") == [1.0, 1.0, 1.0]
    settings: Any = built.summary["settings"]
    assert settings["judges"] == ["midspec-scripted/stern"]
    assert read_task(log_of(tmp_path / "again"), eval_task).scores == rows_of(tmp_path / "again")


def test_a_judge_that_failed_is_asked_again_when_a_log_is_judged_again(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "again").mkdir()
    run_task(eval_task, config, scripted_model(doubles), tmp_path / "first", graders=[judge(RuntimeError("gone"))])
    built = rescore(log_of(tmp_path / "first"), [judge()], tmp_path / "again", eval_task=eval_task)
    assert built.summary["n_unscored"] == 0


def test_a_log_is_never_judged_again_in_place_or_by_the_model_that_was_tested(
    eval_task: ToyTask, config: ToyConfig, tmp_path: Path
) -> None:
    run_task(eval_task, config, scripted_model(["0"]), tmp_path, graders=[judge()])
    log = log_of(tmp_path)
    with pytest.raises(FolderError, match="holds the log that is judged again"):
        rescore(log, [judge()], tmp_path, eval_task=eval_task)
    (tmp_path / "again").mkdir()
    with pytest.raises(ConfigError, match="its own judge"):
        rescore(log, [scripted_model([YES])], tmp_path / "again", eval_task=eval_task)
    with pytest.raises(ConfigError, match="needs a judge"):
        rescore(log, [], tmp_path / "again", eval_task=eval_task)


def test_what_must_be_equal_between_arms_is_in_the_log(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    def settings_of(name: str, changed: ToyConfig, grader: Model) -> dict[str, Any]:
        (tmp_path / name).mkdir()
        run_task(eval_task, changed, scripted_model(["0"]), tmp_path / name, graders=[grader])
        return log_settings(log_of(tmp_path / name))

    first = settings_of("first", config, judge())
    assert settings_of("same", config, judge()) == first
    assert set(first["versions"]) == {"midspec", "inspect_ai", "inspect_evals", "torch", "transformers"}
    warmer = settings_of("warmer", config.model_copy(update={"temperature": 1.0}), judge())
    assert {key for key in first if first[key] != warmer[key]} == {"config", "sampling"}
    other = settings_of("other", config, judge(name="other"))
    assert {key for key in first if first[key] != other[key]} == {"judges"}
    more = settings_of("more", config.model_copy(update={"n_questions": 4}), judge())
    assert {key for key in first if first[key] != more[key]} == {"config", "prompt_hash"}


def test_inspect_itself_runs_a_task_and_its_log_is_read(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    task = inspect_task(eval_task, config)
    [log] = inspect_eval(
        task,
        model=scripted_model(doubles),
        model_roles={"grader": [judge(), judge(NO, "other")]},
        display="none",
        log_dir=str(tmp_path),
        limit=2,
    )
    path = Path(log.location)
    found = read_task(path, eval_task)
    assert [row.value for row in found.scores if row.measure == "kind"] == [0.5, 0.5, None]
    assert {row.unscored for row in found.scores if row.item == "q2"} == {"left out by a limit"}
    shown = {score.name: score.metrics["mean"].value for score in log.results.scores} if log.results else {}
    assert shown["kind"] == 0.5
    sample = (read_eval_log(str(path)).samples or [])[0]
    assert sample.output.completion == "0"
    assert log_settings(path)["judges"] == ["midspec-scripted/judge", "midspec-scripted/other"]


def test_without_a_judge_inspect_says_so_in_the_log(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    [log] = inspect_eval(
        inspect_task(eval_task, config), model=scripted_model(doubles), display="none", log_dir=str(tmp_path)
    )
    found = read_task(Path(log.location), eval_task)
    assert all(row.value is None and "this task needs a judge" in (row.unscored or "") for row in found.scores)


def test_ids_that_are_used_twice_and_exams_without_questions_are_refused(config: ToyConfig) -> None:
    class Twice(ToyTask):
        def questions(self, config: ToyConfig) -> tuple[Question, ...]:
            return super().questions(config) * 2

    with pytest.raises(DataError, match="used twice"):
        inspect_task(Twice(), config)
    with pytest.raises(DataError, match="no questions"):
        inspect_task(ToyTask(), config.model_copy(update={"n_questions": 0}))


def test_what_is_no_log_of_a_task_is_refused_in_one_line(eval_task: ToyTask, config: ToyConfig, tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        read_task(tmp_path / "nothing.eval")
    (tmp_path / "not.eval").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not an Inspect log"):
        read_task(tmp_path / "not.eval")
    run_task(eval_task, config, scripted_model(["0"]), tmp_path, graders=[judge()])
    with pytest.raises(ConfigError, match="there is no evaluation task 'toy'"):
        read_task(log_of(tmp_path))
    with pytest.raises(DataError, match="a log of the task toy"):
        read_task(log_of(tmp_path), task_named("spec_qa"))
