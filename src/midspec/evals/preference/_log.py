"""From a stored Inspect log to score rows and answers. The log is the source of truth; nothing is asked again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from inspect_ai.log import EvalLog, EvalSample
from pydantic import TypeAdapter, ValidationError

from midspec.errors import DataError
from midspec.evals._logs import open_log, sample_fault
from midspec.evals._values import Unscored, Value
from midspec.evals.preference._config import PreferenceConfig
from midspec.evals.preference._measures import measure_names, measures
from midspec.evals.preference._observed import Observed, Reply
from midspec.evals.preference._task import OBSERVED, TASK
from midspec.records import Answer, Item, ScoreRow

__all__ = ["read_answers", "read_log", "read_scores"]

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
        raise DataError(f"not a log of the task {TASK}", where=str(path), mend="Give a log that midspec wrote")
    try:
        items = _ITEMS.validate_python(metadata["items"])
        config = PreferenceConfig.model_validate(metadata["config"])
    except ValidationError as error:
        raise DataError("written by another version", where=str(path), mend="Evaluate again") from error
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
