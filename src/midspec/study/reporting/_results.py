"""The finished steps of a run as plain data, and the scores of one evaluation task by one arm and seed.

Scores are read row by row into a `TaskResult`: values of the main measures by question, sums of the rest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

from midspec.core.artifact import read_rows
from midspec.core.records import ArmScore, Record, ScoreRow
from midspec.evals import task_named


class FinishedStep(NamedTuple):
    """One finished step, its folder and its record.

    Attributes:
        kind: of the step.
        label: its name within its kind, without the seed.
        seed: the run seed, or `None` for a step that all seeds share.
        folder: of its result.
        record: of its result.
    """

    kind: str
    label: str
    seed: int | None
    folder: Path
    record: Record

    @property
    def group(self) -> str:
        """Return the step's name for all seeds together."""
        return f"{self.kind}/{self.label}" if self.label else self.kind


class RunResults(NamedTuple):
    """All finished steps of a run.

    Attributes:
        steps: by name, in the order of the study.
        pair_evals: (arm, seed) -> the step that evaluates pairs to choose from.
        task_evals: (arm, task, seed) -> the step that runs an evaluation task.
        point_pair_evals: the same of points on the way, by `ARM@STAGE`.
        point_task_evals: the same of points on the way.
    """

    steps: Mapping[str, FinishedStep]
    pair_evals: Mapping[tuple[str, int], FinishedStep]
    task_evals: Mapping[tuple[str, str, int], FinishedStep]
    point_pair_evals: Mapping[tuple[str, int], FinishedStep] = MappingProxyType({})
    point_task_evals: Mapping[tuple[str, str, int], FinishedStep] = MappingProxyType({})

    @property
    def analysis(self) -> FinishedStep:
        """Return the step that holds estimates and contrasts."""
        return self.steps["analysis"]

    @property
    def run_folder(self) -> Path:
        """Return the run's folder, `<run>/steps/analysis` being that of the analysis."""
        return self.analysis.folder.parent.parent


def score_rows(step: FinishedStep, measures: Sequence[str]) -> Iterator[ScoreRow]:
    """Yield the scores of a step by some measures; other lines, most of a long file, are not parsed."""
    marks = [f'"measure":{json.dumps(measure)}'.encode() for measure in measures]
    with (step.folder / "scores.jsonl").open("rb") as lines:
        yield from (ScoreRow.model_validate_json(line) for line in lines if any(mark in line for mark in marks))


STATUSES: tuple[str, ...] = (
    "tool_call",
    "parsed",
    "unparsable",
    "malformed",
    "call_malformed",
    "refused",
    "inaction",
    "truncated",
)
STATUSES += ("empty", "garbled", "reported")
"""Measures of how an answer ended, in the order of the tables' columns; a refusal and inaction are side by side."""


class QuestionSamples(NamedTuple):
    """All samples of one question: `values` by main measure, in the order of the repeats."""

    set: str
    domain: str
    items: list[str]
    values: dict[str, list[float | None]]

    def scored(self, measure: str) -> list[float]:
        """Return the values of the samples that have one."""
        return [value for value in self.values.get(measure, ()) if value is not None]

    def mean(self, measure: str) -> float | None:
        """Return the mean over the samples that have a value."""
        values = self.scored(measure)
        return fmean(values) if values else None


class TaskResult(NamedTuple):
    """The scores of one task by one arm and seed.

    Attributes:
        eval_task: the task's name.
        arm: of the study.
        seed: the arm's training seed.
        step: the step that ran it.
        measures: all measures of its rows, in order.
        samples: question -> its samples.
        unscored: (set, main measure) -> reason -> number of samples.
        sums: (set, status measure) -> sum and number of values.
    """

    eval_task: str
    arm: str
    seed: int
    step: FinishedStep
    measures: tuple[str, ...]
    samples: dict[str, QuestionSamples]
    unscored: dict[tuple[str, str], Counter[str]]
    sums: dict[tuple[str, str], tuple[float, int]]

    @property
    def settings(self) -> dict[str, Any]:
        """Return how questions were asked and answers judged."""
        settings = self.step.record.summary["settings"]
        assert isinstance(settings, dict)
        return settings

    @property
    def n_repeats(self) -> int:
        """Return the number of samples of each question."""
        return int(self.settings["config"]["repeats"])

    @property
    def log(self) -> Path:
        """Return the Inspect log."""
        return self.step.folder / "logs" / str(self.step.record.execution.extra["log"])

    def pooled(self, measure: str, name: str) -> Iterator[ArmScore]:
        """Yield one score a question, all sets as one of that name."""
        for question, samples in self.samples.items():
            value = samples.mean(measure)
            reason = None if value is not None else "no sample is scored"
            about = {"task": self.eval_task, "set": name, "item": f"{samples.set}/{question}", "domain": samples.domain}
            yield ArmScore(**about, measure=measure, value=value, unscored=reason, arm=self.arm, seed=self.seed)


def main_measures(eval_task: str, measures: Sequence[str]) -> tuple[str, ...]:
    """Return a task's main measures among `measures`; by default those that are not statuses."""
    named = tuple(name for name in task_named(eval_task).main_measures if name in measures)
    other = tuple(name for name in measures if name not in (*STATUSES, "n_words"))
    return named or other or tuple(measures[:1])


def read_task_result(eval_task: str, arm: str, seed: int, step: FinishedStep) -> TaskResult:
    """Read the scores of one step."""
    rates = step.record.summary.get("rates")
    named = next(iter(rates.values()), {}) if isinstance(rates, dict) else {}
    measures = tuple(named) if isinstance(named, dict) else ()
    result = TaskResult(eval_task, arm, seed, step, measures, {}, {}, {})
    main, n_repeats = set(main_measures(eval_task, measures)), result.n_repeats
    for row in read_rows(step.folder / "scores.jsonl", ScoreRow):
        if row.measure in main:
            question = row.item.rpartition("#")[0] if n_repeats > 1 else row.item
            samples = result.samples.setdefault(question, QuestionSamples(row.set, row.domain, [], {}))
            if row.item not in samples.items[-1:]:
                samples.items.append(row.item)
            samples.values.setdefault(row.measure, []).append(row.value)
            if row.value is None:
                reasons = result.unscored.setdefault((row.set, row.measure), Counter())
                reasons[row.unscored or "no reason was given"] += 1
        elif row.measure in STATUSES and row.value is not None:
            total, n = result.sums.get((row.set, row.measure), (0.0, 0))
            result.sums[row.set, row.measure] = (total + row.value, n + 1)
    return result
