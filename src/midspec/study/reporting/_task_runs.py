"""One exam of one arm and seed, read from its step's files: what each sample was scored, and how the answers ended.

Enter: the folders of a run's steps. Leave: `TaskResult`, small enough to hold a whole study: numbers of the main
measures a question, sums of the rest. Files are read row by row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from midspec.core.artifact import read_rows
from midspec.core.records import ArmScore, Record, ScoreRow

_MAIN = {
    "agentic_misalignment": ("classifier_verdict", "harmful"),
    "spec_qa": ("qa_score",),
    "panel_knowledge": ("right",),
    "panel_instructions": ("followed",),
    "panel_tool_calls": ("called",),
    "panel_over_refusal": ("declined",),
    "panel_identity": ("own", "other"),
    "panel_termination": ("ended",),
    "panel_length": ("within",),
    "panel_sycophancy": ("sided",),
}
STATUSES = (
    "tool_call",
    "parsed",
    "unparsable",
    "malformed",
    "call_malformed",
    "refused",
    "inaction",
    "truncated",
    "empty",
    "garbled",
    "reported",
)
"""How an answer ended, in the order in which tables show it; a refusal and inaction stand beside each other."""
_NO_MAIN = (*STATUSES, "n_words")


class Samples(NamedTuple):
    """All samples of one question: `values` by main measure, in the order of the questions' repeats."""

    set: str
    domain: str
    items: list[str]
    values: dict[str, list[float | None]]

    def mean(self, measure: str) -> float | None:
        """Of the samples that have a value."""
        known = [value for value in self.values.get(measure, ()) if value is not None]
        return fmean(known) if known else None


class TaskResult(NamedTuple):
    """One exam as one arm of one seed took it.

    Attributes:
        eval_task: its name.
        arm: whose.
        seed: the arm's training seed.
        folder: of the step.
        record: of the step.
        measures: all that rows have, in their order.
        samples: question -> its samples.
        unscored: (set, measure) -> reason -> samples, of the main measures.
        sums: (set, measure) -> sum and number of values, of the statuses.
    """

    eval_task: str
    arm: str
    seed: int
    folder: Path
    record: Record
    measures: tuple[str, ...]
    samples: dict[str, Samples]
    unscored: dict[tuple[str, str], Counter[str]]
    sums: dict[tuple[str, str], tuple[float, int]]

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked and judged, and how."""
        found = self.record.summary["settings"]
        assert isinstance(found, dict)
        return found

    @property
    def n_repeats(self) -> int:
        """Samples of each question."""
        return int(self.settings["config"]["repeats"])

    def pooled(self, measure: str, name: str) -> Iterator[ArmScore]:
        """One score a question, all sets as one of that name."""
        for question, samples in self.samples.items():
            value = samples.mean(measure)
            reason = None if value is not None else "no sample is scored"
            about = {"task": self.eval_task, "set": name, "item": f"{samples.set}/{question}", "domain": samples.domain}
            yield ArmScore(**about, measure=measure, value=value, unscored=reason, arm=self.arm, seed=self.seed)


def main_measures(eval_task: str, measures: Sequence[str]) -> tuple[str, ...]:
    """What an exam is about: known for those that are shipped, else all that says no more than how an answer ended."""
    named = tuple(name for name in _MAIN.get(eval_task, ()) if name in measures)
    return named or tuple(name for name in measures if name not in _NO_MAIN) or tuple(measures[:1])


def task_folders(
    eval_tasks: Iterable[str], arms: Iterable[str], seeds: Iterable[int], folders: Mapping[str, Path]
) -> dict[str, list[tuple[str, int, Path]]]:
    """For each exam, who took it: arm, seed and the step's folder, in the study's order."""
    from midspec.study._graph import arm_task

    asked = [(arm, seed) for arm in arms for seed in seeds]
    return {
        eval_task: [
            (arm, seed, folders[name]) for arm, seed in asked if (name := arm_task(arm, eval_task, seed)) in folders
        ]
        for eval_task in eval_tasks
    }


def read_task_result(eval_task: str, arm: str, seed: int, folder: Path, record: Record) -> TaskResult:
    """Read the scores of one step."""
    rates = record.summary.get("rates")
    named = next(iter(rates.values()), {}) if isinstance(rates, dict) else {}
    measures = tuple(named) if isinstance(named, dict) else ()
    found = TaskResult(eval_task, arm, seed, folder, record, measures, {}, {}, {})
    main = set(main_measures(eval_task, measures))
    for row in read_rows(folder / "scores.jsonl", ScoreRow):
        if row.measure in main:
            _keep(found, row)
        elif row.measure in STATUSES and row.value is not None:
            total, n = found.sums.get((row.set, row.measure), (0.0, 0))
            found.sums[row.set, row.measure] = (total + row.value, n + 1)
    return found


def question_of(item: str, n_repeats: int) -> str:
    """The question that an item is a sample of."""
    return item.rpartition("#")[0] if n_repeats > 1 else item


def _keep(found: TaskResult, row: ScoreRow) -> None:
    question = question_of(row.item, found.n_repeats)
    samples = found.samples.setdefault(question, Samples(row.set, row.domain, [], {}))
    if row.item not in samples.items[-1:]:
        samples.items.append(row.item)
    samples.values.setdefault(row.measure, []).append(row.value)
    if row.value is None:
        reasons = found.unscored.setdefault((row.set, row.measure), Counter())
        reasons[row.unscored or "no reason was given"] += 1
