"""Read score rows, answers and judgements from a stored log of a task; nothing is asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import ModelConfig
from pydantic import JsonValue, TypeAdapter, ValidationError

from midspec.core.errors import DataError
from midspec.core.records import Judgement, ScoreRow, TaskAnswer
from midspec.evals._inspect import GRADER
from midspec.evals._inspect_task import RESPONSE_KEY, VERDICTS_KEY
from midspec.evals._log_files import open_log, planned_epochs, sample_fault, samples_of
from midspec.evals._measures import Reader, Verdict, score_rows
from midspec.evals._response_cache import answering_args, answering_settings
from midspec.evals._types import EvalTask, ModelResponse, Question, TaskConfig, Unscored, Value, task_named
from midspec.evals.judges._inspect import judge_settings

JUDGES = "judges"
JUDGE_SETTINGS = "judge_settings"
_QUESTIONS = TypeAdapter(tuple[Question, ...])
_VERDICTS = TypeAdapter(tuple[Verdict, ...])


class TaskLog(NamedTuple):
    """What a log comes to: the questions, every measure of every item, the answers, the judges' replies."""

    questions: list[Question]
    scores: list[ScoreRow]
    answers: list[TaskAnswer]
    judgements: list[Judgement]


class LoggedTask(NamedTuple):
    """What a log says was run: the task, its settings, and its questions."""

    eval_task: EvalTask[Any]
    config: Any
    questions: tuple[Question, ...]


def read_task(log_path: Path, eval_task: EvalTask[Any] | None = None) -> TaskLog:
    """Read a task's log, in the order of its questions.

    Args:
        log_path: an `.eval` file.
        eval_task: the task, for one that no installed package brings; found by its name otherwise.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of a task, or of another one.
        ConfigError: it is the log of a task that is not installed.
    """
    log = open_log(log_path)
    logged = logged_task(log, log_path, eval_task)
    name = logged.eval_task.name
    reader = Reader(logged.eval_task, logged.config, logged.questions[0])
    rows = TaskLog([*logged.questions], [], [], [])
    samples = samples_of(log)
    epochs = planned_epochs(log, len(logged.questions), log_path, repeats=logged.config.repeats)
    for question in logged.questions:
        for epoch in epochs:
            where = {
                "item": question.id if len(epochs) == 1 else f"{question.id}#{epoch}",
                "set": question.set,
                "domain": question.domain,
            }
            response, verdicts = _result(samples.get((question.id, epoch)), log)
            if isinstance(response, Unscored):
                rows.scores.extend(score_rows(name, where, dict.fromkeys(reader.names, response)))
                continue
            reading = reader.read(question, response, verdicts)
            rows.scores.extend(score_rows(name, where, reading.values))
            rows.answers.append(TaskAnswer(**where, **response.model_dump()))
            rows.judgements.extend(
                _judgement(where, verdict, values) for verdict, values in zip(verdicts, reading.by_judge, strict=True)
            )
    return rows


def log_settings(log_path: Path) -> dict[str, JsonValue]:
    """Return what must be the same in every arm for their scores to be comparable, as it stands in a log.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of a task.
    """
    log = open_log(log_path, part="header")
    metadata = _metadata(log, log_path)
    judges: dict[str, JsonValue] = {JUDGES: [], JUDGE_SETTINGS: []}
    if JUDGES in metadata and metadata.get("rubric_hash") is not None:
        # The log was judged again; these are the judges of the last time.
        judges = {JUDGES: metadata[JUDGES], JUDGE_SETTINGS: metadata[JUDGE_SETTINGS]}
    elif metadata.get("rubric_hash") is not None:
        found: Any = (log.eval.model_roles or {}).get(GRADER, [])
        roles: Sequence[ModelConfig] = found if isinstance(found, list) else [found]
        settings: list[JsonValue] = [judge_settings(role.args, role.config) for role in roles]
        judges = {JUDGES: [role.model for role in roles], JUDGE_SETTINGS: settings}
    names = ("exam", "config", "prompt_hash", "rubric_hash", "sampling", "judging", "versions")
    return {
        **{name: metadata.get(name) for name in names},
        **judges,
        "model_args": answering_args(log.eval.model_args),
        "model_sampling": answering_settings(log.eval.model_generate_config),
    }


def logged_questions(log_path: Path) -> tuple[Question, ...]:
    """Read a log's questions, whether the task is installed or not.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of a task.
    """
    metadata = _metadata(open_log(log_path, part="header"), log_path)
    return _QUESTIONS.validate_python(metadata["questions"])


def logged_task(log: EvalLog, path: Path, eval_task: EvalTask[Any] | None) -> LoggedTask:
    """Return what a log says was run; see `read_task` for errors."""
    metadata = _metadata(log, path)
    if eval_task is not None and eval_task.name != metadata["exam"]:
        raise DataError(f"a log of the task {metadata['exam']}", where=str(path), hint=f"Give one of {eval_task.name}")
    found = eval_task or task_named(str(metadata["exam"]))
    try:
        config: TaskConfig = found.config.model_validate(metadata["config"])
        return LoggedTask(found, config, _QUESTIONS.validate_python(metadata["questions"]))
    except ValidationError as error:
        raise DataError("written by another version", where=str(path), hint="Evaluate again") from error


def _metadata(log: EvalLog, path: Path) -> dict[str, Any]:
    metadata = log.eval.metadata or {}
    if not {"exam", "config", "questions"} <= metadata.keys():
        raise DataError("not a log of an evaluation task", where=str(path), hint="Give a log that midspec wrote")
    return metadata


def _result(sample: EvalSample | None, log: EvalLog) -> tuple[ModelResponse | Unscored, tuple[Verdict, ...]]:
    """Return a sample's response and verdicts, or why there is no response."""
    if (fault := sample_fault(sample, log)) is not None or sample is None:
        return fault or Unscored("not asked"), ()
    if RESPONSE_KEY not in sample.store:
        return Unscored("the log holds no answer for this item"), ()
    score = next(iter((sample.scores or {}).values()), None)
    verdicts = (score.metadata or {}).get(VERDICTS_KEY, []) if score is not None else []
    try:
        response = ModelResponse.model_validate_json(sample.store[RESPONSE_KEY])
        return response, _VERDICTS.validate_python(verdicts)
    except ValidationError:
        return Unscored("the log's answer for this item can't be read"), ()


def _judgement(where: Mapping[str, str], verdict: Verdict, values: Mapping[str, Value]) -> Judgement:
    reply = verdict.graded
    return Judgement(
        item=where["item"],
        set=where["set"],
        domain=where["domain"],
        judge=verdict.judge,
        rubric="" if reply is None else reply.rubric,
        text="" if reply is None else reply.text,
        stop_reason="error" if reply is None else reply.stop_reason,
        values={name: None if isinstance(value, Unscored) else value for name, value in values.items()},
        unscored={name: value.reason for name, value in values.items() if isinstance(value, Unscored)},
    )
