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

A **share** of several seeds near 0 or 1 needs more: most seeds then show nothing, and the seed that would show much is
not among the few that were trained, so that a t interval holds the truth in 76-92%. There the ends come from a
likelihood (`_seed_likelihood.py`).

Where nothing varies, an interval of width 0 would be false; a bound takes its place.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._power import minimum_detectable_effect, t_quantile
from midspec.analysis._seed_likelihood import expit, logit, seed_ends

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
_TINY = 1e-12
_SWEEPS = 25
# Scores that hardly vary within a seed count as at most so many times as many yes-no scores, inverted.
_MIN_SPREAD = 1e-3
# How near to 0 or 1 a rate has its ends from the likelihood alone, and from where from the t interval alone.
_NEAR, _FAR = 0.05, 0.15


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
# Measures that are no shares although all their values may lie between 0 and 1 (a score of 1 everywhere, say).
_SCALES = {"qa_score": Scale(1.0, 10.0), "n_words": Scale(0.0, None), "ratio": Scale(0.0, None)}


def scale_of(measure: str) -> Scale | None:
    """Return the bounds of a measure that is known to be no share; else `None`."""
    return UNBOUNDED if measure.startswith("margin") else _SCALES.get(measure)


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
        low, high = around(value, (part,), scale, level)
        note = "one seed: the interval is over items only and says nothing about other seeds"
        method = f"t interval over {sample.n_items} items of one seed{_on_scale(scale)}"
        return Interval(value, low, high, (part,), means, method, note)
    found = _over_seeds(sample, value, scale, level)
    return _near_an_end(sample, found, level) if scale == SHARE else found


def _over_seeds(sample: _Sample, value: float, scale: Scale, level: float) -> Interval:
    """Return the t interval of several seeds, by whether they share their items."""
    nested = sample.n_items == len(sample.values)
    means = sample.seed_means
    parts = (Part(float(means.var(ddof=1)) / len(means), len(means) - 1),) if nested else _crossed_parts(sample, value)
    if sum(part.variance for part in parts) <= _TINY:
        return _without_seed_variance(sample, value, scale, level)
    low, high = around(value, parts, scale, level)
    over, why = f"{sample.n_seeds} seed means", "each seed has its own items"
    if not nested:
        over, why = f"{sample.n_seeds} seeds and {sample.n_items} items", "two-way clustered: the same items every seed"
    return Interval(value, low, high, parts, means, f"t interval over {over}{_on_scale(scale)} ({why})")


def _on_scale(scale: Scale) -> str:
    return ", on the logit scale" if scale == SHARE else ""


def around(value: float, parts: tuple[Part, ...], scale: Scale, level: float) -> tuple[float, float]:
    """Return the interval about `value`; each part has its own t quantile in the half width.

    A share's is taken on the logit scale, where it stays between 0 and 1 and is longer towards the middle: near 0 and
    1 the untransformed one covers only 89-92% where seeds differ much.
    """
    half = math.hypot(*(t_quantile((1 + level) / 2, part.df) * math.sqrt(part.variance) for part in parts))
    if scale == SHARE:
        middle, half = math.log(value / (1 - value)), half / (value * (1 - value))
        return expit(middle - half), expit(middle + half)
    return scale.clip(value - half), scale.clip(value + half)


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
    noise = float(((weights * _residuals(sample)) ** 2).sum()) * len(sample.values) / df
    return (seed_part, Part(max(by_item - noise, 0.0), n_items - 1))


def _residuals(sample: _Sample) -> Floats:
    """Return what effects of seeds and of items leave; fitted by turns, one where every seed has every item."""
    rest: Floats = sample.values - sample.values.mean()
    for _ in range(1 if len(rest) == sample.n_seeds * sample.n_items else _SWEEPS):
        for codes in (sample.seeds, sample.items):
            rest = rest - (np.bincount(codes, rest) / np.bincount(codes))[codes]
    return rest


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
    low, high = around(value, (part,), scale, level)
    method = f"t interval over {sample.n_items} items, seeds taken as given{_on_scale(scale)}"
    note = "all seeds have the same mean, which cannot tell how seeds vary: the interval is over items only"
    return Interval(value, low, high, (part,), means, method, note)


