"""Means and paired differences of arms with several runs, over samples that may come in clusters.

A difference is the mean over samples of what one arm scores above the other, each sample with the same weight, after
its epochs and then its runs (several logs of one arm) are averaged: what a paired test does. Its variance has two
parts. **Samples**: clusters of them where they have any (CR1, as in ordinary least squares with clustered errors), the
samples themselves else; how an arm answers the same sample again is in it. **Runs**: the variance of the runs' means in
each arm, by Welch (1947) for two arms of independent runs, or of the differences between runs that are paired. What is
in both parts is taken off once (Cameron, Gelbach and Miller 2011), and each part keeps its own t quantile, as
everywhere in this package. The design is that of Miller (2024), "Adding Error Bars to Evals", sections 2 to 5.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._estimates import p_value
from midspec.analysis._intervals import Interval, Part, Scale, around, interval
from midspec.analysis._power import least, minimum_detectable_effect
from midspec.core.records import Discordance, Equivalence

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
_TINY = 1e-12
_FEW_CLUSTERS = 10


class Cells(NamedTuple):
    """Scores of one or two arms, epochs averaged: each of shape (runs, items), NaN where a run has no score.

    Attributes:
        arms: of the arm above the minus sign, then of the one below; every item has a score in each.
        clusters: codes of the items' clusters, shape (items,); the items' own where they are on their own.
        paired_runs: whether run 1 of one arm belongs to run 1 of the other.
    """

    arms: tuple[Floats, ...]
    clusters: Codes
    paired_runs: bool = False

    @property
    def by_item(self) -> Floats:
        """Return the items' means over runs, or their differences."""
        means = [mean_over(one, 0) for one in self.arms]
        return means[0] if len(means) == 1 else means[0] - means[1]

    @property
    def n_clusters(self) -> int:
        """Return how many clusters the items come in."""
        return len(np.unique(self.clusters))


def mean_over(values: Floats, axis: int) -> Floats:
    """Return means over what is scored; NaN where nothing is."""
    n = (~np.isnan(values)).sum(axis=axis)
    found: Floats = np.divide(np.nansum(values, axis=axis), n, out=np.full(n.shape, np.nan), where=n > 0)
    return found


def clustered(cells: Cells, scale: Scale, level: float) -> Interval:
    """Return the mean, or the mean difference, with its interval.

    Args:
        cells: the scores.
        scale: the bounds of the mean.
        level: of the interval, 0-1.
    """
    by_item = cells.by_item
    value, n_items, n = float(by_item.mean()), len(by_item), cells.n_clusters
    n_runs = [len(one) for one in cells.arms]
    runs, samples = _parts(cells)
    if samples is None:
        note = f"one {'cluster' if n_items > 1 else 'sample'}: no interval over samples"
        return Interval(value, None, None, (), np.array([value]), "none", note)
    parts = tuple(part for part in (samples, runs) if part is not None and part.variance > _TINY)
    if not parts:
        # Where no cluster differs from another, what could still differ is bounded by how many there are. Their means
        # are all the whole one's, whatever the samples within them are.
        return interval(np.full(n, value), np.zeros(n, np.int64), np.arange(n), scale, level)
    low, high = around(value, parts, scale, level)
    over = f"{n_items} samples" if n == n_items else f"{n} clusters of {n_items} samples"
    how = "paired t interval" if len(cells.arms) > 1 else "t interval"
    method, notes = f"{how} over {over}", []
    if runs is not None:
        method += f" and {' and '.join(map(str, dict.fromkeys(n_runs)))} runs an arm"
    if max(n_runs) == 1:
        notes.append("one log an arm: over samples only, which says nothing about other seeds or other days")
    elif min(n_runs) == 1:
        notes.append("one arm has a single log: its runs are taken to vary as the other arm's do")
    if n < _FEW_CLUSTERS:
        notes.append(f"only {n} {'samples' if n == n_items else 'clusters'}: the interval is a rough one")
    return Interval(value, low, high, parts, np.array([value]), method, "; ".join(notes))


def _parts(cells: Cells) -> tuple[Part | None, Part | None]:
    """Return the runs' and the samples' parts of the variance; `None` where there is one run, or one cluster."""
    signed = [sign * _pulls(one, cells.clusters) for sign, one in zip((1, -1), cells.arms, strict=False)]
    if cells.paired_runs and len({one.shape for one in signed}) == 1:
        signed = [np.sum(signed, axis=0)]
    by_cluster = np.sum([one.sum(axis=0) for one in signed], axis=0)
    n = len(by_cluster)
    several = [one for one in signed if len(one) > 1]
    variances = [(len(one) / (len(one) - 1) * float((one.sum(axis=1) ** 2).sum()), len(one)) for one in several]
    total = sum(variance for variance, _ in variances)
    runs = None
    if total > _TINY:
        df = total**2 / sum(variance**2 / (n_runs - 1) for variance, n_runs in variances)
        # An arm with one run is taken to vary between runs as the other does.
        lent = sum(variance * n_runs for variance, n_runs in variances) if len(several) < len(signed) else 0.0
        runs = Part(total + lent, df)
    if n < 2:
        return runs, None
    shared = 0.0
    for one in several:
        rest = one - one.mean(axis=0) - one.mean(axis=1, keepdims=True) + one.mean()
        shared += float((rest**2).sum()) * len(one) * n / ((len(one) - 1) * (n - 1))
    samples = n / (n - 1) * float((by_cluster**2).sum()) - shared
    return runs, Part(max(samples, 0.0), n - 1)


