"""The evaluation tasks of a study as the report shows them, one `TaskReport` a task.

Rates over all sets of a task are estimated here, from the same rows, one a question, as the analysis estimates those of
each set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev

from midspec.analysis import Spread, cells_for, power_over_cells, rates, repeats_for, smallest_difference, spread_of
from midspec.core.artifact import read_rows
from midspec.core.records import Estimate, JudgeCalibration, Judgement, ScoreRow, TaskAnswer
from midspec.evals import Question, logged_questions, task_named
from midspec.report import (
    ArmStatus,
    ClauseRow,
    Column,
    Grid,
    GridCell,
    JudgeReply,
    LogLocation,
    MeasureValue,
    PowerAnalysis,
    RequiredSampleSize,
    TaskReport,
    Transcript,
    TranscriptComparison,
    is_share,
)
from midspec.study._config import StudyConfig
from midspec.study.reporting._judges import (
    corrected_estimates,
    judge_name,
    judge_reliabilities,
    judged_measures,
    task_agreements,
)
from midspec.study.reporting._results import STATUSES, RunResults, TaskResult, main_measures, read_task_result
from midspec.study.reporting._warnings import task_setting_differences

_CONTROL = "-control"
_SHARE_DIFFERENCES = (0.05, 0.1, 0.2)
_MAX_LETTERS = 8_000


def is_of_tasks(config: StudyConfig, name: str) -> bool:
    """Return whether a set is one of an evaluation task's."""
    return name.partition("/")[0] in config.evals.tasks and "/" in name


def task_reports(
    config: StudyConfig,
    run: RunResults,
    estimates: Sequence[Estimate],
    contrasts: Sequence[Estimate],
    calibrations: Sequence[JudgeCalibration],
    seed: int,
) -> tuple[TaskReport, ...]:
    """Return one entry for each task with results, in the study's order; transcripts are those of `seed`."""
    reports = []
    for eval_task in config.evals.tasks:
        results = [
            read_task_result(name, arm, one, step)
            for (arm, name, one), step in run.task_evals.items()
            if name == eval_task
        ]
        if results:
            own = [one for one in contrasts if one.set.partition("/")[0] == eval_task]
            reports.append(_task_report(results, config, estimates, own, calibrations, seed, run.run_folder))
    return tuple(reports)


def _task_report(
    results: Sequence[TaskResult],
    config: StudyConfig,
    estimates: Sequence[Estimate],
    contrasts: Sequence[Estimate],
    calibrations: Sequence[JudgeCalibration],
    seed: int,
    run_folder: Path,
) -> TaskReport:
    eval_task, measures = results[0].eval_task, main_measures(results[0].eval_task, results[0].measures)
    main, level = measures[0], config.report.level
    sets = tuple(dict.fromkeys(samples.set for each in results for samples in each.samples.values()))
    columns = _columns(eval_task, sets, measures)
    scores: list[Estimate] = []
    for column in columns:
        if column.set == eval_task:
            # Over all sets: estimated as the analysis estimates those of each set.
            pooled = [row for each in results for row in each.pooled(column.measure, eval_task)]
            scores += rates(pooled, level=level)
        else:
            scores += [one for one in estimates if (one.set, one.measure) == (column.set, column.measure)]
    judged = judged_measures(results)
    judges = judge_reliabilities(results, judged, calibrations) if judged else ()
    questions = logged_questions(results[0].log)
    user_messages = {each.id: each.messages[-1].content for each in questions}
    of_seed = [each for each in results if each.seed == seed]
    return TaskReport(
        name=eval_task,
        title=task_named(eval_task).title or eval_task.removeprefix("panel_").replace("_", " ").capitalize(),
        main_measure=main,
        columns=columns,
        scores=tuple(scores),
        status=tuple(_statuses(results, main, sets)),
        grid=_grid(results, main),
        beside=transcript_comparisons(of_seed, main, config.report.samples, user_messages),
        logs=tuple(
            LogLocation(
                arm=each.arm,
                seed=each.seed,
                folder=(each.step.folder / "logs").relative_to(run_folder).as_posix(),
                file=str(each.step.record.execution.extra.get("log") or ""),
            )
            for each in results
        ),
        judges=judges,
        corrected=corrected_estimates([*scores, *contrasts], judges, judged),
        agreements=task_agreements(results, judged, level) if judged else (),
        differences=task_setting_differences(results, config),
        power=_power(results, main),
        clauses=_clauses(results, main, [each for each in questions if each.clause_ids], level),
        harms=tuple(sorted(task_named(eval_task).harms)),
    )


