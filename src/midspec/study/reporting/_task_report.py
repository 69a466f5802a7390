"""What the report shows of the exams that a study's arms took, gathered from their steps.

Enter: the study, the folders and records of its steps, the estimates, calibrations. Leaves one `TaskReport` an exam.
Rates over all sets of an exam are made here, from the same rows one a question as the analysis makes those of each set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev

from midspec.analysis import Spread, cells_for, power_over_cells, rates, repeats_for, smallest_difference, spread_of
from midspec.core.artifact import read_rows
from midspec.core.records import Estimate, JudgeCalibration, Record, ScoreRow
from midspec.evals import Question, logged_questions
from midspec.report import (
    ArmStatus,
    ClauseRow,
    Column,
    Grid,
    GridCell,
    RequiredSampleSize,
    PowerAnalysis,
    TaskReport,
    is_share,
)
from midspec.study._config import StudyConfig
from midspec.study.reporting._judges import task_agreements, corrected_estimates, judged_measures, judge_reliabilities
from midspec.study.reporting._settings import task_setting_differences
from midspec.study.reporting._side_by_side import transcript_comparisons, log_locations
from midspec.study.reporting._task_runs import STATUSES, TaskResult, main_measures, read_task_result, task_folders

_TITLES = {"agentic_misalignment": "Agentic misalignment", "spec_qa": "Spec QA"}
_PANEL, _CONTROL = "panel_", "-control"
_TARGETS = {
    "classifier_verdict": "judged harmful",
    "harmful": "judged harmful, and a call that can do it went out",
    "qa_score": "1 to 10",
}
_DIFFERENCES = {"qa_score": (0.5, 1.0, 2.0)}
_SHARES = (0.05, 0.1, 0.2)


def is_of_tasks(config: StudyConfig, name: str) -> bool:
    """Whether a set is one of an exam's."""
    return name.partition("/")[0] in config.evals.tasks and "/" in name


def task_reports(
    config: StudyConfig,
    folders: Mapping[str, Path],
    records: Mapping[str, Record],
    estimates: tuple[Sequence[Estimate], Sequence[Estimate]],
    calibrations: Sequence[JudgeCalibration],
    seed: int,
) -> tuple[TaskReport, ...]:
    """One entry for each exam that was taken, in the study's order.

    Args:
        config: the study.
        folders: of its steps, by name.
        records: of its steps, by name.
        estimates: rates and contrasts of the analysis.
        calibrations: what is known of judges.
        seed: whose transcripts are shown.
    """
    names = {folder: name for name, folder in folders.items()}
    asked = task_folders(config.evals.tasks, config.arms, config.seeds, folders)
    found = []
    for eval_task, places in asked.items():
        took = [read_task_result(eval_task, arm, one, folder, records[names[folder]]) for arm, one, folder in places]
        if took:
            found.append(_report(took, config, estimates, calibrations, seed, folders["analysis"].parent.parent))
    return tuple(found)


def _report(
    took: Sequence[TaskResult],
    config: StudyConfig,
    estimates: tuple[Sequence[Estimate], Sequence[Estimate]],
    calibrations: Sequence[JudgeCalibration],
    seed: int,
    run: Path,
) -> TaskReport:
    eval_task, measures = took[0].eval_task, main_measures(took[0].eval_task, took[0].measures)
    main, sets = measures[0], _sets(took)
    columns = _columns(eval_task, sets, measures)
    scores = tuple(_scores(took, columns, estimates[0], config.report.level))
    judged = judged_measures(took)
    judges = judge_reliabilities(took, judged, calibrations) if judged else ()
    questions = logged_questions(_log(took[0]))
    contrasts = [one for one in estimates[1] if one.set.partition("/")[0] == eval_task]
    shown = [each for each in took if each.seed == seed]
    return TaskReport(
        name=eval_task,
        title=_TITLES.get(eval_task, eval_task.removeprefix(_PANEL).replace("_", " ").capitalize()),
        main_measure=main,
        columns=columns,
        scores=scores,
        status=tuple(_statuses(took, main, sets)),
        grid=_grid(took, main),
        transcript_comparisons=transcript_comparisons(
            shown, main, config.report.samples, {each.id: each.messages[-1].content for each in questions}
        ),
        log_locations=log_locations(took, run),
        judges=judges,
        corrected_estimates=corrected_estimates([*scores, *contrasts], judges, judged),
        agreements=task_agreements(took, judged, config.report.level) if judged else (),
        differences=task_setting_differences(took, config),
        power=_power(took, main),
        clauses=_clauses(took, main, [each for each in questions if each.clause_ids]),
    )