def _pulls(cells: Floats, clusters: Codes) -> Floats:
    """Return what each run and cluster adds to an arm's mean, about that mean, shape (runs, clusters)."""
    by_item, n_runs_of_item = mean_over(cells, 0), (~np.isnan(cells)).sum(axis=0)
    pulls = np.where(np.isnan(cells), 0.0, cells - by_item.mean()) / (len(by_item) * n_runs_of_item)
    names, codes = np.unique(clusters, return_inverse=True)
    return np.stack([np.bincount(codes, row, minlength=len(names)) for row in pulls])


def standard_error(found: Interval) -> float | None:
    """Return the standard error of a mean or a difference; `None` where nothing varied."""
    return math.sqrt(sum(part.variance for part in found.parts)) if found.parts else None


def degrees_of_freedom(found: Interval) -> float | None:
    """Return the degrees of freedom of the whole variance, by Satterthwaite."""
    if not found.parts:
        return None
    return sum(part.variance for part in found.parts) ** 2 / sum(part.variance**2 / part.df for part in found.parts)


def design_effect(cells: Cells) -> float | None:
    """Return the samples' part of the variance over that of samples on their own; `None` without clusters."""
    if cells.n_clusters in {1, len(cells.clusters)}:
        return None
    own = _parts(cells._replace(clusters=np.arange(len(cells.clusters))))[1]
    samples = _parts(cells)[1]
    return samples.variance / own.variance if own is not None and samples is not None and own.variance > _TINY else None


def equivalence(found: Interval, bound: float, scale: Scale, level: float) -> Equivalence | None:
    """Test whether the true difference is smaller than `bound` either way, by two one-sided tests (Schuirmann 1987).

    The p is the larger of the two; it is below 1 minus the level where the interval at twice that distance from 1 lies
    within the bound. Nothing is shown where nothing varies: a bound over samples has no p.

    Args:
        found: the difference.
        bound: in the units of the difference.
        scale: its bounds.
        level: of the tests, 0-1.
    """
    if not found.parts:
        return None
    p_values = []
    for distance in (found.value + bound, bound - found.value):
        p = p_value(found._replace(value=distance)) or 0.0
        p_values.append(p / 2 if distance > 0 else 1 - p / 2)
    inner = 2 * level - 1
    low, high = around(found.value, found.parts, scale, inner)
    p = max(p_values)
    return Equivalence(bound=bound, low=low, high=high, level=inner, p=p, p_corrected=p, is_shown=p < 1 - level)


def discordance(cells: Cells) -> Discordance | None:
    """Count samples that only one arm gets right, with McNemar's exact test; `None` unless scores are 0 or 1."""
    if any(len(one) > 1 or not np.isin(one, (0.0, 1.0)).all() for one in cells.arms):
        return None
    from scipy.special import bdtr

    n_plus, n_minus = int((cells.by_item > 0).sum()), int((cells.by_item < 0).sum())
    n = n_plus + n_minus
    p = min(1.0, 2 * float(bdtr(min(n_plus, n_minus), n, 0.5))) if n else 1.0
    return Discordance(n_plus=n_plus, n_minus=n_minus, p=p)


def items_for(found: Interval, difference: float, n_items: int, level: float) -> int | None:
    """Return how many samples like these are needed to find a true `difference` 4 times in 5, with as many runs.

    Args:
        found: a difference over `n_items` samples, whose samples' part comes first.
        difference: in its units.
        n_items: samples that it rests on.
        level: 1 minus the two-sided level of the test.

    Returns:
        `None` where no number is enough, because the runs differ too much.
    """
    if not found.parts:
        return None
    samples, runs, alpha = found.parts[0], found.parts[1:], 1 - level
    of_runs = math.hypot(*(minimum_detectable_effect(math.sqrt(one.variance), one.df, alpha=alpha) for one in runs))
    n_clusters = int(samples.df) + 1
    sd = math.sqrt(samples.variance * n_clusters)

    def enough(n: int) -> bool:
        return math.hypot(of_runs, minimum_detectable_effect(sd / math.sqrt(n), n - 1, alpha=alpha)) <= difference

    n = least(2, enough) if of_runs < difference else None
    return None if n is None else math.ceil(n * n_items / n_clusters)


def rate(cells: Cells, scale: Scale, level: float) -> Interval:
    """Return the mean of one arm with its interval: as everywhere in this package where samples are on their own.

    Args:
        cells: of the arm.
        scale: the bounds of the mean.
        level: of the interval, 0-1.
    """
    if cells.n_clusters < len(cells.clusters):
        return clustered(cells, scale, level)
    [values] = cells.arms
    runs, items = np.nonzero(~np.isnan(values))
    return interval(values[runs, items], runs, items, scale, level)