def _columns(eval_task: str, sets: Sequence[str], measures: Sequence[str]) -> tuple[Column, ...]:
    """Return a column for each main measure over all sets; where a set has a control, one for each of the two."""
    titles = {measure: measure.replace("_", " ") for measure in measures}
    if not any(f"{name}{_CONTROL}" in sets for name in sets):
        whole = f"{eval_task}/{sets[0]}" if len(sets) == 1 else eval_task
        targets = task_named(eval_task).targets
        return tuple(Column(title=titles[m], set=whole, measure=m, target=targets.get(m, "")) for m in measures)
    return tuple(
        Column(title=titles[measure], set=f"{eval_task}/{name}", measure=measure, control=name.endswith(_CONTROL))
        for measure in measures
        for name in sets
    )


def _statuses(results: Sequence[TaskResult], main: str, sets: Sequence[str]) -> Iterator[ArmStatus]:
    """Yield a row for each arm, and for each set where one is the control of another."""
    apart = any(name.endswith(_CONTROL) for name in sets)
    for arm in dict.fromkeys(each.arm for each in results):
        mine = [each for each in results if each.arm == arm]
        for group in [(name,) for name in sets] if apart else [tuple(sets)]:
            yield _status(mine, main, group, group[0] if apart else "")


def _status(results: Sequence[TaskResult], main: str, sets: Sequence[str], label: str) -> ArmStatus:
    """Count how one arm's answers in `sets` ended."""
    of_sets = [samples for each in results for samples in each.samples.values() if samples.set in sets]
    unscored: Counter[str] = Counter()
    for each in results:
        for name in sets:
            unscored.update(each.unscored.get((name, main), {}))
    means: dict[str, float | None] = {}
    for status in STATUSES:
        if status in results[0].measures and status != main:
            sums = [each.sums.get((name, status), (0.0, 0)) for each in results for name in sets]
            n = sum(count for _, count in sums)
            means[status] = round(sum(total for total, _ in sums) / n, 6) if n else None
    return ArmStatus(
        arm=results[0].arm,
        set=label,
        measure=main,
        n_asked=sum(len(samples.values.get(main, ())) for samples in of_sets),
        n_scored=sum(len(samples.scored(main)) for samples in of_sets),
        unscored=dict(unscored.most_common()),
        rates=means,
    )


def _grid(results: Sequence[TaskResult], main: str) -> Grid | None:
    """Return the grid of domains that are `<set>/<row>`: sets across, rows down; `None` for any other domains."""
    cells: dict[tuple[str, str, str], list[list[float | None]]] = {}
    for each in results:
        for samples in each.samples.values():
            column, slash, row = samples.domain.partition("/")
            if not slash or column != samples.set:
                return None
            cells.setdefault((each.arm, row, column), []).append(samples.values.get(main, []))
    if not cells or not is_share(main):
        return None
    grid_cells = []
    for (arm, row, column), seeds in cells.items():
        scored = [[value for value in values if value is not None] for values in seeds]
        means = [fmean(values) for values in scored if values]
        value = round(fmean(means), 6) if means else None
        n_scored, n_asked = sum(map(len, scored)), sum(map(len, seeds))
        grid_cells.append(GridCell(arm=arm, row=row, column=column, value=value, n_scored=n_scored, n_asked=n_asked))
    return Grid(
        measure=main,
        rows=tuple(dict.fromkeys(row for _, row, _ in cells)),
        columns=tuple(dict.fromkeys(column for _, _, column in cells)),
        arms=tuple(dict.fromkeys(arm for arm, _, _ in cells)),
        cells=tuple(grid_cells),
    )


