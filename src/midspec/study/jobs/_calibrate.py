"""A judge measured: how it is reached enters, its error rates on the shipped calibration set leave.

It is asked through the rubric of the agentic scenarios, which is what the set is labelled for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from midspec.core import artifact
from midspec.core.errors import DataError
from midspec.core.records import Record
from midspec.evals import task_named
from midspec.llm import Forecast, Prices, forecast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midspec.core.progress import ProgressCallback
    from midspec.evals import EvalTask, GraderConfig, Rubric, TaskConfig
    from midspec.evals.judges import Transcript
    from midspec.study.jobs._llm_authors import ModelEndpoints

_EXAM = "agentic_misalignment"


class _Asked(NamedTuple):
    """What a judge is measured by."""

    eval_task: EvalTask[Any]
    config: TaskConfig
    rubric: Rubric
    rows: Sequence[Transcript]


def run_calibration(
    judge: GraderConfig,
    way: ModelEndpoints,
    folder: Path,
    *,
    heldout: bool = False,
    redo: bool = False,
    on_progress: ProgressCallback,
) -> tuple[Record, bool]:
    """Measure a judge, unless the same measurement is in `folder`; gives its record, and whether it was made now.

    Args:
        judge: which judge, and how it samples.
        way: how it is reached, and where its replies are kept.
        folder: the result's final place.
        heldout: ask about the held-out transcripts only.
        redo: replace a result of other inputs.
        on_progress: is told how far it is.

    Raises:
        ConfigError: a key is missing, the budget is used up, or the price of a budgeted model is unknown.
    """
    from midspec.evals import calibrate_judge, calibration_identity

    asked = _asked(heldout)
    return artifact.build(
        folder,
        calibration_identity(judge, asked.rubric, asked.rows),
        lambda draft: calibrate_judge(
            judge,
            asked.rubric,
            asked.rows,
            draft,
            access=way.judge,
            store=way.store,
            unjudgeable=lambda question, said: asked.eval_task.unjudgeable(question, said, asked.config),
            on_progress=on_progress,
        ),
        redo=redo,
    )


def forecast_calibration(judge: GraderConfig, way: ModelEndpoints, *, heldout: bool = False) -> Forecast:
    """What measuring a judge would ask and cost, before anything is sent."""
    from midspec.evals.judges import estimate_calibration

    asked = _asked(heldout)
    prices = Prices.load(way.judge.prices, way.judge.base_url)
    return forecast([estimate_calibration(asked.rubric, asked.rows)], judge.model, prices)


def _asked(heldout: bool) -> _Asked:
    from midspec.evals import calibration_set

    eval_task = task_named(_EXAM)
    config = eval_task.config()
    rubric = eval_task.rubric(config)
    if rubric is None:
        raise DataError("has no rubric to measure a judge by", where=_EXAM, hint="Install midspec anew")
    rows = [row for row in calibration_set() if row.heldout or not heldout]
    return _Asked(eval_task, config, rubric, rows)
