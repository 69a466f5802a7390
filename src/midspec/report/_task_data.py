"""What a report shows of exams, as pure data: scores, how answers ended, the grid, transcripts, judges, power, clauses.

Enters: nothing but what `study` gathered from a run. Leaves: frozen types that `ReportData` holds, so that the page's
data block says all that the page shows. Texts are models' words, unchanged; the page escapes them.
"""

from __future__ import annotations

import operator

from pydantic import Field

from midspec.core.records import Agreement, Citations, Estimate, JudgeCalibration, ReasonShare, Strict


class Column(Strict):
    """One column of the big table: a measure over a set, or over all sets of its exam.

    Attributes:
        title: its heading.
        set: as estimates name it; the exam's own name where it is over all of its sets.
        measure: what is averaged.
        target: what a high value means, in words.
        control: it should not move between arms.
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
        set: of which set; all of the exam's where empty.
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
    """A measure over two ways in which questions differ: goals down, scenarios across, a panel an arm."""

    measure: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    arms: tuple[str, ...]
    cells: tuple[GridCell, ...]


class JudgeSaid(Strict):
    """One judge's reply, word for word."""

    judge: str
    text: str
    values: dict[str, float | None] = Field(default_factory=dict)


class Measured(Strict):
    """A measure of one answer; `None` with the reason why there is no value."""

    measure: str
    value: float | None
    unscored: str | None = None


class Transcript(Strict):
    """What one arm answered to one question, with all that was read off it and said of it."""

    arm: str
    item: str
    text: str
    reasoning: str = ""
    stop_reason: str = ""
    verdicts: tuple[Measured, ...] = ()
    judges: tuple[JudgeSaid, ...] = ()


class Beside(Strict):
    """One question and the arms' answers to it, next to each other.

    Attributes:
        question: the user's last message.
        domain: its cell.
        item: its id.
        seed: the training seed of all these arms.
        apart: how far the arms' rates are apart on this question, on the measure's own scale.
        answers: one for each arm.
    """

    question: str
    domain: str
    item: str
    seed: int
    apart: float | None
    answers: tuple[Transcript, ...]


class LogPlace(Strict):
    """Where the log of one arm and seed lies: its folder from the run's folder, and its file."""

    arm: str
    seed: int
    folder: str
    file: str


class JudgedBy(Strict):
    """A judge of this exam, and what is known of its errors under this very rubric; `None` is: not measured."""

    judge: str
    measure: str
    calibration: JudgeCalibration | None
    note: str = ""


class Corrected(Strict):
    """A rate or contrast as judged, and as it would be without the judges' errors."""

    plain: Estimate
    without_errors: Estimate


class Difference(Strict):
    """A setting that is not the same in every arm: field -> who has what."""

    field: str
    values: dict[str, str]


class PowerNeeded(Strict):
    """What a stated difference needs; `None` where no number is enough.

    Attributes:
        difference: in the measure's own units.
        n_repeats: samples of each arm a cell, with the cells that there are; not asked with one sample a cell.
        n_cells: cells, with the samples a cell that there are.
        power: with the cells and samples that there are.
    """

    difference: float
    n_repeats: int | None
    n_cells: int | None
    power: float


class PowerSays(Strict):
    """What this design can see, one seed an arm: from what varies between and within its own cells.

    Attributes:
        measure: the measure.
        n_cells: cells, each a question.
        n_repeats: samples of each arm a cell.
        between_sd: of the cells' true differences between two arms.
        within_sd: of one sample about its cell's rate; `None` with one sample a cell, where `between_sd` is of both.
        smallest: the smallest difference found 4 times in 5.
        needed: for some differences, what they need.
    """

    measure: str
    n_cells: int
    n_repeats: int
    between_sd: float
    within_sd: float | None
    smallest: float
    needed: tuple[PowerNeeded, ...]


class ClauseRow(Strict):
    """A clause of a spec, and how well each arm's answers about it did.

    Attributes:
        clause_id: of the spec's clause.
        text: of the clause, empty where the questions don't carry it.
        n_questions: about it.
        means: arm -> mean score, over seeds; `None` where nothing was scored.
        n_scored: arm -> answers with a score.
    """

    clause_id: str
    text: str
    n_questions: int
    means: dict[str, float | None]
    n_scored: dict[str, int]


class TaskReport(Strict):
    """One exam, all arms.

    Attributes:
        name: of the exam.
        title: as it is read.
        main_measure: what its grid, transcripts and power are of.
        columns: of the big table.
        scores: estimates of the columns.
        status: how answers ended, for each arm.
        grid: scenarios and goals, where its questions have both.
        beside: questions on which the arms differ most.
        logs: what `inspect view` opens.
        judges: who judged; empty for an exam without a judge.
        corrected: judged rates and contrasts without the judges' errors.
        agreements: how far several judges agree.
        differences: settings that are not the same in every arm.
        power: what could have been seen.
        clauses: least learned first.
    """

    name: str
    title: str
    main_measure: str
    columns: tuple[Column, ...]
    scores: tuple[Estimate, ...]
    status: tuple[ArmStatus, ...]
    grid: Grid | None = None
    beside: tuple[Beside, ...] = ()
    logs: tuple[LogPlace, ...] = ()
    judges: tuple[JudgedBy, ...] = ()
    corrected: tuple[Corrected, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    differences: tuple[Difference, ...] = ()
    power: PowerSays | None = None
    clauses: tuple[ClauseRow, ...] = Field(default=(), exclude_if=operator.not_)


class JudgingBill(Strict):
    """What judging was forecast to cost and did cost; a run's, not a result's, so it stands apart from the data."""

    label: str
    forecast_usd: float | None
    spent_usd: float | None


class Reasons(Strict):
    """Which reasons drove how many transcripts of each arm, how far judges agree, and which clauses are cited."""

    shares: tuple[ReasonShare, ...]
    agreements: tuple[Agreement, ...] = ()
    citations: tuple[Citations, ...] = ()
