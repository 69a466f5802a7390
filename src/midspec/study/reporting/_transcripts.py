"""Gather the transcripts behind a report's numbers: a page for each arm and set, items spread evenly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from midspec.core.artifact import read_rows
from midspec.core.records import Answer, Judgement, ScoreRow, TaskAnswer
from midspec.evals import logged_questions
from midspec.report import JudgeReply, MeasureValue, TranscriptEntry, TranscriptPage, Turn
from midspec.study.reporting._judges import judge_name
from midspec.study.reporting._results import FinishedStep, RunResults, score_rows
from midspec.study.reporting._task_report import truncated

# Of pairs: what is said of an item at its head; its other measures are of the form alone.
_PAIR_SCORES = ("choice_logprob", "margin_logprob", "choice_generated", "reason_logprob", "reason_generated", "parsed")
_ANSWERS, _SCORES, _JUDGEMENTS = "answers.jsonl", "scores.jsonl", "judgements.jsonl"
_Seed = tuple[int, FinishedStep]
T = TypeVar("T")


def transcript_pages(run: RunResults, n_shown: int) -> Iterator[TranscriptPage]:
    """Yield a page for each arm and set of pairs, and one for each arm and evaluation task; points on the way too.

    Args:
        run: the finished steps.
        n_shown: the most items of a page; with 0 there are no pages.
    """
    if not n_shown:
        return
    for arm, seeds in _by_arm({**run.pair_evals, **run.point_pair_evals}).items():
        yield from _pair_pages(run, arm, seeds, n_shown)
    tasks: dict[str, dict[tuple[str, int], FinishedStep]] = {}
    for (arm, task, seed), step in {**run.task_evals, **run.point_task_evals}.items():
        tasks.setdefault(task, {})[arm, seed] = step
    for task, steps in tasks.items():
        for arm, seeds in _by_arm(steps).items():
            yield _task_page(run, task, arm, seeds, n_shown)


def _by_arm(steps: Mapping[tuple[str, int], FinishedStep]) -> dict[str, list[_Seed]]:
    found: dict[str, list[_Seed]] = {}
    for (arm, seed), step in steps.items():
        found.setdefault(arm, []).append((seed, step))
    return found


def spread(rows: Sequence[T], n_wanted: int) -> list[T]:
    """Return at most so many rows, evenly spaced, the first among them."""
    n = min(n_wanted, len(rows))
    return [rows[index * len(rows) // n] for index in range(n)]


def _logs(run: RunResults, seeds: Sequence[_Seed]) -> tuple[str, ...]:
    folders = (step.folder / "logs" for _, step in seeds)
    return tuple(folder.relative_to(run.run_folder).as_posix() for folder in folders if folder.is_dir())


class _Scores(NamedTuple):
    """The scores of one step, by item."""

    by_item: dict[str, list[MeasureValue]]
    domains: dict[str, str]

    @classmethod
    def read(cls, step: FinishedStep, measures: Sequence[str] = ()) -> _Scores:
        """Read them, of these measures or of all."""
        scores = cls({}, {})
        for row in score_rows(step, measures) if measures else read_rows(step.folder / _SCORES, ScoreRow):
            scores.domains.setdefault(row.item, row.domain)
            value = MeasureValue(measure=row.measure, value=row.value, unscored=row.unscored)
            scores.by_item.setdefault(row.item, []).append(value)
        return scores


def _pair_pages(run: RunResults, arm: str, seeds: Sequence[_Seed], n_shown: int) -> Iterator[TranscriptPage]:
    """Yield a page for each set of pairs: every question about an item, in the order in which it was asked."""
    items: dict[str, dict[tuple[int, str], list[Turn]]] = {}
    scores = {seed: _Scores.read(step, _PAIR_SCORES) for seed, step in seeds}
    for seed, step in seeds:
        for row in read_rows(step.folder / _ANSWERS, Answer):
            turn = Turn(question=row.question, text=row.text, stop_reason=row.stop_reason)
            items.setdefault(row.set, {}).setdefault((seed, row.item), []).append(turn)
    for name, found in items.items():
        entries = tuple(
            TranscriptEntry(
                seed=seed,
                item=item,
                domain=scores[seed].domains.get(item, ""),
                turns=tuple(found[seed, item]),
                scores=tuple(scores[seed].by_item.get(item, ())),
            )
            for seed, item in spread(list(found), n_shown)
        )
        yield TranscriptPage(arm=arm, set=name, entries=entries, n_entries=len(found), logs=_logs(run, seeds))


def _task_page(run: RunResults, task: str, arm: str, seeds: Sequence[_Seed], n_shown: int) -> TranscriptPage:
    """Return the page of a task: the user's last message, the answer, its scores and what judges said."""
    found: list[tuple[int, TaskAnswer]] = []
    for seed, step in seeds:
        found += [(seed, row) for row in read_rows(step.folder / _ANSWERS, TaskAnswer)]
    shown = spread(found, n_shown)
    entries: list[TranscriptEntry] = []
    for seed, step in seeds:
        mine = [row for own, row in shown if own == seed]
        if mine:
            entries += _task_entries(seed, step, mine)
    return TranscriptPage(arm=arm, set=task, entries=tuple(entries), n_entries=len(found), logs=_logs(run, seeds))


def _task_entries(seed: int, step: FinishedStep, answers: Sequence[TaskAnswer]) -> Iterator[TranscriptEntry]:
    wanted = {row.item for row in answers}
    scores = _Scores.read(step)
    replies: dict[str, list[JudgeReply]] = {}
    judgements = step.folder / _JUDGEMENTS
    for each in read_rows(judgements, Judgement) if judgements.is_file() else ():
        if each.item in wanted:
            reply = JudgeReply(judge=judge_name(each.judge), text=truncated(each.text), values=each.values)
            replies.setdefault(each.item, []).append(reply)
    log: Path = step.folder / "logs" / str(step.record.execution.extra.get("log") or "")
    asked = {each.id: each.messages[-1].content for each in logged_questions(log)} if log.is_file() else {}
    for row in answers:
        question = asked.get(row.item) or asked.get(row.item.rpartition("#")[0], "")
        turn = Turn(
            question=truncated(question),
            text=truncated(row.text),
            reasoning=truncated(row.reasoning),
            stop_reason=row.stop_reason,
            judges=tuple(replies.get(row.item, ())),
        )
        domain = f"{row.set}, {row.domain}" if row.set != row.domain else row.domain
        scored = tuple(scores.by_item.get(row.item, ()))
        yield TranscriptEntry(seed=seed, item=row.item, domain=domain, turns=(turn,), scores=scored)
