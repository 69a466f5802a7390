"""The step that writes a study's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.study._inputs import File, Input
from midspec.study._load import Study
from midspec.study._preregistration import FIRST
from midspec.study._step import Job, Step, StepOutput


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportStep(Step):
    """The page, its figures and its data.

    Attributes:
        study: what was run.
        steps: all its other steps.
        items: for each seed, the items of the evaluation of pairs.
        calibrations: what `midspec calibrate` left of the judges.
        first_contrasts: the contrasts that the run began with, where they are not the study's.
    """

    kind = "report"
    study: Study
    steps: Sequence[Step]
    items: Mapping[int, Input]
    calibrations: tuple[File, ...] = ()
    first_contrasts: list[JsonValue] | None = field(default=None)

    @property
    def inputs(self) -> dict[str, Input]:
        return {
            **{step.name: StepOutput(step) for step in self.steps},
            **{f"items/{seed}": source for seed, source in self.items.items()},
            **{f"calibration/{index}": source for index, source in enumerate(self.calibrations)},
        }

    @property
    def settings(self) -> dict[str, JsonValue]:
        first: dict[str, JsonValue] = {} if self.first_contrasts is None else {FIRST: self.first_contrasts}
        return {"study": self.study.text, **first}

    def folder(self, run: Path) -> Path:
        return run / "report"

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.report import write_report
        from midspec.study.reporting._assemble import assemble

        data = assemble(
            self.study,
            {step.name: job.path(StepOutput(step)) for step in self.steps},
            {seed: job.path(source) for seed, source in self.items.items()},
            first=self.first_contrasts,
            calibrations=[job.path(source) for source in self.calibrations],
        )
        return write_report(data, folder)


STEPS = ReportStep
