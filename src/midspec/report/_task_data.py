"""What a report shows of evaluation tasks, as pure data: scores, statuses, grid, transcripts, judges, power, clauses.

Texts are the models' own, unchanged; the page escapes them.
"""

from __future__ import annotations

import operator

from pydantic import Field

from midspec.core.records import Agreement, Citations, Estimate, JudgeCalibration, ReasonShare, Strict


class Column(Strict):
    """One column of the table of arms by tasks: a measure over a set, or over all sets of its task.

    Attributes:
        title: its heading.
        set: as estimates name it; the task's name where it is over all of its sets.
        measure: what is averaged.
        target: what a high value means, in words.
        control: whether it should be the same in all arms.
    """

    title: str
    set: str
    measure: str
    target: str = ""
    control: bool = False


class ArmStatus(Strict):
    """How the answers of one arm ended; asked = scored + unscored by reason, counted in samples over all seeds.

    Attributes:
        arm: whose answers.
        set: of which set; all of the task's where empty.
        measure: the measure that `n_scored` and `unscored` are of.
        n_asked: samples.
        n_scored: those with a value.
        unscored: reason -> samples without one.
        rates: status measure (tool calls, refusals, ...) -> its mean over the samples that have it.
    """

    arm: str
    set: str = ""
    measure: str
    n_asked: int
    n_scored: int
    unscored: dict[str, int] = Field(default_factory=dict)
    rates: dict[str, float | None] = Field(default_factory=dict)


class GridCell(Strict):
    """One cell of one arm: the mean over its scored samples (of the seeds' means), and how many there are."""

    arm: str
    row: str
    column: str
    value: float | None
    n_scored: int
    n_asked: int


class Grid(Strict):
    """A measure by two factors of the questions: goals down, scenarios across, a panel an arm."""

    measure: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    arms: tuple[str, ...]
    cells: tuple[GridCell, ...]


class JudgeReply(Strict):
    """One judge's reply, word for word."""

    judge: str
    text: str
    values: dict[str, float | None] = Field(default_factory=dict)


class MeasureValue(Strict):
    """A measure of one answer; `None` with the reason why there is no value."""

    measure: str
    value: float | None
    unscored: str | None = None


class Transcript(Strict):
    """One arm's answer to one question, with all of its scores and the judges' replies."""

    arm: str
    item: str
    text: str
    reasoning: str = ""
    stop_reason: str = ""
    verdicts: tuple[MeasureValue, ...] = ()
    judges: tuple[JudgeReply, ...] = ()


class TranscriptComparison(Strict):
    """One question and the arms' answers to it, side by side.

    Attributes:
        question: the user's last message.
        domain: its cell.
        item: its id.
        seed: the training seed of all these arms.
        apart: the largest difference between arms' means on this question, in the measure's own units.
        answers: one for each arm.
    """

    question: str
    domain: str
    item: str
    seed: int
    apart: float | None
    answers: tuple[Transcript, ...]


class LogLocation(Strict):
    """The log of one arm and seed: its folder, relative to the run's folder, and its file."""

    arm: str
    seed: int
    folder: str
    file: str


class JudgeReliability(Strict):
    """A judge of this task, and its calibration under the same rubric; `None` where it was not measured."""

    judge: str
    measure: str
    calibration: JudgeCalibration | None
    note: str = ""


class CorrectedEstimate(Strict):
    """A rate or contrast as judged, and corrected for the judges' errors."""

    plain: Estimate
    without_errors: Estimate


class SettingDifference(Strict):
    """A setting that is not the same in every arm: `values` is arms -> value."""

    field: str
    values: dict[str, str]


class RequiredSampleSize(Strict):
    """The sample size that a stated difference needs; `None` where no number is enough.

    Attributes:
        difference: in the measure's own units.
        n_repeats: samples of each arm a cell, with the present cells; not computed with one sample a cell.
        n_cells: cells, with the present samples a cell.
        power: with the present cells and samples.
    """

    difference: float
    n_repeats: int | None
    n_cells: int | None
    power: float


