"""Everything that a report shows, as pure data: no drawing, no templates, nothing heavy to import."""

from __future__ import annotations

import operator
from typing import Literal

from pydantic import AliasChoices, Field

from midspec.analysis import DataSaving
from midspec.core.records import Estimate, Strict
from midspec.report._task_data import Column, JudgingCost, Reasons, SeamProbe, TaskReport

EXECUTION_FIELDS = {"seconds", "bills", "costs"}
"""What a run took, not what it found: on the page, but not in its data, which is the same for the same results."""


class LabelledValue(Strict):
    """One row of a two-column list: a label and its value, formatted."""

    label: str
    value: str


class ArmInfo(Strict):
    """One arm of a study, and what decides its look in every figure.

    Attributes:
        name: in tables and figures.
        group: arms of one group (a spec or value) share a colour and stand together; empty is grey: no spec at all.
        stages: after the base, in order. An arm without `finetune` is drawn paler than one with it.
        control: an ablated, other-agent or in-context version: drawn hatched.
        data: what it was trained on, in words.
        note: anything else that a reader must know.
    """

    name: str
    group: str = ""
    stages: tuple[str, ...] = ()
    control: bool = False
    data: str = ""
    note: str = ""


class SetInfo(Strict):
    """A set of items in words. `target` is what a rate of 1 means: "the American and pricey thing"."""

    name: str
    title: str
    target: str = ""


class Panel(Strict):
    """One panel of the main figure: a set and a measure, and the arms to draw in order.

    `reference` is the rate of a coin toss, on the 0-1 scale; `None` draws no line. `target` says under the title
    what the rate is of; when it is `None`, a panel of the main measure takes its set's.
    """

    title: str
    set: str
    measure: str
    arms: tuple[str, ...]
    reference: float | None = 0.5
    target: str | None = None


class PathPoint(Strict):
    """A moment of an arm's training at which it was evaluated.

    Attributes:
        name: that its estimates have as their arm: the arm's own for its end, else `ARM@STAGE`.
        title: of the moment: `base`, a stage (its end), or `STAGE:UPDATES` within one.
        updates: made from the base on, in all stages.
    """

    name: str
    title: str
    updates: int


class ArmPath(Strict):
    """An arm that was evaluated on its way, and the moments in order."""

    arm: str
    points: tuple[PathPoint, ...]


class ContrastResult(Strict):
    """A contrast, the study's description of it, and the sentence that its numbers give.

    `says` is shown as what was asked, `verdict` as what was found: `midspec.report.verdict` derives it from value and
    interval. `differ` names what the second arm is changed in to be the first; `is_mixed`, that these are more things
    than the study says.
    """

    estimate: Estimate
    says: str = ""
    verdict: str
    differ: tuple[str, ...] = ()
    is_mixed: bool = False


class ArmAnswer(Strict):
    """One arm's answer, word for word."""

    arm: str
    text: str


class AnswerComparison(Strict):
    """One question and the answers of several arms to it, all of one seed."""

    question: str
    item: str = ""
    seed: int | None = None
    answers: tuple[ArmAnswer, ...]


class StageHealth(Strict):
    """The summary of one step: tokens, updates, coverage, parse rates. Seconds go to `seconds`."""

    name: str
    kind: str
    rows: tuple[LabelledValue, ...]


class GateResult(Strict):
    """How well a seed's base model knows its world, on the 0-1 scale, and whether that reaches the threshold."""

    seed: int
    value: float | None
    threshold: float
    passed: bool


class PublishedFigure(Strict):
    """A number that somebody published, beside ours: a rate of `arm`, or its contrast with `minus`.

    Attributes:
        name: of the figure or table it stands in.
        source: where it was published.
        arm: ours that it stands beside.
        minus: the other arm, where it is a contrast.
        set: of items.
        measure: in the measure's own units, shares from 0 to 1.
        value: what was published.
        low: of its interval, where one was published.
        high: of its interval.
        note: how theirs differs from ours, in words.
    """

    name: str
    source: str
    arm: str
    minus: str | None = None
    set: str
    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


class Seam(Strict):
    """The moment after the documents and before anything else, of an arm that went on: `seam` has its estimates."""

    arm: str
    seam: str


class StageCost(Strict):
    """What one kind of step took: of the run, not of its results.

    Attributes:
        stage: the kind of step, or the step of the method that asked a model.
        n_steps: finished steps of this kind, or 0 for requests.
        cpu_s: seconds of CPU, where every step recorded them.
        seconds: by the clock, added up over steps.
        model: that was asked.
        n_requests: sent.
        cost_usd: `None` where a price is unknown.
    """

    stage: str
    n_steps: int = 0
    cpu_s: float | None = None
    seconds: float = 0.0
    model: str = ""
    n_requests: int = 0
    cost_usd: float | None = 0.0