def _log(each: TaskResult) -> Path:
    return each.folder / "logs" / str(each.record.execution.extra["log"])


def _sets(took: Sequence[TaskResult]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(samples.set for each in took for samples in each.samples.values()))


def _columns(eval_task: str, sets: Sequence[str], measures: Sequence[str]) -> tuple[Column, ...]:
    """A column for each main measure over all sets; where a set has its control, one for each of the two."""
    if not any(f"{name}{_CONTROL}" in sets for name in sets):
        whole = f"{eval_task}/{sets[0]}" if len(sets) == 1 else eval_task
        told = [(each, _TARGETS.get(each, "")) for each in measures]
        return tuple(Column(title=_words(name), set=whole, measure=name, target=target) for name, target in told)
    return tuple(
        Column(title=_words(measure), set=f"{eval_task}/{name}", measure=measure, control=name.endswith(_CONTROL))
        for measure in measures
        for name in sets
    )


def _words(measure: str) -> str:
    return measure.replace("_", " ")


def _scores(
    took: Sequence[TaskResult], columns: Sequence[Column], estimates: Sequence[Estimate], level: float
) -> Iterator[Estimate]:
    """The estimates of the columns: those of the analysis, and those over all sets made the same way."""
    eval_task = took[0].eval_task
    for column in columns:
        if column.set == eval_task:
            yield from rates([row for each in took for row in each.pooled(column.measure, eval_task)], level=level)
        else:
            yield from (one for one in estimates if (one.set, one.measure) == (column.set, column.measure))


def _statuses(took: Sequence[TaskResult], main: str, sets: Sequence[str]) -> Iterator[ArmStatus]:
    """A row for each arm, and for each set where one is the control of another."""
    apart = any(name.endswith(_CONTROL) for name in sets)
    for arm in dict.fromkeys(each.arm for each in took):
        mine = [each for each in took if each.arm == arm]
        for group in [(name,) for name in sets] if apart else [tuple(sets)]:
            yield _status(arm, mine, main, group, group[0] if apart else "")


def _status(arm: str, mine: Sequence[TaskResult], main: str, sets: Sequence[str], shown: str) -> ArmStatus:
    values = [
        value
        for each in mine
        for samples in each.samples.values()
        if samples.set in sets
        for value in samples.values.get(main, ())
    ]
    unscored: Counter[str] = Counter()
    for each in mine:
        for name in sets:
            unscored.update(each.unscored.get((name, main), {}))
    named = [name for name in STATUSES if name in mine[0].measures and name != main]
    return ArmStatus(
        arm=arm,
        set=shown,
        measure=main,
        n_asked=len(values),
        n_scored=sum(value is not None for value in values),
        unscored=dict(unscored.most_common()),
        rates={name: _rate([each.sums.get((one, name), (0.0, 0)) for each in mine for one in sets]) for name in named},
    )


def _rate(sums: Sequence[tuple[float, int]]) -> float | None:
    n = sum(count for _, count in sums)
    return round(sum(total for total, _ in sums) / n, 6) if n else None


# The grid ------------------------------------------------------------------------------------------------------
def _grid(took: Sequence[TaskResult], main: str) -> Grid | None:
    """Domains that are `<set>/<row>` make a grid: sets across, rows down."""
    cells: dict[tuple[str, str, str], list[list[float | None]]] = {}
    for each in took:
        for samples in each.samples.values():
            column, mark, row = samples.domain.partition("/")
            if not mark or column != samples.set:
                return None
            cells.setdefault((each.arm, row, column), []).append(samples.values.get(main, []))
    if not cells or not is_share(main):
        return None
    return Grid(
        measure=main,
        rows=tuple(dict.fromkeys(row for _, row, _ in cells)),
        columns=tuple(dict.fromkeys(column for _, _, column in cells)),
        arms=tuple(dict.fromkeys(arm for arm, _, _ in cells)),
        cells=tuple(_cell(*where, seeds) for where, seeds in cells.items()),
    )