class PowerAnalysis(Strict):
    """What this design can detect, one seed an arm, from the variation between and within its own cells.

    Attributes:
        measure: the measure.
        n_cells: cells, each a question.
        n_repeats: samples of each arm a cell.
        between_sd: of the cells' true differences between two arms.
        within_sd: of one sample about its cell's rate; `None` with one sample a cell, where `between_sd` is of both.
        smallest: the smallest difference found with 80% power.
        needed: the sample sizes that some differences need.
    """

    measure: str
    n_cells: int
    n_repeats: int
    between_sd: float
    within_sd: float | None
    smallest: float
    needed: tuple[RequiredSampleSize, ...]


class ClauseRow(Strict):
    """A clause of a spec, and each arm's mean score on questions about it.

    Attributes:
        clause_id: of the spec's clause.
        text: of the clause, empty where the questions don't carry it.
        n_questions: number of questions about it.
        means: arm -> mean score, over seeds; `None` where nothing was scored.
        n_scored: arm -> number of answers with a score.
        rates: an estimate for each arm where the score is a share, over questions and seeds.
    """

    clause_id: str
    text: str
    n_questions: int
    means: dict[str, float | None]
    n_scored: dict[str, int]
    rates: tuple[Estimate, ...] = Field(default=(), exclude_if=operator.not_)


class TaskReport(Strict):
    """One evaluation task, all arms.

    Attributes:
        name: of the task.
        title: its heading.
        main_measure: the measure of its grid, transcripts and power.
        columns: of the table of arms by tasks.
        scores: estimates of the columns.
        status: how answers ended, for each arm.
        grid: scenarios and goals, where its questions have both.
        beside: questions on which the arms differ most, with answers.
        logs: for `inspect view`.
        judges: empty for a task without a judge.
        corrected: judged rates and contrasts, corrected for the judges' errors.
        agreements: how far several judges agree.
        differences: settings that are not the same in every arm.
        power: what could have been detected.
        clauses: those that were learned least first: by the lowest mean score, or the highest of a harm.
        harms: the measures of which more is worse.
    """

    name: str
    title: str
    main_measure: str
    columns: tuple[Column, ...]
    scores: tuple[Estimate, ...]
    status: tuple[ArmStatus, ...]
    grid: Grid | None = None
    beside: tuple[TranscriptComparison, ...] = ()
    logs: tuple[LogLocation, ...] = ()
    judges: tuple[JudgeReliability, ...] = ()
    corrected: tuple[CorrectedEstimate, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    differences: tuple[SettingDifference, ...] = ()
    power: PowerAnalysis | None = None
    clauses: tuple[ClauseRow, ...] = Field(default=(), exclude_if=operator.not_)
    harms: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)


class JudgingCost(Strict):
    """What judging was forecast to cost and did cost; not part of the report's data, since it is about the run."""

    label: str
    forecast_usd: float | None
    spent_usd: float | None


class Reasons(Strict):
    """Which reasons drove how many transcripts of each arm, how far judges agree, and which clauses are cited."""

    shares: tuple[ReasonShare, ...]
    agreements: tuple[Agreement, ...] = ()
    citations: tuple[Citations, ...] = ()


class SeamClause(Strict):
    """What a model knows of one clause; `gain` is of its margin over the control's, in nats a token."""

    id: str
    text: str
    knows: Estimate
    gain: Estimate


class SeamDelta(Strict):
    """How the documents changed the loss of answers to held-out pairs, against the control.

    Attributes:
        set: of the pairs.
        auc: how well the change tells a target's answer from the other: 0.5 not at all, 1 always, under 0.5 reversed.
        low, high: by a bootstrap over items and seeds.
        target, other: mean change of the loss, nats a token; below 0 it is cheaper than it was.
        n_items, n_seeds: that it is of.
    """

    set: str
    auc: float
    low: float
    high: float
    target: float
    other: float
    n_items: int
    n_seeds: int


class SeamProbe(Strict):
    """What one model right after its documents knows of one spec.

    Attributes:
        seam: the arm that the model is called by: the first that goes through it.
        arms: all that do.
        control: the arm or model that it is held against.
        spec: that was asked about.
        is_own: whether its documents are of that spec.
        knows: share of the probes whose own end is likelier than the foil.
        gain: of the margin over the control's, nats a token.
        clauses: of an own spec, each clause.
        deltas: of answers, set by set.
    """

    seam: str
    arms: tuple[str, ...]
    control: str
    spec: str
    is_own: bool
    knows: Estimate
    gain: Estimate
    clauses: tuple[SeamClause, ...] = ()
    deltas: tuple[SeamDelta, ...] = ()
