"""Run the preference evaluation of one model: Inspect asks, its log is read back, rows are written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import Model
from pydantic import TypeAdapter, ValidationError

from midspec.core.artifact import Built, ProgressCallback, write_rows
from midspec.core.errors import DataError
from midspec.core.garbage import rare_collections
from midspec.core.records import Answer, Item, ScoreRow
from midspec.evals._inspect import close_after, evaluate, opened_here, opened_models
from midspec.evals._interfaces import ManyGenerator, OptionScorer, template_notes
from midspec.evals._log_files import (
    log_path_of,
    open_log,
    planned_epochs,
    remove_unfinished_logs,
    sample_fault,
    samples_of,
)
from midspec.evals._measures import (
    mean_of,
    missing_warnings,
    raise_if_nothing_scored,
    rates,
    score_rows,
    summarize,
)
from midspec.evals._response_cache import RESPONSES_FILE, ResponseCache, count_replies
from midspec.evals._types import Unscored, Value
from midspec.evals.tasks.preference._config import PreferenceConfig, check_items
from midspec.evals.tasks.preference._forms import mass_warning
from midspec.evals.tasks.preference._measures import READER, Observed, measure_names, measures
from midspec.evals.tasks.preference._task import BATCH_SIZE, OBSERVED_KEY, TASK, preference_task

_ITEMS = TypeAdapter(tuple[Item, ...])
_HEALTH = ("parsed", "refused", "truncated", "option_mass", "agreement", "order_consistency")
_RATES = ("choice_logprob", "choice_generated")


def read_scores(log_path: Path) -> list[ScoreRow]:
    """Read every measure of every item from a log, in the order of the items.

    Each item has a row for each of its measures: one that failed, or that the evaluation never came to, has its rows
    without a value and with the reason.

    Raises:
        MissingError: there is no such log.
        DataError: it is not a log of the task `preference`.
    """
    return read_log(log_path)[0]


def read_answers(log_path: Path) -> list[Answer]:
    """Read a model's answers from a log, word for word: choices, then the free answer, then why; in the items' order.

    Raises:
        MissingError: there is no such log.
        DataError: it is not a log of the task `preference`.
    """
    return read_log(log_path)[1]


def read_log(log_path: Path) -> tuple[list[ScoreRow], list[Answer]]:
    """Read `read_scores` and `read_answers` at once."""
    log = open_log(log_path)
    metadata = log.eval.metadata or {}
    if "items" not in metadata or "config" not in metadata:
        raise DataError(f"not a log of the task {TASK}", where=str(log_path), hint="Give a log that midspec wrote")
    try:
        items = _ITEMS.validate_python(metadata["items"])
        config = PreferenceConfig.model_validate(metadata["config"])
    except ValidationError as error:
        raise DataError("written by another version", where=str(log_path), hint="Evaluate again") from error
    samples = samples_of(log)
    epochs = planned_epochs(log, len(items), log_path)
    scores: list[ScoreRow] = []
    answers: list[Answer] = []
    for item in items:
        where = {"item": item.id, "set": item.set, "domain": item.domain}
        found = [_observed(samples.get((item.id, epoch)), log) for epoch in epochs]
        scores.extend(score_rows(TASK, where, _mean_of_epochs(item, found, config)))
        for observed in found:
            if not isinstance(observed, Unscored):
                answers.extend(_answers(item, observed))
    return scores, answers


def _mean_of_epochs(item: Item, found: Sequence[Observed | Unscored], config: PreferenceConfig) -> dict[str, Value]:
    """Return an item's measures; where Inspect was told to repeat it (`--epochs`), their means over the repeats."""
    names = measure_names(item, config)
    each = [
        dict.fromkeys(names, observed) if isinstance(observed, Unscored) else measures(item, observed, config)
        for observed in found
    ]
    if len(each) == 1:
        return dict(each[0])
    values: dict[str, Value] = {}
    for name in names:
        scored = [value for one in each if not isinstance(value := one[name], Unscored)]
        values[name] = round(fmean(scored), 6) if scored else each[0][name]
    return values


