"""Lay out the evaluation tasks of a report: the table of arms by tasks, and one section for each task."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from midspec.core.errors import plural
from midspec.core.records import Estimate, ReasonShare
from midspec.report._data import ArmInfo, ReportData
from midspec.report._format import is_share, number, unit
from midspec.report._tables import Cell, letters_of
from midspec.report._task_data import ArmStatus, Column, CorrectedEstimate, LogLocation, PowerAnalysis, TaskReport

VIEWER = "http://127.0.0.1:7575"
"""Where `inspect view` shows logs unless it is told another port."""

_SIDES = {"misaligned": "For misaligned conduct", "aligned": "For aligned conduct", "neutral": "Neutral"}


class TaskTable(NamedTuple):
    """Arms by evaluation tasks: a group of columns for each task."""

    groups: tuple[tuple[str, int], ...]
    columns: tuple[Column, ...]
    rows: tuple[tuple[ArmInfo, tuple[Cell, ...]], ...]
    notes: tuple[tuple[str, str], ...]


def is_of_task(data: ReportData, estimate: Estimate) -> bool:
    """Return whether an estimate is over a set of an evaluation task, and not over pairs to choose from."""
    return any(estimate.set == each.name or estimate.set.startswith(f"{each.name}/") for each in data.eval_tasks)


def task_table(data: ReportData) -> TaskTable:
    """Return every arm's scores on every task's main measures."""
    columns = [(eval_task, column) for eval_task in data.eval_tasks for column in eval_task.columns]
    scores = {(each.name, one.arm, one.set, one.measure): one for each in data.eval_tasks for one in each.scores}
    letters = letters_of(scores.values())
    rows = []
    for arm in data.arms:
        row = [scores.get((eval_task.name, arm.name, column.set, column.measure)) for eval_task, column in columns]
        rows.append((arm, tuple(Cell(one, letters.get(one.note, "") if one else "") for one in row)))
    groups = tuple((eval_task.title, len(eval_task.columns)) for eval_task in data.eval_tasks if eval_task.columns)
    notes = tuple((letter, text) for text, letter in letters.items())
    return TaskTable(groups, tuple(column for _, column in columns), tuple(rows), notes)


class _Status(NamedTuple):
    """How one arm's answers ended, with the score over them."""

    arm: ArmInfo
    status: ArmStatus
    score: Estimate | None


class TaskView(NamedTuple):
    """One task as its section shows it."""

    eval_task: TaskReport
    anchor: str
    status_rates: tuple[str, ...]
    status: tuple[_Status, ...]
    corrected_rates: tuple[CorrectedEstimate, ...]
    corrected_contrasts: tuple[CorrectedEstimate, ...]
    clause_arms: tuple[str, ...]
    power: tuple[str, ...]
    log_root: str
    links: tuple[tuple[LogLocation, str], ...]


def task_views(data: ReportData) -> tuple[TaskView, ...]:
    """Return each task's section."""
    arms = {arm.name: arm for arm in data.arms}
    return tuple(_task_view(eval_task, arms, index) for index, eval_task in enumerate(data.eval_tasks, start=1))


def _task_view(eval_task: TaskReport, arms: Mapping[str, ArmInfo], index: int) -> TaskView:
    def score(status: ArmStatus) -> Estimate | None:
        """Return the main measure's estimate over the answers that `status` counts."""
        own = [one for one in eval_task.scores if (one.arm, one.measure) == (status.arm, eval_task.main_measure)]
        return next((one for one in own if not status.set or one.set == f"{eval_task.name}/{status.set}"), None)

    in_clauses = {name for clause in eval_task.clauses for name in clause.means}
    # The folder that holds the logs of all arms: one `inspect view` shows them all from there.
    log_root = posixpath.commonpath([log.folder for log in eval_task.logs]) if eval_task.logs else ""
    paths = [posixpath.relpath(posixpath.join(log.folder, log.file), log_root) for log in eval_task.logs]
    return TaskView(
        eval_task=eval_task,
        anchor=f"task-{index}",
        status_rates=tuple(dict.fromkeys(name for one in eval_task.status for name in one.rates)),
        status=tuple(_Status(arms[one.arm], one, score(one)) for one in eval_task.status if one.arm in arms),
        corrected_rates=tuple(one for one in eval_task.corrected if one.plain.kind == "rate"),
        corrected_contrasts=tuple(one for one in eval_task.corrected if one.plain.kind == "contrast"),
        clause_arms=tuple(name for name in arms if name in in_clauses),
        power=power_sentences(eval_task.power) if eval_task.power else (),
        log_root=log_root,
        links=tuple((log, f"{VIEWER}/#/logs/{quote(path)}") for log, path in zip(eval_task.logs, paths, strict=True)),
    )


def power_sentences(found: PowerAnalysis) -> tuple[str, ...]:
    """Say what the design can detect: first with this run's samples, then what each stated difference needs."""
    units = unit(found.measure)
    samples = plural(found.n_repeats, "sample")
    detectable = f"a true difference of {number(found.smallest, found.measure)} {units} 4 times in 5"
    detectable += ", and smaller ones less often"
    if is_share(found.measure) and found.smallest > 1:
        detectable = "no true difference at all 4 times in 5"
    sentences = [f"{found.n_cells} questions, {samples} of each arm to each, find {detectable}."]
    for one in found.needed:
        size = number(one.difference, found.measure).removesuffix(".0")
        cells = "more than a million questions" if one.n_cells is None else f"{one.n_cells:,} questions"
        needs = f"{cells} of {samples} each"
        if found.within_sd is not None and one.n_repeats is None:
            needs = f"no number of samples is enough with these {found.n_cells} questions; it takes {needs}"
        elif found.within_sd is not None and one.n_repeats is not None:
            needs = f"{plural(one.n_repeats, 'sample')} to each of these {found.n_cells} questions, or {needs}"
        sentences.append(
            f"To see a difference of {size} {units} with 80% power: {needs}. Here the power is {one.power:.0%}."
        )
    return tuple(sentences)


class ReasonTable(NamedTuple):
    """One table of reasons: for misaligned, aligned or neutral conduct; a share for each arm, or `None`."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[tuple[str, tuple[ReasonShare | None, ...]], ...]


def reason_tables(data: ReportData) -> tuple[ReasonTable, ...]:
    """Return the reasons of each side that has some, in the order in which they were found."""
    shares = data.reasons.shares if data.reasons else ()
    arms = tuple(dict.fromkeys(one.arm for one in shares))
    by_cluster = {(one.cluster, one.arm): one for one in shares}
    tables = []
    for side, title in _SIDES.items():
        clusters = {one.cluster: one.name for one in shares if one.side == side}
        rows = tuple((name, tuple(by_cluster.get((key, arm)) for arm in arms)) for key, name in clusters.items())
        if rows:
            tables.append(ReasonTable(title, arms, rows))
    return tuple(tables)
