"""Run an exam, or judge a stored log of one again: Inspect asks, its log is read back, rows are written."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import anyio
from inspect_ai import score_async
from inspect_ai.log import EvalLog, write_eval_log
from inspect_ai.model import Model
from inspect_ai.scorer import Scorer
from pydantic import JsonValue

from midspec.core.artifact import Built, write_rows
from midspec.core.errors import CheckpointError, FolderError
from midspec.core.records import ScoreRow
from midspec.evals._inspect_log import JUDGE_SETTINGS, JUDGES, TaskLog, asked_in, log_settings, read_task
from midspec.evals._inspect_run import GRADER, evaluate, rarely_collected
from midspec.evals._inspect_task import inspect_task, task_scorer
from midspec.evals._logs import drop_unfinished, open_log
from midspec.evals._model import close_after, close_model, open_model
from midspec.evals._response_cache import ResponseCache
from midspec.evals._types import ConfigT, EvalTask
from midspec.evals.judges import STORE
from midspec.evals.judges._ask import THROUGH_LLM, check_judges, judge_settings

_FAULT = re.compile(r"(?:Checkpoint|Data)Error\(['\"](.*)['\"]\)")


def counts(scores: Sequence[ScoreRow], n_items: int) -> dict[str, JsonValue]:
    """What was asked, and what came of it: scored plus unscored by reason is all of it."""
    reasons = Counter(row.unscored for row in scores if row.unscored is not None)
    n_scored = sum(row.value is not None for row in scores)
    return {
        "n_items": n_items,
        "n_score_rows": len(scores),
        "n_scored": n_scored,
        "n_unscored": len(scores) - n_scored,
        "unscored": dict(reasons),
    }


def rates(scores: Sequence[ScoreRow], measures: Sequence[str]) -> dict[str, JsonValue]:
    """Each set's mean of each measure, over the items that have one."""
    by_set: dict[str, list[ScoreRow]] = {}
    for row in scores:
        by_set.setdefault(row.set, []).append(row)
    return {name: {each: mean_of(rows, each) for each in measures} for name, rows in by_set.items()}


def mean_of(scores: Sequence[ScoreRow], measure: str) -> float | None:
    """The mean of a measure over the rows that have a value; `None` where none has."""
    values = [row.value for row in scores if row.measure == measure and row.value is not None]
    return round(fmean(values), 6) if values else None


def refuse_nothing(scores: Sequence[ScoreRow], model: str) -> None:
    """Raise `CheckpointError` where nothing is scored, always for one fault of the checkpoint or of its template."""
    reasons = {row.unscored or "" for row in scores}
    if len(reasons) == 1 and (found := _FAULT.fullmatch(reasons.pop())):
        raise CheckpointError(found[1], where=model, hint="No item could be asked: mend that")


KEPT = "kept.jsonl"
_LOGS = "logs"
_NOBODY = "none/none"


@rarely_collected()
def run_task(
    eval_task: EvalTask[ConfigT],
    config: ConfigT,
    model: str | Model,
    folder: Path,
    *,
    graders: Sequence[str | Model] = (),
    model_args: Mapping[str, Any] | None = None,
    grader_args: Mapping[str, Any] | None = None,
) -> Built:
    """Ask a model every question of an exam, have the answers judged, and write the rows into `folder`.

    There are then `questions.jsonl`, `scores.jsonl`, `answers.jsonl` and `judgements.jsonl` (one row a judge and
    answer), the log in `logs/`, and `kept.jsonl`: every reply from the moment it came. A run that was killed and is
    started again in the same folder asks only for what is missing there. An item that fails is unscored with the
    reason and stops no other.

    Args:
        eval_task: what is asked.
        config: how it is asked.
        model: a checkpoint (folder or hub name), an Inspect model name, or an Inspect model.
        folder: where the results go; it must exist.
        graders: judges, as names or as opened models; one at least for an exam with a rubric, never `model`.
        model_args: the provider's own settings (`device`, `dtype`, `base_url`, ...).
        grader_args: the same for the graders that are given by name.

    Returns:
        The names of the four files; counts, rates and settings; which log it was.

    Raises:
        CheckpointError: `model` is no checkpoint that opens and no Inspect model, or can't be asked a single question.
        ConfigError: a judge is missing, or is the model under test.
        DataError: the exam has no questions, or two of one id.
    """
    started = time.monotonic()
    judged = eval_task.rubric(config) is not None
    if judged:
        check_judges([str(each) for each in graders], str(model))
    n_samples = len(eval_task.questions(config)) * config.repeats
    with _opened([model], model_args) as [tested], _opened(graders if judged else (), grader_args) as judges:
        if judged:
            check_judges([str(each) for each in judges], str(tested))
        with ResponseCache(folder / KEPT) as kept:
            task = inspect_task(eval_task, config, kept=kept)
            task.cleanup = close_after(_ours([tested, *judges], [model, *graders]), n_samples)
            log = evaluate(task, tested, n_samples, folder / _LOGS, graders=judges)
        name = str(tested)
    path = Path(log.location.removeprefix("file://"))
    drop_unfinished(path)
    return _written(eval_task, config, path, folder, {"model": name, "seconds": round(time.monotonic() - started, 3)})