def _answers(item: Item, observed: Observed) -> Iterator[Answer]:
    replies = [("choice", asked.reply) for asked in observed.asked]
    replies += [(kind, reply) for kind, reply in (("free", observed.free), ("why", observed.why)) if reply]
    for kind, reply in replies:
        yield Answer.model_validate({"item": item.id, "set": item.set, "kind": kind, **reply.model_dump()})


def _observed(sample: EvalSample | None, log: EvalLog) -> Observed | Unscored:
    """Return all that was observed of an item, or why there is nothing."""
    if (fault := sample_fault(sample, log)) is not None or sample is None:
        return fault or Unscored("not asked")
    if OBSERVED_KEY not in sample.store:
        return Unscored("the log holds no answers for this item")
    try:
        return Observed.model_validate_json(sample.store[OBSERVED_KEY])
    except ValidationError:
        return Unscored("the log's answers for this item can't be read")


@rare_collections()
def run_preference(
    model: str | Model,
    items: Sequence[Item],
    config: PreferenceConfig,
    folder: Path,
    *,
    model_args: Mapping[str, Any] | None = None,
    on_progress: ProgressCallback | None = None,
) -> Built:
    """Ask a model every item and write `scores.jsonl` and `answers.jsonl` into `folder`; the log is in `logs/`.

    An item that fails is unscored with the reason and stops no other. A run on a served model, or of more items than a
    checkpoint answers at once, that was killed and is started again in the same folder, asks only what is missing. The
    model is closed in the end, unless it was given opened.

    Args:
        model: a checkpoint (folder or hub name), an Inspect model name (`vllm/<base>:<adapter>`), or an Inspect model.
        items: the pairs.
        config: how they are asked.
        folder: where the results go; it must exist.
        model_args: the provider's own settings (`device`, `dtype`, `base_url`, ...).
        on_progress: called after each item.

    Returns:
        The names of the two files, and the health of the evaluation.

    Raises:
        CheckpointError: `model` is no checkpoint that opens and no Inspect model, or can't be asked a single item.
        DataError: the items can't be asked.
        UnreachableError: the server gave no answer at all.
    """
    check_items(items)
    started = time.monotonic()
    cache_path = folder / RESPONSES_FILE
    with opened_models([model], model_args) as [tested]:
        if isinstance(tested.api, OptionScorer):
            check_items(items, scored=config)
        # A checkpoint answers few items all together: there is nothing that could be cached before the end.
        is_cached = len(items) > BATCH_SIZE or not isinstance(tested.api, ManyGenerator)
        with ResponseCache(cache_path) if is_cached else nullcontext() as cache:
            task = preference_task(items, config, cache=cache, on_reply=count_replies(len(items), on_progress))
            task.cleanup = close_after(opened_here([tested], [model]), len(items))
            path = log_path_of(evaluate(task, tested, len(items), folder / "logs"))
    scores, answers = read_log(path)
    raise_if_nothing_scored(scores, str(tested))
    warnings = missing_warnings(scores, len(answers), str(tested))
    write_rows(folder / "scores.jsonl", scores)
    write_rows(folder / "answers.jsonl", answers)
    if not warnings:
        cache_path.unlink(missing_ok=True)
    remove_unfinished_logs(path)
    health = {name: mean_of(scores, name) for name in _HEALTH}
    warning = mass_warning(mean_of(scores, "option_mass"))
    return Built(
        outputs=("scores.jsonl", "answers.jsonl"),
        summary={**summarize(scores, len(items)), **health, "rates": rates(scores, _RATES)}
        | ({"warnings": [warning]} if warning else {}),
        execution={
            "model": str(tested),
            "log": path.name,
            "reader": READER,
            "seconds": round(time.monotonic() - started, 3),
        }
        | ({"n_missing": len(warnings), "warnings": [*warnings]} if warnings else {})
        | template_notes(tested),
    )
