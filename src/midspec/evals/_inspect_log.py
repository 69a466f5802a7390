"""From a stored log of an exam to score rows, answers and judgements, read anew; nothing is asked again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import ModelConfig
from pydantic import JsonValue, TypeAdapter, ValidationError

from midspec.core.errors import DataError
from midspec.core.records import Judgement, ScoreRow, TaskAnswer
from midspec.evals._inspect_run import GRADER
from midspec.evals._inspect_task import SAID, VERDICTS
from midspec.evals._logs import open_log, sample_fault
from midspec.evals._measures import Reader, Verdict
from midspec.evals._response_cache import answering_args, answering_settings
from midspec.evals._types import EvalTask, ModelResponse, Question, TaskConfig, Unscored, Value
from midspec.evals.judges._ask import judge_settings
from midspec.evals.tasks._shipped import task_named

JUDGES = "judges"
JUDGE_SETTINGS = "judge_settings"
_QUESTIONS = TypeAdapter(tuple[Question, ...])
_VERDICTS = TypeAdapter(tuple[Verdict, ...])


class TaskLog(NamedTuple):
    """What a log comes to: what was asked, every measure of every item, what was said, what judges replied."""

    questions: list[Question]
    scores: list[ScoreRow]
    answers: list[TaskAnswer]
    judgements: list[Judgement]


class Asked(NamedTuple):
    """What a log says was asked: which exam, how, and its questions."""

    eval_task: EvalTask[Any]
    config: Any
    questions: tuple[Question, ...]


class _Item(NamedTuple):
    """One sample that was asked for: its id in rows, its question, and all that came of it."""

    id: str
    question: Question
    said: ModelResponse | Unscored
    verdicts: tuple[Verdict, ...]


def read_task(log_path: Path, eval_task: EvalTask[Any] | None = None) -> TaskLog:
    """Read a log of an exam again, in the order of its questions.

    Args:
        log_path: an `.eval` file.
        eval_task: whose log it is, for one that is not shipped; found by its name otherwise.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of an exam, or of another one.
        ConfigError: it is the log of an exam that is not shipped.
    """
    log = open_log(log_path)
    asked = asked_in(log, log_path, eval_task)
    reader = Reader(asked.eval_task, asked.config, asked.questions[0])
    rows = TaskLog([*asked.questions], [], [], [])
    for item in _items(log, asked):
        if isinstance(item.said, Unscored):
            rows.scores.extend(_scores(item, dict.fromkeys(reader.names, item.said), asked.eval_task.name))
            continue
        reading = reader.read(item.question, item.said, item.verdicts)
        rows.scores.extend(_scores(item, reading.values, asked.eval_task.name))
        rows.answers.append(_answer(item, item.said))
        rows.judgements.extend(_judgements(item, reading.by_judge))
    return rows


def log_settings(log_path: Path) -> dict[str, JsonValue]:
    """What must be the same in every arm for their scores to be comparable, as it stands in a log.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of an exam.
    """
    log = open_log(log_path, header=True)
    metadata = _metadata(log, log_path)
    names = ("exam", "config", "prompt_hash", "rubric_hash", "sampling", "judging", "versions")
    return {
        **{name: metadata.get(name) for name in names},
        **_judges(log, metadata),
        "model_args": answering_args(log.eval.model_args),
        "model_sampling": answering_settings(log.eval.model_generate_config),
    }


def logged_questions(log_path: Path) -> tuple[Question, ...]:
    """What was asked, as it stands in a log, whether the exam is shipped or not.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of an exam.
    """
    metadata = _metadata(open_log(log_path, header=True), log_path)
    return _QUESTIONS.validate_python(metadata["questions"])


def asked_in(log: EvalLog, path: Path, eval_task: EvalTask[Any] | None) -> Asked:
    """What was asked in a log; see `read_task` for errors."""
    metadata = _metadata(log, path)
    if eval_task is not None and eval_task.name != metadata["exam"]:
        raise DataError(f"a log of the exam {metadata['exam']}", where=str(path), hint=f"Give one of {eval_task.name}")
    found = eval_task or task_named(str(metadata["exam"]))
    try:
        config: TaskConfig = found.config.model_validate(metadata["config"])
        return Asked(found, config, _QUESTIONS.validate_python(metadata["questions"]))
    except ValidationError as error:
        raise DataError("written by another version", where=str(path), hint="Evaluate again") from error


def _metadata(log: EvalLog, path: Path) -> dict[str, Any]:
    metadata = log.eval.metadata or {}
    if not {"exam", "config", "questions"} <= metadata.keys():
        raise DataError("not a log of an exam", where=str(path), hint="Give a log that midspec wrote")
    return metadata


def _judges(log: EvalLog, metadata: Mapping[str, Any]) -> dict[str, JsonValue]:
    """The judges' names, and what of their own settings changes verdicts; those of the last judging."""
    if metadata.get("rubric_hash") is None:
        return {JUDGES: [], JUDGE_SETTINGS: []}
    if JUDGES in metadata:
        return {JUDGES: metadata[JUDGES], JUDGE_SETTINGS: metadata[JUDGE_SETTINGS]}
    found: Any = (log.eval.model_roles or {}).get(GRADER, [])
    roles: Sequence[ModelConfig] = found if isinstance(found, list) else [found]
    settings: list[JsonValue] = [judge_settings(role.args, role.config) for role in roles]
    return {JUDGES: [role.model for role in roles], JUDGE_SETTINGS: settings}