def _power(results: Sequence[TaskResult], main: str) -> PowerAnalysis | None:
    """Estimate what the design can detect, from the variation between and within its own cells, over pairs of arms."""
    differences = task_named(results[0].eval_task).differences.get(main, _SHARE_DIFFERENCES if is_share(main) else ())
    if not differences:
        return None
    n_repeats = results[0].n_repeats
    pairs = [_spread(plus, minus, main) for plus, minus in combinations(results, 2) if plus.seed == minus.seed]
    spreads = [each for each in pairs if each is not None]
    between = fmean(each.between_sd**2 for each in spreads) ** 0.5 if spreads else 0.0
    within = fmean(each.within_sd**2 for each in spreads) ** 0.5 if spreads else 0.0
    n_cells = max(len(each.samples) for each in results)
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
        needed=tuple(
            RequiredSampleSize(
                difference=difference,
                n_repeats=repeats_for(difference, spread, n_cells=n_cells) if n_repeats > 1 else None,
                n_cells=cells_for(difference, spread, n_repeats=n_repeats),
                power=power_over_cells(difference, spread, n_cells=n_cells, n_repeats=n_repeats),
            )
            for difference in differences
        ),
    )


def _spread(plus: TaskResult, minus: TaskResult, main: str) -> Spread | None:
    shared = [question for question in plus.samples if question in minus.samples]
    first, second = ([each.samples[question].scored(main) for question in shared] for each in (plus, minus))
    if plus.n_repeats > 1:
        return spread_of(first, second)
    # With one sample a question, variation within and between cells can't be separated, and need not be.
    apart = [a[0] - b[0] for a, b in zip(first, second, strict=True) if a and b]
    return Spread(stdev(apart), 0.0) if len(apart) > 1 else None


def _clauses(
    results: Sequence[TaskResult], main: str, questions: Sequence[Question], level: float
) -> tuple[ClauseRow, ...]:
    """Return each clause that questions are about, by arm; the one that was learned least over all arms first."""
    if not questions:
        return ()
    from midspec.evals.tasks.spec_qa import by_clause

    by_arm: dict[str, dict[str, list[tuple[float | None, int]]]] = {}
    about: dict[str, tuple[str, int]] = {}
    for each in results:
        rows = (row for row in read_rows(each.step.folder / "scores.jsonl", ScoreRow) if row.measure == main)
        for clause in by_clause(rows, questions, measure=main):
            about.setdefault(clause.clause_id, (clause.text, clause.n_questions))
            mine = by_arm.setdefault(clause.clause_id, {}).setdefault(each.arm, [])
            mine.append((clause.mean, clause.n_scored))
    estimates = _clause_rates(results, main, questions, level) if is_share(main) else {}
    sign = -1.0 if main in task_named(results[0].eval_task).harms else 1.0
    ranked = []
    for name, arms in by_arm.items():
        means = {arm: _mean([mean for mean, _ in seeds]) for arm, seeds in arms.items()}
        n_scored = {arm: sum(count for _, count in seeds) for arm, seeds in arms.items()}
        text, n_questions = about[name]
        row = ClauseRow(
            clause_id=name,
            text=text,
            n_questions=n_questions,
            means=means,
            n_scored=n_scored,
            rates=tuple(estimates.get(name, ())),
        )
        overall = _mean(list(means.values()))
        ranked.append(((overall is None, sign * (overall or 0.0)), row))
    return tuple(row for _, row in sorted(ranked, key=lambda entry: entry[0]))


