"""Questions on which arms differ most, with what each arm said to them, and where the logs lie.

Enters: what was taken. Leaves: `TranscriptComparison` and `LogLocation`. What is shown is chosen by distance alone, the same each time.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from midspec.core.artifact import read_rows
from midspec.core.records import Judgement, ScoreRow, TaskAnswer
from midspec.report import TranscriptComparison, JudgeReply, LogLocation, MeasureValue, Transcript
from midspec.study.reporting._judges import plain_name
from midspec.study.reporting._task_runs import Samples, TaskResult

_MOST_LETTERS = 8_000


def transcript_comparisons(
    took: Sequence[TaskResult], measure: str, n_shown: int, asked: Mapping[str, str]
) -> tuple[TranscriptComparison, ...]:
    """The questions with the largest distance between two arms, one a cell, with one sample of each arm.

    Args:
        took: all arms, of one seed.
        measure: whose means are held apart.
        n_shown: at most so many.
        asked: question -> the user's last message.
    """
    apart = {question: _apart(took, question, measure) for question in _questions(took)}
    order = sorted(apart, key=lambda question: -(apart[question] or 0.0))
    chosen: dict[str, str] = {}
    for question in order:
        chosen.setdefault(_samples(took, question).domain, question)
    shown = list(chosen.values())[:n_shown]
    picked = {each.arm: {question: _nearest(each, question, measure) for question in shown} for each in took}
    said = {each.arm: _said(each, {item for item in picked[each.arm].values() if item}) for each in took}
    return tuple(
        TranscriptComparison(
            question=_cut(asked.get(question, "")),
            domain=_samples(took, question).domain,
            item=question,
            seed=took[0].seed,
            apart=apart[question],
            answers=tuple(
                said[each.arm][item] for each in took if (item := picked[each.arm][question]) in said[each.arm]
            ),
        )
        for question in shown
    )


def _questions(took: Sequence[TaskResult]) -> list[str]:
    return list(dict.fromkeys(question for each in took for question in each.samples))


def _samples(took: Sequence[TaskResult], question: str) -> Samples:
    return next(each.samples[question] for each in took if question in each.samples)


def _apart(took: Sequence[TaskResult], question: str, measure: str) -> float | None:
    means = [each.samples[question].mean(measure) for each in took if question in each.samples]
    known = [mean for mean in means if mean is not None]
    return max(known) - min(known) if len(known) > 1 else None


def _nearest(each: TaskResult, question: str, measure: str) -> str:
    """The first sample whose value is nearest to the arm's mean; the first of all where none has one."""
    samples = each.samples.get(question)
    if samples is None:
        return ""
    mean = samples.mean(measure)
    values = samples.values.get(measure, [None] * len(samples.items))
    far = [float("inf") if value is None or mean is None else abs(value - mean) for value in values]
    return samples.items[far.index(min(far))]


def _said(each: TaskResult, items: Container[str]) -> dict[str, Transcript]:
    """What the arm said in these items, with all that was read off it and said of it."""
    verdicts: dict[str, list[MeasureValue]] = {}
    for row in read_rows(each.folder / "scores.jsonl", ScoreRow):
        if row.item in items:
            found = MeasureValue(measure=row.measure, value=row.value, unscored=row.unscored)
            verdicts.setdefault(row.item, []).append(found)
    judges: dict[str, list[JudgeReply]] = {}
    for judgement in read_rows(each.folder / "judgements.jsonl", Judgement):
        if judgement.item in items:
            found_said = JudgeReply(
                judge=plain_name(judgement.judge), text=_cut(judgement.text), values=judgement.values
            )
            judges.setdefault(judgement.item, []).append(found_said)
    return {
        answer.item: Transcript(
            arm=each.arm,
            item=answer.item,
            text=_cut(answer.text),
            reasoning=_cut(answer.reasoning),
            stop_reason=answer.stop_reason,
            verdicts=tuple(verdicts.get(answer.item, ())),
            judges=tuple(judges.get(answer.item, ())),
        )
        for answer in read_rows(each.folder / "answers.jsonl", TaskAnswer)
        if answer.item in items
    }


def _cut(text: str) -> str:
    if len(text) <= _MOST_LETTERS:
        return text
    return f"{text[:_MOST_LETTERS]}\n[… {len(text) - _MOST_LETTERS:,} more letters stand in the log]"


def log_locations(took: Sequence[TaskResult], run: Path) -> tuple[LogLocation, ...]:
    """Where each arm's log lies, from the run's folder."""
    return tuple(
        LogLocation(
            arm=each.arm,
            seed=each.seed,
            folder=(each.folder / "logs").relative_to(run).as_posix(),
            file=str(each.record.execution.extra.get("log") or ""),
        )
        for each in took
    )
