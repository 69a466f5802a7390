"""Estimate the mean of clustered values with its interval, by one estimator for each design, chosen from the data.

A score belongs to a training seed and to an item. Scores of one seed share a model, scores of one item share a
question, so neither are independent draws. The estimator depends on how the two are crossed:

- **nested**: no item occurs under two seeds (each seed is its own world). The seed means are independent: Student t
  over them, with seeds minus one degrees of freedom.
- **crossed**: items recur under several seeds. The variance of the mean is the seeds' part plus the items' part (Owen
  2007, "The pigeonhole bootstrap", and Cameron, Gelbach and Miller 2011, for the sum). Each part gets its own t
  quantile before they are added (Cochran's approximation to the Behrens-Fisher problem), because Satterthwaite's single
  number of degrees of freedom covers only 87-92% with two seeds that differ; see `tests/analysis/test_coverage.py`.
- **one seed**: items are all there is. Student t over them; the interval is over items only and says so.

Where nothing varies, an interval of width 0 would be false; a Clopper-Pearson bound takes its place.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._power import minimum_detectable_effect, t_quantile

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
_TINY = 1e-12
_SWEEPS = 25


class Scale(NamedTuple):
    """The bounds of a mean; `None` where a measure has none (a difference of log-probabilities)."""

    low: float | None
    high: float | None

    def clip(self, value: float) -> float:
        """Return `value`, clipped to the bounds."""
        value = value if self.low is None else max(self.low, value)
        return value if self.high is None else min(self.high, value)


SHARE = Scale(0.0, 1.0)
DIFFERENCE = Scale(-1.0, 1.0)
UNBOUNDED = Scale(None, None)


class Part(NamedTuple):
    """One source of variance of the mean: its size, and the degrees of freedom it was estimated with."""

    variance: float
    df: float


class Interval(NamedTuple):
    """A mean with its interval. `parts` is empty where nothing varied; `low` and `high` are `None` if unknown."""

    value: float
    low: float | None
    high: float | None
    parts: tuple[Part, ...]
    seed_means: Floats
    method: str
    note: str = ""

    @property
    def mde(self) -> float | None:
        """Return the smallest true difference from a fixed number that is found with 80% power at two-sided 5%."""
        sizes = [minimum_detectable_effect(math.sqrt(part.variance), part.df) for part in self.parts if part.variance]
        return math.hypot(*sizes) if sizes else None


class _Sample(NamedTuple):
    """Scored values with seed and item codes 0..n-1; every seed has the same weight, however many scores it has."""

    values: Floats
    seeds: Codes
    items: Codes
    n_seeds: int
    n_items: int

    @property
    def weights(self) -> Floats:
        shares: Floats = 1.0 / (self.n_seeds * np.bincount(self.seeds)[self.seeds])
        return shares

    @property
    def seed_means(self) -> Floats:
        means: Floats = np.bincount(self.seeds, self.values) / np.bincount(self.seeds)
        return means


def interval(values: Floats, seeds: Codes, items: Codes, scale: Scale, level: float) -> Interval:
    """Return the mean of seed means, with its interval by the design of the data.

    Args:
        values: scored values, at least one, shape (n,).
        seeds: a number for the seed of each value, shape (n,).
        items: a number for the item of each value, shape (n,).
        scale: the bounds that a mean has.
        level: of the interval, 0-1.
    """
    seed_codes, item_codes = np.unique(seeds, return_inverse=True), np.unique(items, return_inverse=True)
    sample = _Sample(values, seed_codes[1], item_codes[1], len(seed_codes[0]), len(item_codes[0]))
    means = sample.seed_means
    value = float(means.mean())
    if np.ptp(values) <= _TINY:
        return _bound(sample, value, scale, level)
    if sample.n_seeds == 1:
        part = Part(float(values.var(ddof=1)) / sample.n_items, sample.n_items - 1)
        low, high = _around(value, (part,), scale, level)
        note = "one seed: the interval is over items only and says nothing about other seeds"
        method = f"t interval over {sample.n_items} items of one seed{_on_scale(scale)}"
        return Interval(value, low, high, (part,), means, method, note)
    nested = sample.n_items == len(values)
    parts = (Part(float(means.var(ddof=1)) / len(means), len(means) - 1),) if nested else _crossed_parts(sample, value)
    if sum(part.variance for part in parts) <= _TINY:
        return _without_seed_variance(sample, value, scale, level)
    low, high = _around(value, parts, scale, level)
    over, why = f"{sample.n_seeds} seed means", "each seed has its own items"
    if not nested:
        over, why = f"{sample.n_seeds} seeds and {sample.n_items} items", "two-way clustered: the same items every seed"
    return Interval(value, low, high, parts, means, f"t interval over {over}{_on_scale(scale)} ({why})")


def _on_scale(scale: Scale) -> str:
    return ", on the logit scale" if scale == SHARE else ""


def _around(value: float, parts: tuple[Part, ...], scale: Scale, level: float) -> tuple[float, float]:
    """Return the interval about `value`; each part has its own t quantile in the half width.

    A share's is taken on the logit scale, where it stays between 0 and 1 and is longer towards the middle: near 0 and
    1 the untransformed one covers only 89-92% where seeds differ much.
    """
    half = math.hypot(*(t_quantile((1 + level) / 2, part.df) * math.sqrt(part.variance) for part in parts))
    if scale == SHARE:
        middle, half = math.log(value / (1 - value)), half / (value * (1 - value))
        return _expit(middle - half), _expit(middle + half)
    return scale.clip(value - half), scale.clip(value + half)


def _expit(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > 0 else 1 - 1 / (1 + math.exp(logit))


def _crossed_parts(sample: _Sample, value: float) -> tuple[Part, ...]:
    """Return the seeds' and the items' parts of the variance of the mean, each at least 0."""
    weights = sample.weights
    pull = weights * (sample.values - value)
    n_seeds, n_items = sample.n_seeds, sample.n_items
    by_seed = n_seeds / (n_seeds - 1) * float((np.bincount(sample.seeds, pull) ** 2).sum())
    seed_part = Part(by_seed, n_seeds - 1)
    df = len(sample.values) - n_seeds - n_items + 1
    if n_items == 1 or df < 1:
        return (seed_part,)
    by_item = n_items / (n_items - 1) * float((np.bincount(sample.items, pull) ** 2).sum())
    # Residuals of seed and item effects, fitted by turns; one turn is exact where every seed has every item.
    rest: Floats = sample.values - sample.values.mean()
    for _ in range(1 if len(rest) == n_seeds * n_items else _SWEEPS):
        for codes in (sample.seeds, sample.items):
            rest = rest - (np.bincount(codes, rest) / np.bincount(codes))[codes]
    noise = float(((weights * rest) ** 2).sum()) * len(sample.values) / df
    return (seed_part, Part(max(by_item - noise, 0.0), n_items - 1))


def _without_seed_variance(sample: _Sample, value: float, scale: Scale, level: float) -> Interval:
    """Return the interval over items, for seed means that are all the same: that their variance is 0 is chance."""
    means = sample.seed_means
    pull = sample.weights * (sample.values - means[sample.seeds])
    df = sample.n_items - (sample.n_seeds if sample.n_items == len(sample.values) else 1)
    # Seeds are taken as given: items are the clusters.
    variance = sample.n_items / df * float((np.bincount(sample.items, pull) ** 2).sum()) if df > 0 else 0.0
    if variance <= _TINY:
        return _bound(sample, value, scale, level)
    part = Part(variance, df)
    low, high = _around(value, (part,), scale, level)
    method = f"t interval over {sample.n_items} items, seeds taken as given{_on_scale(scale)}"
    note = "all seeds have the same mean, which cannot tell how seeds vary: the interval is over items only"
    return Interval(value, low, high, (part,), means, method, note)


def _bound(sample: _Sample, value: float, scale: Scale, level: float) -> Interval:
    """Bound the share of items that could still differ where nothing varies, as Clopper and Pearson do at 0 of n.

    With `n` equal items, a share up to `1 - ((1 - level) / 2) ** (1 / n)` may differ from them; those get the most
    extreme values of the scale.
    """
    n_items, means = sample.n_items, sample.seed_means
    if scale.low is None or scale.high is None:
        note = "nothing varies and the measure has no bounds: no interval can be given"
        return Interval(value, None, None, (), means, "none", note)
    share = 1 - ((1 - level) / 2) ** (1 / n_items)
    low = value - share * (value - scale.low)
    high = value + share * (scale.high - value)
    note = "neither seeds nor items differ: a bound over items, which cannot tell how seeds vary"
    return Interval(value, low, high, (), means, f"Clopper-Pearson bound over {n_items} items", note)
