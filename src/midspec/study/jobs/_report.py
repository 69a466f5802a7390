"""The step that writes a study's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, read_record
from midspec.core.errors import DataError
from midspec.study._inputs import File, Input
from midspec.study._load import FIRST, Study
from midspec.study._step import Job, Step, StepOutput
from midspec.study.jobs._analysis import AnalysisStep


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportStep(Step):
    """The page, its figures and its data.

    Attributes:
        study: what was run.
        analysis: its estimates, and which arm, task and seed each evaluation is of.
        steps: all its other steps, the analysis among them.
        items: for each seed, the items of the evaluation of pairs.
        calibrations: what `midspec calibrate` left of the judges.
        first_contrasts: the contrasts that the run began with, where they are not the study's.
    """

    kind = "report"
    study: Study
    analysis: AnalysisStep
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
        """Write the report.

        Raises:
            DataError: a step has no record, or a calibration or a table of reasons can't be read.
        """
        from midspec.report import write_report
        from midspec.study.reporting._assemble import assemble
        from midspec.study.reporting._results import FinishedStep, RunResults

        steps = {}
        for step in self.steps:
            place = job.path(StepOutput(step))
            if (record := read_record(place)) is None:
                raise DataError(
                    "there is no finished step", where=str(place), hint="Run midspec run on the study again"
                )
            steps[step.name] = FinishedStep(step.kind, step.label, step.seed, place, record)
        results = RunResults(
            steps,
            {key: steps[step.name] for key, step in self.analysis.preferences.items()},
            {key: steps[step.name] for key, step in self.analysis.tasks.items()},
        )
        data = assemble(
            self.study,
            results,
            {seed: job.path(source) for seed, source in self.items.items()},
            first=self.first_contrasts,
            calibrations=[job.path(source) for source in self.calibrations],
        )
        return write_report(data, folder)


STEPS = ReportStep
