"""The step that measures a judge on the shipped calibration set, by the rubric of the agentic scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.errors import DataError
from midspec.core.records import Identity, Record
from midspec.evals import task_named
from midspec.llm import Access, Forecast
from midspec.study._step import Job, Step
from midspec.study.jobs._endpoints import forecast_of

if TYPE_CHECKING:
    from midspec.evals import EvalTask, GraderConfig, Rubric, TaskConfig
    from midspec.evals.judges import Transcript

_TASK = "agentic_misalignment"


class _LabelledSet(NamedTuple):
    """A task, its rubric, and transcripts with known verdicts."""

    eval_task: EvalTask[Any]
    config: TaskConfig
    rubric: Rubric
    rows: Sequence[Transcript]


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationStep(Step):
    """A judge's error rates: calibration.json and verdicts.jsonl.

    Attributes:
        judge: the model, and how it samples.
        access: how it is reached.
        heldout: use the held-out transcripts only.
    """

    kind = "calibrate"
    opens_model = False
    judge: GraderConfig
    access: Access
    heldout: bool = False

    @property
    def settings(self) -> dict[str, JsonValue]:
        return self.identity({}).config

    def identity(self, _records: Mapping[str, Record]) -> Identity:
        from midspec.evals import calibration_identity

        return calibration_identity(self.judge, self._labelled.rubric, self._labelled.rows)

    @cached_property
    def _labelled(self) -> _LabelledSet:
        from midspec.evals import calibration_set

        eval_task = task_named(_TASK)
        config = eval_task.config()
        rubric = eval_task.rubric(config)
        if rubric is None:
            raise DataError("has no rubric to measure a judge by", where=_TASK, hint="Install midspec anew")
        rows = [row for row in calibration_set() if row.heldout or not self.heldout]
        return _LabelledSet(eval_task, config, rubric, rows)

    def forecast(self) -> Forecast:
        """Forecast tokens and dollars; nothing is sent."""
        from midspec.evals.judges import estimate_calibration

        stages = [estimate_calibration(self._labelled.rubric, self._labelled.rows)]
        return forecast_of(stages, self.judge.model, self.access)

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.evals import calibrate_judge

        eval_task, config, rubric, rows = self._labelled
        return calibrate_judge(
            self.judge,
            rubric,
            rows,
            folder,
            access=self.access,
            store=job.store,
            unjudgeable=lambda question, response: eval_task.unjudgeable(question, response, config),
            on_progress=job.on_progress,
        )


STEPS = CalibrationStep
