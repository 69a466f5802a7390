"""The steps that estimate rates and contrasts, and write the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from midspec.core.artifact import Built, read_record, read_rows, write_rows
from midspec.core.errors import DataError
from midspec.core.records import ArmScore, Contrast, ScoreRow
from midspec.report import GateResult
from midspec.study._entries import pooled_set
from midspec.study._first_contrasts import FIRST
from midspec.study._inputs import File, Input
from midspec.study._load import Study
from midspec.study._step import Job, Step, StepOutput
from midspec.study.jobs._eval_task import TaskStep, pool_samples
from midspec.study.jobs._preference import GateStep, PreferenceStep

_SCORES = "scores.jsonl"


@dataclass(frozen=True, kw_only=True, eq=False)
class AnalysisStep(Step):
    """Rates, contrasts, and contrasts without the seeds below the gate.

    Attributes:
        preferences: evaluations of pairs, by arm and seed.
        tasks: evaluation tasks, by arm, task and seed.
        point_preferences: evaluations of pairs on the way, by the point's name (`ARM@STAGE`) and seed.
        point_tasks: evaluation tasks on the way, by the point's name, task and seed.
        gates: by seed.
        bases: where several seeds share a base, the seed that it is called by, by seed.
        contrasts: the comparisons.
        level: of the intervals.
        gate_measure: of the gate; none without a gate.
        gate_threshold: the least mean that passes.
        pooled: tasks whose sets are also taken together, as one set `<task>/all`.
    """

    kind = "analysis"
    version = 2  # 2: the ends of rates near 0 and 1 come from a likelihood over seeds
    opens_model = False
    preferences: Mapping[tuple[str, int], PreferenceStep]
    tasks: Mapping[tuple[str, str, int], TaskStep] = field(default_factory=dict)
    point_preferences: Mapping[tuple[str, int], PreferenceStep] = field(default_factory=dict)
    point_tasks: Mapping[tuple[str, str, int], TaskStep] = field(default_factory=dict)
    gates: Mapping[int, GateStep] = field(default_factory=dict)
    bases: Mapping[int, int] = field(default_factory=dict)
    contrasts: tuple[Contrast, ...] = ()
    level: float = 0.95
    gate_measure: str | None = None
    gate_threshold: float = 0.0
    pooled: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Input]:
        scores = {f"scores/{arm}/{seed}": step for (arm, seed), step in self.all_preferences.items()}
        tasks = {f"exam/{task}/{arm}/{seed}": step for (arm, task, seed), step in self._all_tasks.items()}
        gates = {f"gate/{seed}": step for seed, step in self.gates.items()}
        return {role: StepOutput(step, _SCORES) for role, step in {**scores, **tasks, **gates}.items()}

    @property
    def all_preferences(self) -> dict[tuple[str, int], PreferenceStep]:
        """Return the evaluations of pairs of arms and of points on the way."""
        return {**self.preferences, **self.point_preferences}

    @property
    def _all_tasks(self) -> dict[tuple[str, str, int], TaskStep]:
        return {**self.tasks, **self.point_tasks}

    @property
    def settings(self) -> dict[str, JsonValue]:
        gate: dict[str, JsonValue] = {"measure": self.gate_measure, "at_least": self.gate_threshold}
        repeats: dict[str, JsonValue] = {task: step.config.repeats for (_, task, _), step in self.tasks.items()}
        return {
            "contrasts": [contrast.model_dump(mode="json", exclude={"says", "factors"}) for contrast in self.contrasts],
            "level": self.level,
            "gate": gate if self.gate_measure else None,
            **({"repeats": repeats} if repeats else {}),
            **({"bases": {str(seed): base for seed, base in self.bases.items()}} if self.bases else {}),
            **({"pooled": [*self.pooled]} if self.pooled else {}),
        }

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.analysis import contrasts, rates

        scores = [
            ArmScore(**row.model_dump(), arm=arm, seed=seed)
            for (arm, seed), step in self.all_preferences.items()
            for row in _score_rows(job, step)
        ]
        scores += [
            ArmScore(**row.model_dump(), arm=arm, seed=seed)
            for (arm, _, seed), task in self._all_tasks.items()
            for row in pool_samples(_score_rows(job, task), task.config.repeats)
        ]
        scores += pooled_rows(scores, self.pooled)
        gates = [self._gate(job, seed, step) for seed, step in self.gates.items()]
        failed = {gate.seed for gate in gates if not gate.passed}
        passed = [score for score in scores if self.bases.get(score.seed, score.seed) not in failed]
        # These two are for the report, and no part of the estimates.
        plain = [contrast.model_copy(update={"says": "", "factors": 1}) for contrast in self.contrasts]
        estimates = {
            "estimates.jsonl": rates(scores, level=self.level, bases=self.bases),
            "contrasts.jsonl": contrasts(scores, plain, level=self.level, bases=self.bases),
            "robust.jsonl": contrasts(passed, plain, level=self.level, bases=self.bases) if failed and passed else [],
        }
        for name, rows in estimates.items():
            write_rows(folder / name, rows)
        write_rows(folder / "gates.jsonl", gates)
        summary: dict[str, JsonValue] = {
            "n_scores": len(scores),
            "n_unscored": sum(score.value is None for score in scores),
            "n_contrasts": len(plain),
            "seeds_below_the_gate": [*sorted(failed)],
        }
        return Built(outputs=(*estimates, "gates.jsonl"), summary=summary)

    def _gate(self, job: Job, seed: int, step: GateStep) -> GateResult:
        rows = [row.value for row in _score_rows(job, step) if row.measure == self.gate_measure]
        scored = [value for value in rows if value is not None]
        mean = sum(scored) / len(scored) if scored else None
        passed = mean is not None and mean >= self.gate_threshold
        return GateResult(seed=seed, value=mean, threshold=self.gate_threshold, passed=passed)


def pooled_rows(scores: Sequence[ArmScore], tasks: Sequence[str]) -> list[ArmScore]:
    """Return the scores of some tasks once more, in one set of all the task's questions."""
    return [row.model_copy(update={"set": pooled_set(row.task)}) for row in scores if row.task in tasks]