def rescore(
    log_path: Path,
    graders: Sequence[str | Model],
    folder: Path,
    *,
    eval_task: EvalTask[Any] | None = None,
    grader_args: Mapping[str, Any] | None = None,
) -> Built:
    """Have the answers in a stored log judged again, by the same or by other judges; nothing is generated.

    Writes what `run_task` writes into `folder`, with a new log in its `logs/`; the given log stays as it is.

    Args:
        log_path: the log of an exam.
        graders: judges, as names or as opened models.
        folder: where the results go; it must exist.
        eval_task: whose log it is, for an exam that is not shipped.
        grader_args: settings of the graders that are given by name.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of an exam.
        ConfigError: there is no judge, or one is the model that was tested.
        FolderError: the new log would replace the given one.
    """
    started = time.monotonic()
    log = open_log(log_path, whole=True)
    asked = asked_in(log, log_path, eval_task)
    path = folder / _LOGS / log_path.name
    if path.resolve() == log_path.resolve():
        raise FolderError("holds the log that is judged again", where=str(folder), hint="Choose another folder")
    judged = asked.eval_task.rubric(asked.config) is not None
    if judged:
        check_judges([str(each) for each in graders], log.eval.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a log that is being written, a judge's store has no place of its own: it is the one beside the old log.
    beside = {"store": str(log_path.parent / STORE)}
    with _opened(graders if judged else (), grader_args, beside) as judges, ResponseCache(folder / KEPT) as kept:
        if judged:
            check_judges([str(each) for each in judges], log.eval.model)
        by_id = {question.id: question for question in asked.questions}
        scorer = task_scorer(asked.eval_task, asked.config, by_id, kept=kept)
        log = anyio.run(partial(_judge_again, log, scorer, judges, _ours(judges, graders)))
        judged_by = [judge_settings(judge.model_args, judge.config) for judge in judges]
        (log.eval.metadata or {}).update({JUDGES: [str(judge) for judge in judges], JUDGE_SETTINGS: judged_by})
    write_eval_log(log, str(path))
    told = {"model": log.eval.model, "seconds": round(time.monotonic() - started, 3)}
    return _written(asked.eval_task, asked.config, path, folder, told)


async def _judge_again(log: EvalLog, scorer: Scorer, judges: Sequence[Model], ours: Sequence[Model]) -> EvalLog:
    roles: dict[str, Any] = {GRADER: list(judges)} if judges else {}
    try:
        return await score_async(
            log, [scorer], model=_NOBODY, model_roles=roles, action="overwrite", copy=False, display="none"
        )
    finally:
        for judge in ours:
            await judge.api.aclose()


def _ours(opened: Sequence[Model], given: Sequence[str | Model]) -> list[Model]:
    """Those of the opened models that nobody gave us opened."""
    theirs = {id(each) for each in given}
    return [each for each in opened if id(each) not in theirs]


@contextmanager
def _opened(
    models: Sequence[str | Model], args: Mapping[str, Any] | None, through_llm: Mapping[str, Any] | None = None
) -> Iterator[list[Model]]:
    """The models; those that are given by name are opened, and closed in the end.

    `through_llm` is what judges that go through `llm` are given besides, where `args` do not say it.
    """
    opened: list[Model] = []
    mine: list[Model] = []
    try:
        for model in models:
            if isinstance(model, Model):
                opened.append(model)
            else:
                more = (through_llm or {}) if model.startswith(THROUGH_LLM) else {}
                mine.append(open_model(model, {**more, **(args or {})}))
                opened.append(mine[-1])
        yield opened
    finally:
        for model in mine:
            close_model(model)


def _written(
    eval_task: EvalTask[ConfigT], config: ConfigT, log: Path, folder: Path, execution: dict[str, Any]
) -> Built:
    found = read_task(log, eval_task)
    refuse_nothing(found.scores, str(execution["model"]))
    for name in TaskLog._fields:
        write_rows(folder / f"{name}.jsonl", getattr(found, name))
    n_items = len(found.questions) * config.repeats
    measures = tuple(dict.fromkeys(row.measure for row in found.scores))
    return Built(
        outputs=tuple(f"{name}.jsonl" for name in TaskLog._fields),
        summary={
            "n_questions": len(found.questions),
            **counts(found.scores, n_items),
            "rates": rates(found.scores, measures),
            "settings": log_settings(log),
        },
        execution={**execution, "log": log.name},
    )
