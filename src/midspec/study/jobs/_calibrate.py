"""A judge measured: how it is reached enters, its error rates on the shipped calibration set leave.

It is asked through the rubric of the agentic scenarios, which is what the set is labelled for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from midspec.core import artifact
from midspec.core.errors import DataError
from midspec.core.records import Record
from midspec.evals import exam_named
from midspec.llm import Forecast, Prices, forecast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midspec.evals import Exam, ExamConfig, GraderConfig, Rubric
    from midspec.evals.judges import Transcript
    from midspec.study.jobs._llm_authors import Way
    from midspec.study.jobs._make import Tell

_EXAM = "agentic_misalignment"


class _Asked(NamedTuple):
    """What a judge is measured by."""

    exam: Exam[Any]
    config: ExamConfig
    rubric: Rubric
    rows: Sequence[Transcript]


def calibrate_alone(
    judge: GraderConfig, way: Way, folder: Path, *, heldout: bool = False, redo: bool = False, tell: Tell
) -> tuple[Record, bool]:
    """Measure a judge, unless the same measurement is in `folder`; gives its record, and whether it was made now.

    Args:
        judge: which judge, and how it samples.
        way: how it is reached, and where its replies are kept.
        folder: the result's final place.
        heldout: ask about the held-out transcripts only.
        redo: replace a result of other inputs.
        tell: is told how far it is.

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
            unjudgeable=lambda question, said: asked.exam.unjudgeable(question, said, asked.config),
            tell=tell,
        ),
        redo=redo,
    )


def forecast_calibration(judge: GraderConfig, way: Way, *, heldout: bool = False) -> Forecast:
    """What measuring a judge would ask and cost, before anything is sent."""
    from midspec.evals.judges import calibration_load

    asked = _asked(heldout)
    prices = Prices.load(way.judge.prices, way.judge.base_url)
    return forecast([calibration_load(asked.rubric, asked.rows)], judge.model, prices)


def _asked(heldout: bool) -> _Asked:
    from midspec.evals import calibration_set

    exam = exam_named(_EXAM)
    config = exam.config()
    rubric = exam.rubric(config)
    if rubric is None:
        raise DataError("has no rubric to measure a judge by", where=_EXAM, mend="Install midspec anew")
    rows = [row for row in calibration_set() if row.heldout or not heldout]
    return _Asked(exam, config, rubric, rows)