class TranscriptLink(Strict):
    """The page with what one arm said on one set: a file beside the report."""

    arm: str
    set: str
    file: str


class Caveat(Strict):
    """A sceptic's question and the answer to it."""

    question: str
    answer: str


class ReportData(Strict):
    """Everything that a report shows.

    Attributes:
        title: of the study.
        question: what was asked, in paragraphs.
        main_set: the set that the study's claim is about.
        main_measure: the measure that the study's claim is about; the big table is of this one.
        main_contrasts: names of the contrasts that answer the question, most important first.
        arms: every arm, in the order of all tables and figures.
        sets: words for the sets; a set that is missing here is shown by its name.
        set_legend: what is in each set of pairs, as its items themselves say.
        panels: of the main figure.
        estimates: rates, one for each (arm, set, measure).
        contrasts: every comparison that was asked, in the study's order.
        contrasts_changed: whether they are not those that the run began with; `warnings` say how they differ.
        gates: the competence of each seed's base; empty when the study has no gate.
        paths: the arms that were evaluated on their way through their stages.
        robust: the contrasts again without the seeds that failed; empty when all passed.
        samples: questions with the arms' own answers.
        seam_probes: what models knew right after their documents, where a step `seam` asked.
        eval_tasks: one entry for each evaluation task; read as `exams` too, its name in older files.
        reasons: what drove the models' choices, where that was analysed.
        health: one entry for each step or group of steps.
        warnings: what a reader must know first (a lowered floor, say); shown above everything.
        caveats: what a sceptic says.
        deviations: from the paper.
        config_yaml: the study file, verbatim.
        seed_kind: what a seed redraws, in words.
        level: of the intervals, 0-1.
        hashes: names and digests of inputs and results.
        versions: of the packages.
        commit: of midspec's own code, when known.
        seconds: wall-clock seconds by stage name. Shown, but not part of `report_data.json` or the data block.
        bills: what judging cost, with its forecast; shown as `seconds` are.
        costs: CPU time, requests and dollars by stage; shown as `seconds` are.
        raw: rates over all that was asked, an answer that could not be read counting as not the target's.
        side_effects: sets and measures that training on a spec should leave alone.
        seams: arms that went on after their documents, and the points right after these.
        published: figures of others beside ours.
        savings: factors by which arms need fewer chats.
        transcripts: the page of each arm and set.
        methods: how the study was made, in paragraphs, from its resolved settings.
        bibtex: what to cite.
    """

    format: Literal["midspec-report-1"] = "midspec-report-1"
    title: str
    question: tuple[str, ...]
    main_set: str
    main_measure: str
    main_contrasts: tuple[str, ...] = ()
    arms: tuple[ArmInfo, ...]
    sets: tuple[SetInfo, ...] = ()
    set_legend: tuple[LabelledValue, ...] = Field(default=(), exclude_if=operator.not_)
    panels: tuple[Panel, ...]
    estimates: tuple[Estimate, ...]
    contrasts: tuple[ContrastResult, ...] = ()
    contrasts_changed: bool = False
    gates: tuple[GateResult, ...] = ()
    robust: tuple[ContrastResult, ...] = ()
    paths: tuple[ArmPath, ...] = Field(default=(), exclude_if=operator.not_)
    samples: tuple[AnswerComparison, ...] = ()
    seam_probes: tuple[SeamProbe, ...] = Field(default=(), exclude_if=operator.not_)
    eval_tasks: tuple[TaskReport, ...] = Field(
        default=(), exclude_if=operator.not_, validation_alias=AliasChoices("eval_tasks", "exams")
    )
    reasons: Reasons | None = Field(default=None, exclude_if=operator.not_)
    health: tuple[StageHealth, ...] = ()
    warnings: tuple[str, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    deviations: tuple[str, ...] = ()
    config_yaml: str = ""
    seed_kind: str = ""
    level: float = Field(default=0.95, gt=0, lt=1)
    hashes: tuple[LabelledValue, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    commit: str | None = None
    seconds: dict[str, float] = Field(default_factory=dict)
    bills: tuple[JudgingCost, ...] = Field(default=(), exclude_if=operator.not_)
    costs: tuple[StageCost, ...] = Field(default=(), exclude_if=operator.not_)
    raw: tuple[Estimate, ...] = Field(default=(), exclude_if=operator.not_)
    side_effects: tuple[Column, ...] = Field(default=(), exclude_if=operator.not_)
    seams: tuple[Seam, ...] = Field(default=(), exclude_if=operator.not_)
    published: tuple[PublishedFigure, ...] = Field(default=(), exclude_if=operator.not_)
    savings: tuple[DataSaving, ...] = Field(default=(), exclude_if=operator.not_)
    transcripts: tuple[TranscriptLink, ...] = Field(default=(), exclude_if=operator.not_)
    methods: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    bibtex: str = Field(default="", exclude_if=operator.not_)
