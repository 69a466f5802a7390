"""Exams as the page lays them out: the big table of arms x evaluations, and what stands below it for each exam.

Enters: `ReportData` with exams. Leave: rows and cells for the template, every number with its count and its footnote.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from midspec.core.records import Estimate, ReasonShare, Share
from midspec.report._data import ArmInfo, ReportData
from midspec.report._task_data import ArmStatus, Column, Corrected, LogPlace, PowerSays, TaskReport
from midspec.report._words import is_share, number, unit

VIEWER = "http://127.0.0.1:7575"
"""Where `inspect view` shows logs unless it is told another port."""

_SIDES = {"misaligned": "For misaligned conduct", "aligned": "For aligned conduct", "neutral": "Neutral"}


class _Cell(NamedTuple):
    """An estimate of the big table with the letter of its footnote; `None` was not asked."""

    estimate: Estimate | None
    note: str


class _Row(NamedTuple):
    arm: ArmInfo
    cells: tuple[_Cell, ...]


class TaskTable(NamedTuple):
    """Arms x evaluations: a group of columns for each exam."""

    groups: tuple[tuple[str, int], ...]
    columns: tuple[Column, ...]
    rows: tuple[_Row, ...]
    notes: tuple[tuple[str, str], ...]


class _Status(NamedTuple):
    """How one arm's answers ended, beside the score that they are behind."""

    arm: ArmInfo
    status: ArmStatus
    score: Estimate | None


class TaskView(NamedTuple):
    """One exam as its section shows it."""

    eval_task: TaskReport
    anchor: str
    status_rates: tuple[str, ...]
    status: tuple[_Status, ...]
    corrected_rates: tuple[Corrected, ...]
    corrected_contrasts: tuple[Corrected, ...]
    clause_arms: tuple[str, ...]
    power: tuple[str, ...]
    log_root: str
    links: tuple[tuple[LogPlace, str], ...]


def is_of_task(data: ReportData, estimate: Estimate) -> bool:
    """Whether an estimate is over a set of an exam, and not over pairs to choose from."""
    return any(
        estimate.set == eval_task.name or estimate.set.startswith(f"{eval_task.name}/") for eval_task in data.eval_tasks
    )


def task_table(data: ReportData) -> TaskTable:
    """Every arm on every exam's main measures."""
    columns = [(eval_task, column) for eval_task in data.eval_tasks for column in eval_task.columns]
    found = {
        (eval_task.name, one.arm, one.set, one.measure): one
        for eval_task in data.eval_tasks
        for one in eval_task.scores
    }
    texts = dict.fromkeys(one.note for one in found.values() if one.note)
    letters = {text: _letters(index) for index, text in enumerate(texts)}

    def cell(eval_task: TaskReport, column: Column, arm: str) -> _Cell:
        one = found.get((eval_task.name, arm, column.set, column.measure))
        return _Cell(one, letters.get(one.note, "") if one else "")

    rows = [_Row(arm, tuple(cell(eval_task, column, arm.name) for eval_task, column in columns)) for arm in data.arms]
    groups = tuple((eval_task.title, len(eval_task.columns)) for eval_task in data.eval_tasks if eval_task.columns)
    notes = tuple((letter, text) for text, letter in letters.items())
    return TaskTable(groups, tuple(column for _, column in columns), tuple(rows), notes)


def _letters(index: int) -> str:
    head, last = divmod(index, 26)
    return (_letters(head - 1) if head else "") + "abcdefghijklmnopqrstuvwxyz"[last]


def task_views(data: ReportData) -> tuple[TaskView, ...]:
    """Each exam's section."""
    arms = {arm.name: arm for arm in data.arms}
    return tuple(_view(eval_task, arms, index) for index, eval_task in enumerate(data.eval_tasks, start=1))


def _view(eval_task: TaskReport, arms: Mapping[str, ArmInfo], index: int) -> TaskView:
    return TaskView(
        eval_task=eval_task,
        anchor=f"exam-{index}",
        status_rates=tuple(dict.fromkeys(name for one in eval_task.status for name in one.rates)),
        status=tuple(
            _Status(arms[one.arm], one, _score(eval_task, one)) for one in eval_task.status if one.arm in arms
        ),
        corrected_rates=tuple(one for one in eval_task.corrected if one.plain.kind == "rate"),
        corrected_contrasts=tuple(one for one in eval_task.corrected if one.plain.kind == "contrast"),
        clause_arms=_in_order(arms, (name for clause in eval_task.clauses for name in clause.means)),
        power=power_lines(eval_task.power) if eval_task.power else (),
        log_root=_log_root(eval_task.logs),
        links=tuple((log, _link(log, _log_root(eval_task.logs))) for log in eval_task.logs),
    )


