"""Run a task, or judge a stored log of one again: Inspect asks, its log is read back, rows are written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from inspect_ai import score_async
from inspect_ai.log import EvalLog, write_eval_log
from inspect_ai.model import Model
from inspect_ai.scorer import Scorer

from midspec.core.artifact import Built, ProgressCallback, write_rows
from midspec.core.errors import FolderError, UnreachableError
from midspec.core.garbage import rare_collections
from midspec.core.records import TaskAnswer
from midspec.evals._inspect import (
    GRADER,
    close_after,
    evaluate,
    is_served,
    opened_here,
    opened_models,
    shown_warnings,
)
from midspec.evals._inspect_log import JUDGE_SETTINGS, JUDGES, TaskLog, log_settings, logged_task, read_task
from midspec.evals._inspect_task import inspect_task, task_scorer
from midspec.evals._interfaces import template_notes
from midspec.evals._log_files import log_path_of, open_log, remove_unfinished_logs
from midspec.evals._measures import missing_warnings, raise_if_nothing_scored, rates, summarize
from midspec.evals._response_cache import RESPONSES_FILE, ResponseCache, count_replies
from midspec.evals._types import ConfigT, EvalTask, TaskConfig
from midspec.evals.judges._grader import STORE
from midspec.evals.judges._inspect import THROUGH_LLM, check_judges, judge_settings

_LOGS = "logs"
_FEWEST_QUESTIONS = 5  # fewer may well be answered alike by chance
_NO_MODEL = "none/none"


@rare_collections()
def run_task(
    eval_task: EvalTask[ConfigT],
    config: ConfigT,
    model: str | Model,
    folder: Path,
    *,
    graders: Sequence[str | Model] = (),
    model_args: Mapping[str, Any] | None = None,
    grader_args: Mapping[str, Any] | None = None,
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Ask a model every question of a task, have the answers judged, and write the rows into `folder`.

    Writes `questions.jsonl`, `scores.jsonl`, `answers.jsonl` and `judgements.jsonl` (one row a judge and answer), the
    log in `logs/`, and `kept.jsonl`: every response from the moment it came. A run that was killed and is started
    again in the same folder asks only for what is missing there. An item that fails is unscored with the reason and
    stops no other.

    Args:
        eval_task: the task.
        config: its settings.
        model: a checkpoint (folder or hub name), an Inspect model name, or an Inspect model.
        folder: where the results go; it must exist.
        graders: judges, as names or as opened models; at least one for a task with a rubric, never `model`.
        model_args: the provider's own settings (`device`, `dtype`, `base_url`, ...).
        grader_args: the same for the graders that are given by name.
        on_progress: called after each response of the model and of a judge, when it is in `kept.jsonl`.

    Returns:
        The names of the four files; counts, rates and settings; which log it was.

    Raises:
        CheckpointError: `model` is no checkpoint that opens and no Inspect model, or can't be asked a single question.
        ConfigError: a judge is missing, or is the model under test.
        DataError: the task has no questions, or two of one id.
        UnreachableError: a server or an account gave no answer at all, or not one judgement; started again in the same
            folder, it asks for what is missing.
    """
    started = time.monotonic()
    is_judged = eval_task.rubric(config) is not None
    graders = graders if is_judged else ()
    if is_judged:
        check_judges([str(each) for each in graders], str(model))
    n_samples = len(eval_task.questions(config)) * config.repeats
    on_reply = count_replies(n_samples * (1 + len(graders)), on_progress)
    with opened_models([model], model_args) as [tested], opened_models(graders, grader_args) as judges:
        if is_judged:
            check_judges([str(each) for each in judges], str(tested))
        with ResponseCache(folder / RESPONSES_FILE) as cache:
            task = inspect_task(eval_task, config, cache=cache, on_reply=on_reply)
            task.cleanup = close_after(opened_here([tested, *judges], [model, *graders]), n_samples)
            log = evaluate(task, tested, n_samples, folder / _LOGS, graders=judges)
        name, notes = str(tested), template_notes(tested)
    path = log_path_of(log)
    remove_unfinished_logs(path)
    built = _write_rows(eval_task, config, path, folder, name, started)
    return built.model_copy(update={"execution": built.execution | notes})


