"""Compare arms on the same samples, from the scores of any logs: tables by task and scorer, rates, differences.

How a difference is estimated is in `_clustered.py`; this module lays the scores out, says what there is to compare, and
corrects for all differences together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._clustered import (
    Cells,
    clustered,
    degrees_of_freedom,
    design_effect,
    discordance,
    equivalence,
    items_for,
    mean_over,
    rate,
    standard_error,
)
from midspec.analysis._estimates import corrected, p_value
from midspec.analysis._intervals import DIFFERENCE, SHARE, UNBOUNDED
from midspec.analysis._mixed_model import Scores, mixed_model
from midspec.core.errors import ConfigError, DataError, did_you_mean, plural
from midspec.core.records import (
    ArmRate,
    CorrectionName,
    LogComparison,
    LogDifference,
    LoggedScore,
    LoggedScores,
    MixedModel,
)

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
_POINTS = 100.0
# Differences whose needed number of samples is told, in points.
_TARGETS_POINTS = (1.0, 2.0, 5.0, 10.0)
_FEW_DISCORDANT = 10


class _Table(NamedTuple):
    """All scores of one task and scorer.

    Attributes:
        task, scorer: their names.
        values: by arm, shape (runs, items, epochs), NaN where there is no score.
        asked: by arm, whether it was asked each item, shape (items,).
        n_asked: by arm, how many scores there were to be.
        clusters: codes of the items' clusters, shape (items,).
    """

    task: str
    scorer: str
    values: dict[str, Floats]
    asked: dict[str, NDArray[np.bool_]]
    n_asked: dict[str, int]
    clusters: Codes

    @property
    def is_share(self) -> bool:
        """Return whether all scores lie between 0 and 1."""
        return all(bool(((one >= 0) & (one <= 1) | np.isnan(one)).all()) for one in self.values.values())

    def cells(self, arms: Sequence[str], *, paired_runs: bool = False) -> Cells:
        """Return the means over epochs of the items that all of `arms` have a score of; runs without any are left out.

        Paired runs are those that all of the arms have.
        """
        items = np.all([~np.isnan(self.values[arm]).all(axis=(0, 2)) for arm in arms], axis=0)
        means = [mean_over(self.values[arm][:, items, :], 2) for arm in arms]
        there = [~np.isnan(one).all(axis=1) for one in means]
        if paired_runs:
            there = [np.logical_and.reduce(there)] * len(arms)
        return Cells(
            tuple(one[runs] for one, runs in zip(means, there, strict=True)), self.clusters[items], paired_runs
        )

    def rate(self, arm: str, level: float) -> ArmRate:
        """Return the mean of an arm on all samples that it has a score of."""
        cells = self.cells([arm])
        found = rate(cells, SHARE if self.is_share else UNBOUNDED, level) if cells.arms[0].size else None
        return ArmRate(
            task=self.task,
            scorer=self.scorer,
            arm=arm,
            value=found.value if found else None,
            low=found.low if found else None,
            high=found.high if found else None,
            level=level,
            n_asked=self.n_asked[arm],
            n_scored=int((~np.isnan(self.values[arm])).sum()),
            n_items=cells.arms[0].shape[1],
            n_runs=len(cells.arms[0]),
            is_share=self.is_share,
            method=found.method if found else "none",
            note=found.note if found else "no sample has a score",
        )

    def mixed_model(self, arms: tuple[str, str], *, paired_runs: bool) -> MixedModel | None:
        """Fit the hierarchical model to all scores of two arms, also those of samples that only one has."""
        values, plus, runs, items = [], [], [], []
        for is_plus, arm in zip((1, 0), arms, strict=True):
            scored = self.values[arm]
            of_run, of_item, of_epoch = np.nonzero(~np.isnan(scored))
            values.append(scored[of_run, of_item, of_epoch])
            plus.append(np.full(len(of_run), is_plus))
            runs.append(of_run if paired_runs or is_plus else of_run + scored.shape[0])
            items.append(of_item)
        every = np.concatenate(items)
        return mixed_model(
            Scores(np.concatenate(values), np.concatenate(plus), np.concatenate(runs), every, self.clusters[every])
        )


def compare_logs(
    read: LoggedScores,
    *,
    baseline: str | None = None,
    level: float = 0.95,
    correction: CorrectionName = "holm",
    equivalence_points: float | None = None,
    cluster_key: str | None = None,
    paired_runs: bool = False,
    reruns: bool = False,
) -> LogComparison:
    """Compare all arms of a set of logs, task by task and scorer by scorer.

    Args:
        read: the scores.
        baseline: the arm that every other is compared with; else every two arms are compared, the later one first.
        level: of the intervals, 0-1.
        correction: for all differences together, the family.
        equivalence_points: a bound: a share's difference in points, any other's in its own unit.
        cluster_key: what clusters are named after; told, not used.
        paired_runs: whether runs of one number are a pair (one seed trained both arms, say).
        reruns: whether the logs of an arm are one model asked again, so that they count as epochs.

    Raises:
        ConfigError: the level or the bound is out of range, or no log is of the baseline.
        DataError: there is only one arm, or no task that two arms share.
    """
    if not 0 < level < 1:
        raise ConfigError(f"a level of {level} is not between 0 and 1", where="--level", hint="Use 0.95, say")
    if equivalence_points is not None and not equivalence_points > 0:
        raise ConfigError("a bound must be above 0", where="--equivalence", hint="Give points, such as 5")
    arms = tuple(dict.fromkeys(one.arm for one in read.logs))
    pairs = _pairs(read, arms, baseline)
    tables = _tables(read.scores, arms, reruns=reruns)
    found = [
        _difference(table, pair, level, equivalence_points, paired_runs=paired_runs)
        for table in tables
        for pair in pairs
        if all(arm in table.values for arm in pair)
    ]
    if not found:
        tasks = "; ".join(
            f"{arm} has {', '.join(sorted({one.task for one in read.logs if one.arm == arm}))}" for arm in arms
        )
        raise DataError(f"no task with a scorer is in two arms: {tasks}", where="LOG", hint="Give logs of one task")
    _check_common(tables, found)
    return LogComparison(
        logs=read.logs,
        rates=tuple(table.rate(arm, level) for table in tables for arm in table.values),
        differences=tuple(_with_family(found, level, correction)),
        level=level,
        correction=correction,
        equivalence_points=equivalence_points,
        cluster_key=cluster_key,
        notes=read.notes,
    )


def _check_common(tables: Sequence[_Table], found: Sequence[LogDifference]) -> None:
    """Refuse arms of which no two were asked one sample in common."""
    of = {(table.task, table.scorer): table for table in tables}
    for one in found:
        asked = of[one.task, one.scorer].asked
        if bool((asked[one.plus] & asked[one.minus]).any()):
            return
    first = found[0]
    asked = of[first.task, first.scorer].asked
    counts = " and ".join(f"{arm} {plural(int(asked[arm].sum()), 'sample')}" for arm in (first.plus, first.minus))
    what = f"no two arms were asked the same samples of {first.task} ({counts}, none with the same id)"
    raise DataError(what, where="LOG", hint="Give logs of the same data set, with the same sample ids")


def _pairs(read: LoggedScores, arms: Sequence[str], baseline: str | None) -> list[tuple[str, str]]:
    """Return the pairs of arms to compare, each as what is above and what is below the minus sign."""
    if len(arms) < 2:
        files = ", ".join(one.file for one in read.logs)
        hint = "Give logs of another model too, or name arms: A=LOG B=LOG, --by file, --by tag"
        raise DataError(f"only one arm, {arms[0] if arms else 'none'!r}: nothing to compare", where=files, hint=hint)
    if baseline is None:
        return [(late, early) for early, late in combinations(arms, 2)]
    if baseline not in arms:
        raise ConfigError(f"no log is of {baseline!r}", where="--baseline", hint=did_you_mean(baseline, arms))
    return [(arm, baseline) for arm in arms if arm != baseline]


def _tables(scores: Sequence[LoggedScore], arms: Sequence[str], *, reruns: bool) -> list[_Table]:
    """Lay scores out by task and scorer; arms in their order."""
    groups: dict[tuple[str, str], list[LoggedScore]] = {}
    for score in scores:
        groups.setdefault((score.task, score.scorer), []).append(score)
    tables = []
    for (task, scorer), rows in groups.items():
        items = {name: code for code, name in enumerate(dict.fromkeys(row.item for row in rows))}
        n_runs, n_epochs = max(row.run for row in rows), max(row.epoch for row in rows)
        n_asked = {arm: n for arm in arms if (n := sum(row.arm == arm for row in rows))}
        values = {arm: np.full((n_runs, len(items), n_epochs), np.nan) for arm in n_asked}
        asked = {arm: np.zeros(len(items), dtype=bool) for arm in n_asked}
        clusters, names = np.zeros(len(items), dtype=np.int64), dict[str, int]()
        for row in rows:
            at = items[row.item]
            clusters[at] = names.setdefault(row.cluster, len(names))
            asked[row.arm][at] = True
            values[row.arm][row.run - 1, at, row.epoch - 1] = np.nan if row.value is None else row.value
        if reruns:
            values = {arm: np.concatenate(one, axis=1)[None] for arm, one in values.items()}
        tables.append(_Table(task, scorer, values, asked, n_asked, clusters))
    return tables


def _difference(
    table: _Table, arms: tuple[str, str], level: float, points: float | None, *, paired_runs: bool
) -> LogDifference:
    """Return the difference of two arms on one table, before any correction.

    Args:
        table: the scores.
        arms: above and below the minus sign.
        level: of the interval, 0-1.
        points: the bound of equivalence; points of a share, units of anything else.
        paired_runs: whether runs of one number are a pair.
    """
    cells = table.cells(arms, paired_runs=paired_runs)
    scale, unit = (DIFFERENCE, _POINTS) if table.is_share else (UNBOUNDED, 1.0)
    n_pairs = cells.arms[0].shape[1]
    found = clustered(cells, scale, level) if all(one.size for one in cells.arms) else None
    bound = None if points is None else points / unit
    p = p_value(found) if found else None
    means = [float(mean_over(one, 0).mean()) if found else None for one in cells.arms]
    counts = discordance(cells) if found else None
    notes = [found.note if found else "no sample has a score in both arms"]
    # McNemar's test takes samples to be on their own.
    is_alone = n_pairs > 1 and cells.n_clusters == n_pairs
    if counts is not None and is_alone and (n := counts.n_plus + counts.n_minus) < _FEW_DISCORDANT:
        differ = f"on only {plural(n, 'sample')}: McNemar's exact p is the safer one" if n else "on no sample"
        notes.append(f"the arms differ {differ}")
    targets = {*(_TARGETS_POINTS if table.is_share else ()), *((points,) if points is not None else ())}
    return LogDifference(
        name=f"{arms[0]} minus {arms[1]}",
        task=table.task,
        scorer=table.scorer,
        plus=arms[0],
        minus=arms[1],
        is_share=table.is_share,
        n_asked=int((table.asked[arms[0]] | table.asked[arms[1]]).sum()),
        n_pairs=n_pairs,
        n_clusters=cells.n_clusters,
        n_runs=(len(cells.arms[0]), len(cells.arms[1])),
        n_epochs=table.values[arms[0]].shape[2],
        plus_mean=means[0],
        minus_mean=means[1],
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        level=level,
        se=standard_error(found) if found else None,
        df=degrees_of_freedom(found) if found else None,
        p=p,
        p_corrected=p,
        is_shown=False,
        mde=found.mde if found else None,
        design_effect=design_effect(cells) if found else None,
        items_for={f"{one:g}": items_for(found, one / unit, n_pairs, level) for one in sorted(targets)}
        if found and found.parts
        else {},
        equivalence=equivalence(found, bound, scale, level) if found and bound is not None else None,
        discordance=counts,
        mixed_model=table.mixed_model(arms, paired_runs=paired_runs) if found and found.parts else None,
        method=found.method if found else "none",
        note="; ".join(filter(None, notes)),
    )


def _with_family(found: Sequence[LogDifference], level: float, correction: CorrectionName) -> list[LogDifference]:
    """Correct all differences together, and apart from these all tests of equivalence."""
    p_values = corrected([one.p for one in found], correction)
    bounds = corrected([one.equivalence.p if one.equivalence else None for one in found], correction)
    finished = []
    for one, p, of_bound in zip(found, p_values, bounds, strict=True):
        tested = one.equivalence
        if tested is not None and of_bound is not None:
            tested = tested.model_copy(update={"p_corrected": of_bound, "is_shown": of_bound < 1 - level})
        # Where nothing varies there is no p, and the interval is a bound that decides alone.
        leaves_out_0 = one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
        shown = leaves_out_0 if p is None else p < 1 - level
        finished.append(one.model_copy(update={"p_corrected": p, "is_shown": shown, "equivalence": tested}))
    return finished
