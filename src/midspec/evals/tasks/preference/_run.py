"""Run the preference evaluation of one model: Inspect asks, its log is read back, rows are written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import Model
from pydantic import JsonValue, TypeAdapter, ValidationError

from midspec.core.artifact import Built, write_rows
from midspec.core.errors import DataError
from midspec.core.records import Answer, Item, ScoreRow
from midspec.evals._abilities import ManyGenerator
from midspec.evals._inspect_run import evaluate, rarely_collected
from midspec.evals._logs import drop_unfinished, open_log, sample_fault
from midspec.evals._model import close_after, close_model, open_model
from midspec.evals._response_cache import ResponseCache
from midspec.evals._runner import counts, mean_of, rates, refuse_nothing
from midspec.evals._types import Unscored, Value
from midspec.evals.tasks.preference._config import PreferenceConfig, check_items
from midspec.evals.tasks.preference._measures import Observed, Reply, measure_names, measures
from midspec.evals.tasks.preference._task import LOT, OBSERVED, TASK, preference_task

_ITEMS = TypeAdapter(tuple[Item, ...])


class _Result(NamedTuple):
    """What came of one item: everything observed, or why there is nothing."""

    item: Item
    observed: Observed | Unscored


def read_scores(log_path: Path) -> list[ScoreRow]:
    """Every measure of every item that was asked for, measured from a log, in the order of the items.

    Each item has a row for each of its measures: one that failed, or that the evaluation never came to, has its rows
    without a value and with the reason.

    Raises:
        MissingError: there is no such log.
        DataError: it is not a log of the task `preference`.
    """
    return read_log(log_path)[0]


def read_answers(log_path: Path) -> list[Answer]:
    """What the model said in a log, word for word: choices, then the free answer, then why; in the items' order.

    Raises:
        MissingError: there is no such log.
        DataError: it is not a log of the task `preference`.
    """
    return read_log(log_path)[1]


def read_log(log_path: Path) -> tuple[list[ScoreRow], list[Answer]]:
    """`read_scores` and `read_answers` in one reading."""
    config, results = _read(log_path)
    scores = [row for result in results for row in _rows(result, config)]
    return scores, [answer for result in results for answer in _answers(result)]


def _read(path: Path) -> tuple[PreferenceConfig, list[_Result]]:
    log = open_log(path)
    metadata = log.eval.metadata or {}
    if "items" not in metadata or "config" not in metadata:
        raise DataError(f"not a log of the task {TASK}", where=str(path), hint="Give a log that midspec wrote")
    try:
        items = _ITEMS.validate_python(metadata["items"])
        config = PreferenceConfig.model_validate(metadata["config"])
    except ValidationError as error:
        raise DataError("written by another version", where=str(path), hint="Evaluate again") from error
    samples = {str(sample.id): sample for sample in log.samples or ()}
    return config, [_Result(item, _observed(samples.get(item.id), log)) for item in items]


def _observed(sample: EvalSample | None, log: EvalLog) -> Observed | Unscored:
    if (fault := sample_fault(sample, log)) is not None or sample is None:
        return fault or Unscored("not asked")
    if OBSERVED not in sample.store:
        return Unscored("the log holds no answers for this item")
    return Observed.model_validate_json(sample.store[OBSERVED])


def _rows(result: _Result, config: PreferenceConfig) -> Iterator[ScoreRow]:
    item = result.item
    observed = result.observed
    if isinstance(observed, Unscored):
        values: dict[str, Value] = dict.fromkeys(measure_names(item, config), observed)
    else:
        values = measures(item, observed, config)
    for name, value in values.items():
        yield ScoreRow(
            task=TASK,
            set=item.set,
            item=item.id,
            domain=item.domain,
            measure=name,
            value=None if isinstance(value, Unscored) else value,
            unscored=value.reason if isinstance(value, Unscored) else None,
        )


def _answers(result: _Result) -> Iterator[Answer]:
    if isinstance(result.observed, Unscored):
        return
    for asked in result.observed.asked:
        yield _answer(result.item, "choice", asked.reply)
    if result.observed.free is not None:
        yield _answer(result.item, "free", result.observed.free)
    if result.observed.why is not None:
        yield _answer(result.item, "why", result.observed.why)


def _answer(item: Item, kind: str, reply: Reply) -> Answer:
    return Answer.model_validate({"item": item.id, "set": item.set, "kind": kind, **reply.model_dump()})


_HEALTH = ("parsed", "refused", "truncated", "option_mass", "agreement", "order_consistency")
_KEPT = "kept.jsonl"
_RATES = ("choice_logprob", "choice_generated")


@rarely_collected()
def run_preference(
    model: str | Model,
    items: Sequence[Item],
    config: PreferenceConfig,
    folder: Path,
    *,
    model_args: Mapping[str, Any] | None = None,
) -> Built:
    """Ask a model every item and write `scores.jsonl` and `answers.jsonl` into `folder`; the log is in `logs/`.

    An item that fails is unscored with the reason and stops no other. A run on a served model, or of more items than a
    checkpoint answers at once, that was killed and is started again in the same folder, asks only what is missing. The
    model is closed in the end, unless it was given opened.

    Args:
        model: a checkpoint (folder or hub name), an Inspect model name (`vllm/<base>:<adapter>`), or an Inspect model.
        items: what is asked.
        config: how it is asked.
        folder: where the results go; it must exist.
        model_args: the provider's own settings (`device`, `dtype`, `base_url`, ...).

    Returns:
        The names of the two files, and the health of the evaluation.

    Raises:
        CheckpointError: `model` is no checkpoint that opens and no Inspect model, or can't be asked a single item.
        DataError: the items can't be asked.
    """
    check_items(items)
    started = time.monotonic()
    opened = model if isinstance(model, Model) else open_model(model, model_args or {})
    try:
        log = _asked(opened, items, config, folder, close=opened is not model)
    finally:
        if opened is not model:
            close_model(opened)
    path = Path(log.location.removeprefix("file://"))
    scores, answers = read_log(path)
    refuse_nothing(scores, str(opened))
    write_rows(folder / "scores.jsonl", scores)
    write_rows(folder / "answers.jsonl", answers)
    (folder / _KEPT).unlink(missing_ok=True)
    drop_unfinished(path)
    return Built(
        outputs=("scores.jsonl", "answers.jsonl"),
        summary=_summary(scores, len(items)),
        execution={"model": str(opened), "log": path.name, "seconds": round(time.monotonic() - started, 3)},
    )


def _asked(model: Model, items: Sequence[Item], config: PreferenceConfig, folder: Path, *, close: bool) -> EvalLog:
    """The log of the items asked; answers are kept as they come, so that a kill costs none of them.

    A checkpoint answers few items all together: there is nothing that could be kept before the end.
    """
    with ExitStack() as stack:
        in_parts = len(items) > LOT or not isinstance(model.api, ManyGenerator)
        task = preference_task(
            items, config, kept=stack.enter_context(ResponseCache(folder / _KEPT)) if in_parts else None
        )
        if close:
            task.cleanup = close_after([model], len(items))
        return evaluate(task, model, len(items), folder / "logs")


def _summary(scores: Sequence[ScoreRow], n_items: int) -> dict[str, JsonValue]:
    """Counts, the shares that tell of the answers' health, and each set's rates over the items that have one."""
    health = {name: mean_of(scores, name) for name in _HEALTH}
    return {**counts(scores, n_items), **health, "rates": rates(scores, _RATES)}
