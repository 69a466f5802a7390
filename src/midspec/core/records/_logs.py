"""Scores of any Inspect logs, and what a comparison of them finds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from midspec.core.records._pipeline import Strict

CorrectionName = Literal["holm", "bh", "none"]


class LoggedScore(Strict):
    """One score of one sample in one epoch of a log.

    Attributes:
        task: of the log.
        arm: what the log is counted to: a model, a tag, or a name that the user gave.
        run: which log of the arm, from 1 on; the same number in two arms means a pair only where runs are paired.
        item: id of the sample.
        epoch: from 1 on.
        scorer: name of the scorer, with `/KEY` for an entry of a dictionary.
        value: the score as a number; `None` without one.
        unscored: why there is no value.
        cluster: what the sample shares with others; its own id where samples are on their own.
    """

    task: str
    arm: str
    run: int
    item: str
    epoch: int
    scorer: str
    value: float | None
    unscored: str | None = None
    cluster: str


class ComparedLog(Strict):
    """One log, and how much of what it was to ask has a score.

    Attributes:
        file: where it lies.
        eval_id: Inspect's id of the evaluation.
        status: how the evaluation ended.
        created: when it was begun.
        seed: what runs are paired by, in the log's own words; empty where they are not.
        dataset: its name.
        n_planned: samples times epochs that were to be asked.
        n_missing: of these, how many the log does not hold.
        n_scored: samples with a value, by scorer.
        unscored: reasons for those without a value, by scorer.
    """

    file: str
    arm: str
    run: int
    task: str
    model: str
    eval_id: str
    status: str
    created: str
    seed: str = ""
    dataset: str
    n_planned: int
    n_missing: int
    n_scored: dict[str, int]
    unscored: dict[str, dict[str, int]]


class LoggedScores(Strict):
    """What a set of logs holds; `notes` says in which settings the arms differ."""

    logs: tuple[ComparedLog, ...]
    scores: tuple[LoggedScore, ...] = Field(repr=False)
    notes: tuple[str, ...] = ()


class ArmRate(Strict):
    """The mean score of an arm on all samples of a task that have a score, with its interval."""

    task: str
    scorer: str
    arm: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    n_asked: int
    n_scored: int
    n_items: int
    n_runs: int
    is_share: bool
    method: str
    note: str = ""


class MixedModel(Strict):
    """The difference by a linear mixed model (REML), and the standard deviations of what varies.

    A standard deviation is `None` where the design can't tell it from another: of runs with one log of each arm, of
    samples' differences from re-measurement with one score of each sample in each arm.
    """

    value: float
    se: float
    cluster_sd: float | None
    cluster_by_arm_sd: float | None
    item_sd: float | None
    item_by_arm_sd: float | None
    run_sd: float | None
    item_by_run_sd: float | None
    residual_sd: float
    is_converged: bool


class Equivalence(Strict):
    """Two one-sided tests: whether the true difference is shown to be smaller than `bound` either way."""

    bound: float
    low: float
    high: float
    level: float
    p: float
    p_corrected: float
    is_shown: bool


class Discordance(Strict):
    """Samples that one arm gets right and the other wrong, and McNemar's exact test of them."""

    n_plus: int
    n_minus: int
    p: float


class LogDifference(Strict):
    """`plus` minus `minus` on one task by one scorer, over the samples that both have a score of.

    Attributes:
        n_asked: samples that either arm was asked.
        n_pairs: of these, samples with a score in both.
        n_clusters: what the interval over samples rests on.
        n_runs: logs of the two arms.
        n_epochs: the most scores of a sample in one log.
        value: mean difference, every sample with the same weight; `None` without a pair.
        se: its standard error.
        df: the degrees of freedom that its variance has in all, by Satterthwaite.
        p: two-sided, against no difference.
        p_corrected: after the correction for the family.
        is_shown: whether `p_corrected` is below 1 minus the level; without a p, whether the interval leaves out 0.
        mde: the smallest true difference that this design finds 4 times in 5, uncorrected.
        design_effect: variance over clusters by that over samples on their own; `None` without clusters.
        items_for: samples needed to find a difference of so much 4 times in 5, by that difference.
    """

    name: str
    task: str
    scorer: str
    plus: str
    minus: str
    is_share: bool
    n_asked: int
    n_pairs: int
    n_clusters: int
    n_runs: tuple[int, int]
    n_epochs: int
    plus_mean: float | None
    minus_mean: float | None
    value: float | None
    low: float | None
    high: float | None
    level: float
    se: float | None
    df: float | None
    p: float | None
    p_corrected: float | None
    is_shown: bool
    mde: float | None
    design_effect: float | None
    items_for: dict[str, int | None]
    equivalence: Equivalence | None
    discordance: Discordance | None
    mixed_model: MixedModel | None
    method: str
    note: str = ""


class LogComparison(Strict):
    """A comparison of logs: what was read, the rates, and all differences of the family that was corrected for."""

    logs: tuple[ComparedLog, ...]
    rates: tuple[ArmRate, ...]
    differences: tuple[LogDifference, ...]
    level: float
    correction: CorrectionName
    equivalence_points: float | None
    cluster_key: str | None
    notes: tuple[str, ...] = ()