def _items(log: EvalLog, asked: Asked) -> Iterator[_Item]:
    samples = {(str(sample.id), sample.epoch): sample for sample in log.samples or ()}
    repeats = asked.config.repeats
    for question in asked.questions:
        for epoch in range(1, repeats + 1):
            name = question.id if repeats == 1 else f"{question.id}#{epoch}"
            yield _item(name, question, samples.get((question.id, epoch)), log)


def _item(name: str, question: Question, sample: EvalSample | None, log: EvalLog) -> _Item:
    if (fault := sample_fault(sample, log)) is not None or sample is None:
        return _Item(name, question, fault or Unscored("not asked"), ())
    if SAID not in sample.store:
        return _Item(name, question, Unscored("the log holds no answer for this item"), ())
    score = next(iter((sample.scores or {}).values()), None)
    kept = (score.metadata or {}).get(VERDICTS, []) if score is not None else []
    return _Item(name, question, ModelResponse.model_validate_json(sample.store[SAID]), _VERDICTS.validate_python(kept))


def _scores(item: _Item, values: Mapping[str, Value], task: str) -> Iterator[ScoreRow]:
    for name, value in values.items():
        yield ScoreRow(
            task=task,
            set=item.question.set,
            item=item.id,
            domain=item.question.domain,
            measure=name,
            value=None if isinstance(value, Unscored) else value,
            unscored=value.reason if isinstance(value, Unscored) else None,
        )


def _answer(item: _Item, said: ModelResponse) -> TaskAnswer:
    question = item.question
    return TaskAnswer(
        item=item.id,
        set=question.set,
        domain=question.domain,
        text=said.text,
        reasoning=said.reasoning,
        stop_reason=said.stop_reason,
        n_tokens=said.n_tokens,
    )


def _judgements(item: _Item, by_judge: Sequence[Mapping[str, Value]]) -> Iterator[Judgement]:
    for verdict, values in zip(item.verdicts, by_judge, strict=True):
        graded = verdict.graded
        yield Judgement(
            item=item.id,
            set=item.question.set,
            domain=item.question.domain,
            judge=verdict.judge,
            rubric="" if graded is None else graded.rubric,
            text="" if graded is None else graded.text,
            stop_reason="error" if graded is None else graded.stop_reason,
            values={name: None if isinstance(value, Unscored) else value for name, value in values.items()},
            unscored={name: value.reason for name, value in values.items() if isinstance(value, Unscored)},
        )