def _score_rows(job: Job, step: Step) -> Iterator[ScoreRow]:
    yield from read_rows(job.path(StepOutput(step, _SCORES)), ScoreRow)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportStep(Step):
    """The page, its figures and its data.

    Attributes:
        study: that was run.
        analysis: its estimates, and the arm, task and seed of each evaluation.
        steps: all its other steps, with the analysis.
        items: of the evaluation of pairs, by seed.
        calibrations: of the judges, by `midspec calibrate`.
        first_contrasts: those that the run began with, where they are not the study's.
    """

    kind = "report"
    opens_model = False
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
        # 2: intervals of savings by a t test. Reports without savings keep their identity.
        savings: dict[str, JsonValue] = {"savings": 2} if self.study.config.report.savings else {}
        return {"study": self.study.text, **first, **savings}

    def folder(self, run: Path) -> Path:
        return run / "report"

    def run(self, job: Job, folder: Path) -> Built:
        """Write the report.

        Raises:
            DataError: a step has no record, or a calibration or a table of reasons can't be read.
        """
        from midspec.report import write_report
        from midspec.study._factors import contrast_factors
        from midspec.study.reporting._assemble import assemble
        from midspec.study.reporting._results import FinishedStep, RunResults
        from midspec.study.reporting._transcripts import transcript_pages

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
            {key: steps[step.name] for key, step in self.analysis.point_preferences.items()},
            {key: steps[step.name] for key, step in self.analysis.point_tasks.items()},
        )
        data = assemble(
            self.study,
            results,
            {seed: job.path(source) for seed, source in self.items.items()},
            first=self.first_contrasts,
            factors=contrast_factors(self.analysis.all_preferences, self.analysis.contrasts),
            calibrations=[job.path(source) for source in self.calibrations],
            store=job.store,
        )
        n_shown = self.study.config.report.transcripts
        return write_report(data, folder, transcripts=transcript_pages(results, n_shown))


STEPS = (AnalysisStep, ReportStep)
