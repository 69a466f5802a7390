"""Run the preference evaluation of one model: Inspect asks, its log is read back, rows are written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog
from inspect_ai.model import Model
from pydantic import JsonValue

from midspec.artifact import Built, write_rows
from midspec.evals._abilities import ManyGenerator
from midspec.evals._evaluate import evaluate, rarely_collected
from midspec.evals._kept import Kept
from midspec.evals._logs import drop_unfinished
from midspec.evals._model import close_after, close_model, open_model
from midspec.evals._summary import counts, mean_of, rates, refuse_nothing
from midspec.evals.preference._ask import check_items
from midspec.evals.preference._config import PreferenceConfig
from midspec.evals.preference._log import read_log
from midspec.evals.preference._task import LOT, preference_task
from midspec.records import Item, ScoreRow

__all__ = ["run_preference"]

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
        task = preference_task(items, config, kept=stack.enter_context(Kept(folder / _KEPT)) if in_parts else None)
        if close:
            task.cleanup = close_after([model], len(items))
        return evaluate(task, model, len(items), folder / "logs")


def _summary(scores: Sequence[ScoreRow], n_items: int) -> dict[str, JsonValue]:
    """Counts, the shares that tell of the answers' health, and each set's rates over the items that have one."""
    health = {name: mean_of(scores, name) for name in _HEALTH}
    return {**counts(scores, n_items), **health, "rates": rates(scores, _RATES)}