def _near_an_end(sample: _Sample, found: Interval, level: float) -> Interval:
    """Return the interval of a share of several seeds, with ends from `seed_ends` where the share is near 0 or 1.

    Within 5 points of 0 or 1 they take the place of the t interval's, from 15 points on nothing does; between these an
    end moves from one to the other, so that no rate has an interval quite unlike that of the next one.
    """
    value, shares = found.value, found.seed_means
    of_t = (min(value, 1 - value) - _NEAR) / (_FAR - _NEAR)
    n_same = int((shares == round(value)).sum())
    same = (
        f"{n_same} of {sample.n_seeds} seeds {'is' if n_same == 1 else 'are'} at {round(value):.0%}" if n_same else ""
    )
    notes = (same if of_t <= 0 else found.note, _extremes(shares))
    found = found._replace(note="; ".join(filter(None, notes)))
    if of_t >= 1:
        return found
    nested = sample.n_items == len(sample.values)
    ends = seed_ends(shares, _binary_sizes(sample, nested=nested), level)
    if not nested and len(parts := _crossed_parts(sample, value)) > 1:
        by_item = t_quantile((1 + level) / 2, parts[1].df) * math.sqrt(parts[1].variance) / (value * (1 - value))
        ends = _farther(value, ends[0], by_item), _farther(value, ends[1], by_item)
    method = f"profile likelihood over {sample.n_seeds} seeds, normal on the logit scale"
    if of_t > 0 and found.low is not None and found.high is not None:
        ends = _between(ends[0], found.low, of_t), _between(ends[1], found.high, of_t)
        method = f"between a {found.method} and a {method}"
    return found._replace(low=min(ends[0], value), high=max(ends[1], value), method=method)


def _between(start: float, end: float, share: float) -> float:
    """Return the place between two shares on the logit scale."""
    if not (0 < start < 1 and 0 < end < 1):
        return start
    return expit((1 - share) * logit(start) + share * logit(end))


def _farther(value: float, end: float, by: float) -> float:
    """Move an end of an interval away from `value` by an independent half width `by` on the logit scale."""
    if not 0 < end < 1:
        return end
    middle, length = logit(value), logit(end) - logit(value)
    return expit(middle + math.copysign(math.hypot(length, by), length))


def _extremes(shares: Floats) -> str:
    """Say so where some seeds show nearly nothing and others nearly all: their mean describes none of them."""
    n_none, n_all = int((shares < _NEAR).sum()), int((shares > 1 - _NEAR).sum())
    if not (n_none and n_all):
        return ""
    some = f"{n_none} of {len(shares)} seeds {'is' if n_none == 1 else 'are'} below {_NEAR:.0%}"
    return f"{some} and {n_all} above {1 - _NEAR:.0%}: their mean describes no seed"


def _binary_sizes(sample: _Sample, *, nested: bool) -> Floats:
    """Return how many yes-no scores would tell each seed's share as closely as its own scores do, shape (seeds,).

    That is their number where scores are 0 or 1; scores in between vary less. Where seeds share their items, what an
    item adds to every seed is no noise of one seed.
    """
    n_scores, shares = np.bincount(sample.seeds), sample.seed_means
    most = float((n_scores * shares * (1 - shares)).sum())
    rest: Floats = sample.values - shares[sample.seeds]
    df = len(rest)
    if not nested and len(rest) - sample.n_seeds - sample.n_items + 1 > 0:
        rest, df = _residuals(sample), len(rest) - sample.n_seeds - sample.n_items + 1
    spread = len(rest) / df * float((rest**2).sum()) / most if most > _TINY else 1.0
    sizes: Floats = n_scores / min(1.0, max(_MIN_SPREAD, spread))
    return sizes


def _bound(sample: _Sample, value: float, scale: Scale, level: float) -> Interval:
    """Bound the share of items that could still differ where nothing varies, as Clopper and Pearson do at 0 of n.

    With `n` equal items, a share up to `1 - ((1 - level) / 2) ** (1 / n)` may differ from them; those get the most
    extreme values of the scale.
    """
    n_items, n_seeds, means = sample.n_items, sample.n_seeds, sample.seed_means
    if scale.low is None or scale.high is None:
        note = "nothing varies and the measure has no bounds: no interval can be given"
        return Interval(value, None, None, (), means, "none", note)
    share = 1 - ((1 - level) / 2) ** (1 / n_items)
    low = value - share * (value - scale.low)
    high = value + share * (scale.high - value)
    if scale == SHARE and n_seeds > 1 and value in (0.0, 1.0):
        ends = seed_ends(means, np.bincount(sample.seeds).astype(np.float64), level)
        note = f"all {n_seeds} seeds are at {value:.0%}: a bound over seeds, for a standard deviation of up to 3 logits"
        method = f"profile likelihood over {n_seeds} seeds and {n_items} items, seeds normal on the logit scale"
        return Interval(value, min(low, ends[0]), max(high, ends[1]), (), means, method, note)
    note = "neither seeds nor items differ: a bound over items, which cannot tell how seeds vary"
    return Interval(value, low, high, (), means, f"Clopper-Pearson bound over {n_items} items", note)