def _cell(arm: str, row: str, column: str, seeds: Sequence[Sequence[float | None]]) -> GridCell:
    known = [[value for value in values if value is not None] for values in seeds]
    means = [fmean(values) for values in known if values]
    return GridCell(
        arm=arm,
        row=row,
        column=column,
        value=round(fmean(means), 6) if means else None,
        n_scored=sum(map(len, known)),
        n_asked=sum(map(len, seeds)),
    )


# Power ---------------------------------------------------------------------------------------------------------
def _power(took: Sequence[TaskResult], main: str) -> PowerAnalysis | None:
    """What the design can see, from what varies between and within its own cells, over all pairs of arms."""
    if not is_share(main) and main not in _DIFFERENCES:
        return None
    n_repeats = took[0].n_repeats
    found = [
        spread
        for plus, minus in combinations(took, 2)
        if plus.seed == minus.seed and (spread := _spread(plus, minus, main)) is not None
    ]
    between = fmean(each.between_sd**2 for each in found) ** 0.5 if found else 0.0
    within = fmean(each.within_sd**2 for each in found) ** 0.5 if found else 0.0
    n_cells = max(len(each.samples) for each in took)
    if not between + within or n_cells < 2:
        return None
    spread = Spread(between, within)
    return PowerAnalysis(
        measure=main,
        n_cells=n_cells,
        n_repeats=n_repeats,
        between_sd=between,
        within_sd=within if n_repeats > 1 else None,
        smallest=smallest_difference(spread, n_cells=n_cells, n_repeats=n_repeats),
        needed=tuple(_needed(each, spread, n_cells, n_repeats) for each in _DIFFERENCES.get(main, _SHARES)),
    )


def _spread(plus: TaskResult, minus: TaskResult, main: str) -> Spread | None:
    shared = [question for question in plus.samples if question in minus.samples]
    sides = [
        [[value for value in each.samples[question].values.get(main, ()) if value is not None] for question in shared]
        for each in (plus, minus)
    ]
    if plus.n_repeats > 1:
        return spread_of(sides[0], sides[1])
    # One sample a question: what varies within and between can't be told apart, and need not be.
    apart = [a[0] - b[0] for a, b in zip(*sides, strict=True) if a and b]
    return Spread(stdev(apart), 0.0) if len(apart) > 1 else None


def _needed(difference: float, spread: Spread, n_cells: int, n_repeats: int) -> RequiredSampleSize:
    return RequiredSampleSize(
        difference=difference,
        n_repeats=repeats_for(difference, spread, n_cells=n_cells) if n_repeats > 1 else None,
        n_cells=cells_for(difference, spread, n_repeats=n_repeats),
        power=power_over_cells(difference, spread, n_cells=n_cells, n_repeats=n_repeats),
    )


# Clauses -------------------------------------------------------------------------------------------------------
def _clauses(took: Sequence[TaskResult], main: str, questions: Sequence[Question]) -> tuple[ClauseRow, ...]:
    """Each clause that questions ask about, by arm; the least learned first, by the mean over arms."""
    if not questions:
        return ()
    from midspec.evals.tasks.spec_qa import by_clause

    by_arm: dict[str, dict[str, list[tuple[float | None, int]]]] = {}
    about: dict[str, tuple[str, int]] = {}
    for each in took:
        rows = (row for row in read_rows(each.folder / "scores.jsonl", ScoreRow) if row.measure == main)
        for clause in by_clause(rows, questions, measure=main):
            about.setdefault(clause.clause_id, (clause.text, clause.n_questions))
            mine = by_arm.setdefault(clause.clause_id, {}).setdefault(each.arm, [])
            mine.append((clause.mean, clause.n_scored))
    found = [
        ClauseRow(
            clause_id=name,
            text=about[name][0],
            n_questions=about[name][1],
            means={arm: _mean([mean for mean, _ in seeds]) for arm, seeds in arms.items()},
            n_scored={arm: sum(count for _, count in seeds) for arm, seeds in arms.items()},
        )
        for name, arms in by_arm.items()
    ]
    return tuple(sorted(found, key=_learned))


def _learned(clause: ClauseRow) -> tuple[bool, float]:
    mean = _mean(list(clause.means.values()))
    return (mean is None, mean or 0.0)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