def rescore(
    log_path: Path,
    graders: Sequence[str | Model],
    folder: Path,
    *,
    eval_task: EvalTask[Any] | None = None,
    grader_args: Mapping[str, Any] | None = None,
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Have the answers in a stored log judged again, by the same or by other judges; nothing is generated.

    Writes what `run_task` writes into `folder`, with a new log in its `logs/`; the given log stays as it is.

    Args:
        log_path: the log of a task.
        graders: judges, as names or as opened models.
        folder: where the results go; it must exist.
        eval_task: the task, for one that no installed package brings.
        grader_args: settings of the graders that are given by name.
        on_progress: called after each judge's reply, when it is in `kept.jsonl`.

    Raises:
        MissingError: there is no such log.
        DataError: it is no log of a task.
        ConfigError: there is no judge, or one is the model that was tested.
        FolderError: the new log would replace the given one.
    """
    started = time.monotonic()
    log = open_log(log_path, part="all")
    logged = logged_task(log, log_path, eval_task)
    path = folder / _LOGS / log_path.name
    if path.resolve() == log_path.resolve():
        raise FolderError("holds the log that is judged again", where=str(folder), hint="Choose another folder")
    is_judged = logged.eval_task.rubric(logged.config) is not None
    if is_judged:
        check_judges([str(each) for each in graders], log.eval.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a log that is being written, a judge's store has no place of its own: it is the one beside the old log.
    store = {"store": str(log_path.parent / STORE)}
    on_reply = count_replies(len(log.samples or ()) * len(graders), on_progress)
    with (
        opened_models(graders if is_judged else (), grader_args, {THROUGH_LLM: store}) as judges,
        ResponseCache(folder / RESPONSES_FILE) as cache,
    ):
        if is_judged:
            check_judges([str(each) for each in judges], log.eval.model)
        by_id = {question.id: question for question in logged.questions}
        scorer = task_scorer(logged.eval_task, logged.config, by_id, cache=cache, on_reply=on_reply)
        with shown_warnings():
            log = anyio.run(partial(_score_again, log, scorer, judges, opened_here(judges, graders)))
        settings = [judge_settings(judge.model_args, judge.config) for judge in judges]
        (log.eval.metadata or {}).update({JUDGES: [str(judge) for judge in judges], JUDGE_SETTINGS: settings})
    write_eval_log(log, str(path))
    return _write_rows(logged.eval_task, logged.config, path, folder, log.eval.model, started)


async def _score_again(log: EvalLog, scorer: Scorer, judges: Sequence[Model], to_close: Sequence[Model]) -> EvalLog:
    roles: dict[str, Any] = {GRADER: list(judges)} if judges else {}
    try:
        return await score_async(
            log, [scorer], model=_NO_MODEL, model_roles=roles, action="overwrite", copy=False, display="none"
        )
    finally:
        for judge in to_close:
            await judge.api.aclose()


def _equal_samples(answers: Sequence[TaskAnswer], config: TaskConfig, model: str) -> str:
    """Return a warning where a served model's samples were asked for at a temperature and are all the same answer.

    `transformers serve` ignores a request's temperature unless the folder's generation_config says `do_sample`.
    """
    samples: dict[str, list[str]] = {}
    for answer in answers if config.repeats > 1 else ():
        samples.setdefault(answer.item.rpartition("#")[0], []).append(answer.text)
    several = [texts for texts in samples.values() if len(texts) > 1 and texts[0]]
    is_sampled = config.temperature > 0 and is_served(model)
    if not is_sampled or len(several) < _FEWEST_QUESTIONS or any(len(set(texts)) > 1 for texts in several):
        return ""
    return (
        f"all samples of each of {len(several)} questions are equal at temperature {config.temperature:g}: the server "
        "seems to ignore it (transformers serve wants do_sample: true in the folder's generation_config.json)"
    )


def _write_rows(
    eval_task: EvalTask[Any], config: TaskConfig, log: Path, folder: Path, model: str, started: float
) -> Built:
    rows = read_task(log, eval_task)
    raise_if_nothing_scored(rows.scores, model)
    try:
        warnings = missing_warnings(rows.scores, len(rows.answers), model, rows.judgements)
    except UnreachableError:
        log.unlink(missing_ok=True)  # replies are in the cache, and the run that finishes the work writes a log
        raise
    for name in TaskLog._fields:
        write_rows(folder / f"{name}.jsonl", getattr(rows, name))
    measures = tuple(dict.fromkeys(row.measure for row in rows.scores))
    n_missing = {"n_missing": len(warnings)} if warnings else {}
    warnings += filter(None, [_equal_samples(rows.answers, config, model)])
    return Built(
        outputs=tuple(f"{name}.jsonl" for name in TaskLog._fields),
        summary={
            "n_questions": len(rows.questions),
            **summarize(rows.scores, len({row.item for row in rows.scores})),
            "rates": rates(rows.scores, measures),
            "settings": log_settings(log),
        },
        execution={"model": model, "seconds": round(time.monotonic() - started, 3), "log": log.name}
        | n_missing
        | ({"warnings": [*warnings]} if warnings else {}),
    )