def _log_root(logs: Sequence[LogPlace]) -> str:
    """The folder that holds the logs of all arms: what one `inspect view` shows them all from."""
    return posixpath.commonpath([log.folder for log in logs]) if logs else ""


def _link(log: LogPlace, root: str) -> str:
    """Where a viewer of all logs shows this one."""
    place = posixpath.relpath(posixpath.join(log.folder, log.file), root)
    return f"{VIEWER}/#/logs/{quote(place)}"


def _score(eval_task: TaskReport, status: ArmStatus) -> Estimate | None:
    """The score of an arm's main measure over the answers whose ends a status tells."""
    own = [one for one in eval_task.scores if (one.arm, one.measure) == (status.arm, eval_task.main_measure)]
    return next((one for one in own if not status.set or one.set == f"{eval_task.name}/{status.set}"), None)


def _in_order(arms: Mapping[str, ArmInfo], named: Iterable[str]) -> tuple[str, ...]:
    there = set(named)
    return tuple(name for name in arms if name in there)


def power_lines(says: PowerSays) -> tuple[str, ...]:
    """What the design can see, in sentences: first this run, then what stated differences need."""
    units = unit(says.measure)
    least = number(says.smallest, says.measure)
    design = f"{says.n_cells} questions, {_samples(says.n_repeats)} of each arm to each,"
    found = f"a true difference of {least} {units} 4 times in 5, and smaller ones less often"
    if is_share(says.measure) and says.smallest > 1:
        found = "no true difference at all 4 times in 5"
    lines = [f"{design} find {found}."]
    for one in says.needed:
        size = number(one.difference, says.measure).removesuffix(".0")
        cells = "more than a million questions" if one.n_cells is None else f"{one.n_cells:,} questions"
        more = f"{cells} of {_samples(says.n_repeats)} each"
        if says.within_sd is None:
            needs = more
        elif one.n_repeats is None:
            needs = f"no number of samples is enough with these {says.n_cells} questions; it takes {more}"
        else:
            needs = f"{_samples(one.n_repeats)} to each of these {says.n_cells} questions, or {more}"
        told = f"To see a difference of {size} {units} with 80% power: {needs}."
        lines.append(f"{told} Here the power is {one.power:.0%}.")
    return tuple(lines)


def _samples(count: int) -> str:
    return f"{count:,} sample" if count == 1 else f"{count:,} samples"


class ReasonSide(NamedTuple):
    """One table of reasons: for misaligned, aligned or neutral conduct; a share for each arm, or `None`."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[ReasonShare | None, ...]], ...]


def reason_sides(data: ReportData) -> tuple[ReasonSide, ...]:
    """The reasons of each side that has some, in the order in which they were found."""
    shares = data.reasons.shares if data.reasons else ()
    arms = tuple(dict.fromkeys(one.arm for one in shares))
    found = {(one.cluster, one.arm): one for one in shares}
    sides = []
    for side, title in _SIDES.items():
        clusters = {one.cluster: one.name for one in shares if one.side == side}
        rows = tuple((name, tuple(found.get((key, arm)) for arm in arms)) for key, name in clusters.items())
        if rows:
            sides.append(ReasonSide(title, arms, rows))
    return tuple(sides)


def share_words(share: Share) -> str:
    """A share of counted things as it is read: `3.1% (1.1 to 8.8), 3 of 97`."""
    if not share.of or share.low is None or share.high is None:
        return "none to count"
    rate = 100 * share.n / share.of
    return f"{rate:.1f}% ({100 * share.low:.1f} to {100 * share.high:.1f}), {share.n} of {share.of}"


def value_words(value: float | None, measure: str) -> str:
    """A verdict about one answer: yes, no, a number, or nothing."""
    if value is None:
        return "no score"
    if is_share(measure) and value in {0.0, 1.0}:
        return "yes" if value else "no"
    return number(value, measure)