def _clause_rates(
    results: Sequence[TaskResult], main: str, questions: Sequence[Question], level: float
) -> dict[str, list[Estimate]]:
    """Estimate each arm's share for each clause, over its questions and seeds; a set's name is the clause here."""
    clauses = {f"{question.set}/{question.id}": dict.fromkeys(question.clause_ids) for question in questions}
    scores = [
        row.model_copy(update={"set": clause})
        for each in results
        for row in each.pooled(main, "")
        for clause in clauses.get(row.item, ())
    ]
    found: dict[str, list[Estimate]] = {}
    for one in rates(scores, level=level):
        found.setdefault(one.set, []).append(one)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def transcript_comparisons(
    results: Sequence[TaskResult], measure: str, n_shown: int, user_messages: Mapping[str, str]
) -> tuple[TranscriptComparison, ...]:
    """Return the questions with the largest difference between two arms, one a cell, with one sample of each arm.

    The difference alone decides which are shown. Results are of one seed; `user_messages` are the last, by question.
    """
    apart: dict[str, float | None] = {}
    domains: dict[str, str] = {}
    for question in dict.fromkeys(question for each in results for question in each.samples):
        present = [each.samples[question] for each in results if question in each.samples]
        means = [mean for samples in present if (mean := samples.mean(measure)) is not None]
        apart[question] = max(means) - min(means) if len(means) > 1 else None
        domains[question] = present[0].domain
    chosen: dict[str, str] = {}
    for question in sorted(apart, key=lambda question: -(apart[question] or 0.0)):
        chosen.setdefault(domains[question], question)
    shown = list(chosen.values())[:n_shown]
    answers: dict[str, list[Transcript]] = {question: [] for question in shown}
    for each in results:
        items = {question: _typical_item(each, question, measure) for question in shown if question in each.samples}
        transcripts = _transcripts(each, set(items.values()))
        for question, item in items.items():
            if item in transcripts:
                answers[question].append(transcripts[item])
    return tuple(
        TranscriptComparison(
            question=truncated(user_messages.get(question, "")),
            domain=domains[question],
            item=question,
            seed=results[0].seed,
            apart=apart[question],
            answers=tuple(answers[question]),
        )
        for question in shown
    )


def _typical_item(result: TaskResult, question: str, measure: str) -> str:
    """Return the first sample whose value is nearest to the arm's mean; the first of all where none has a value."""
    samples = result.samples[question]
    mean = samples.mean(measure)
    values = samples.values.get(measure, [None] * len(samples.items))
    distances = [float("inf") if value is None or mean is None else abs(value - mean) for value in values]
    return samples.items[distances.index(min(distances))]


def _transcripts(result: TaskResult, items: set[str]) -> dict[str, Transcript]:
    """Read the arm's answers to `items`, with all of their scores and the judges' replies."""
    verdicts: dict[str, list[MeasureValue]] = {}
    for row in read_rows(result.step.folder / "scores.jsonl", ScoreRow):
        if row.item in items:
            score = MeasureValue(measure=row.measure, value=row.value, unscored=row.unscored)
            verdicts.setdefault(row.item, []).append(score)
    replies: dict[str, list[JudgeReply]] = {}
    for each in read_rows(result.step.folder / "judgements.jsonl", Judgement):
        if each.item in items:
            reply = JudgeReply(judge=judge_name(each.judge), text=truncated(each.text), values=each.values)
            replies.setdefault(each.item, []).append(reply)
    return {
        answer.item: Transcript(
            arm=result.arm,
            item=answer.item,
            text=truncated(answer.text),
            reasoning=truncated(answer.reasoning),
            stop_reason=answer.stop_reason,
            verdicts=tuple(verdicts.get(answer.item, ())),
            judges=tuple(replies.get(answer.item, ())),
        )
        for answer in read_rows(result.step.folder / "answers.jsonl", TaskAnswer)
        if answer.item in items
    }


def truncated(text: str) -> str:
    """Cut a text that is too long for a page, and say what the log has more."""
    if len(text) <= _MAX_LETTERS:
        return text
    return f"{text[:_MAX_LETTERS]}\n[… {len(text) - _MAX_LETTERS:,} more letters stand in the log]"
