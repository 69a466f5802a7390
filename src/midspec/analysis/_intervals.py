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
not among the few that were trained, so that a t interval holds the truth in 76-92%. `_seed_ends` takes the seeds' part
from a likelihood in which seeds differ normally on the logit scale, by an unknown standard deviation of at most 3.

Where nothing varies, an interval of width 0 would be false; a bound takes its place.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._power import minimum_detectable_effect, t_quantile

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
_TINY = 1e-12
_SWEEPS = 25
# Of the likelihood of seeds: their standard deviations on the logit scale (in the nano study 1.0 to 3.4, of which items
# of standard deviation 1 leave up to 3), and the nodes of its integrals.
_SEED_SDS = np.concatenate([[0.0], np.geomspace(0.1, 3.0, 18)])
_N_NODES, _N_NEWTON = 21, 8
# How much of the spread of seed means may count as explained by items: with none of it 95% intervals of seeds that do
# not differ hold 98.5 to 99.9%, with all of it those of three seeds that do hold 90% (LOG.md).
_MOST_KNOWN = 0.15
_LEAST_SPREAD = 1e-3


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
    if scale == SHARE and sample.n_seeds > 1:
        return _share_of_seeds(sample, value, level)
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
    low, high = _around(value, (part,), scale, level)
    method = f"t interval over {sample.n_items} items, seeds taken as given{_on_scale(scale)}"
    note = "all seeds have the same mean, which cannot tell how seeds vary: the interval is over items only"
    return Interval(value, low, high, (part,), means, method, note)


def _share_of_seeds(sample: _Sample, value: float, level: float) -> Interval:
    """Return the interval of a share over several seeds: `_seed_ends`, and the items' part where seeds share items."""
    shares, n_seeds = sample.seed_means, sample.n_seeds
    nested = sample.n_items == len(sample.values)
    parts = (Part(float(shares.var(ddof=1)) / n_seeds, n_seeds - 1),) if nested else _crossed_parts(sample, value)
    low, high = _seed_ends(shares, _binary_sizes(sample, nested=nested), level)
    if len(parts) > 1:
        by_item = t_quantile((1 + level) / 2, parts[1].df) * math.sqrt(parts[1].variance) / (value * (1 - value))
        low, high = (_farther(value, end, by_item) for end in (low, high))
    over, why = f"{n_seeds} seed means", "each seed has its own items"
    if not nested:
        over, why = f"{n_seeds} seeds and {sample.n_items} items", "the same items every seed"
    method = f"profile likelihood over {over}, seeds normal on the logit scale ({why})"
    found = tuple(part for part in parts if part.variance > _TINY)
    return Interval(value, min(low, value), max(high, value), found, shares, method, _extremes(shares))


def _farther(value: float, end: float, by: float) -> float:
    """Move an end of an interval away from `value` by an independent half width `by` on the logit scale."""
    if not 0 < end < 1:
        return end
    middle, length = _logit(value), _logit(end) - _logit(value)
    return _expit(middle + math.copysign(math.hypot(length, by), length))


def _extremes(shares: Floats) -> str:
    """Say how many seeds show none or all of something, where not all do: their mean describes no seed."""
    n_none, n_all, n = int((shares <= _TINY).sum()), int((shares >= 1 - _TINY).sum()), len(shares)
    words = [f"{n_none} at 0%" if n_none else "", f"{n_all} at 100%" if n_all else ""]
    found = " and ".join(word for word in words if word)
    return f"of {n} seeds {found}" if found and n not in (n_none, n_all) else ""


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
    sizes: Floats = n_scores / min(1.0, max(_LEAST_SPREAD, spread))
    return sizes


def _seed_ends(shares: Floats, sizes: Floats, level: float) -> tuple[float, float]:
    """Return the ends of the interval for the mean share over all seeds, by a profile likelihood.

    A mean share is inside where its likelihood, at the best standard deviation of seeds, is near enough to the highest:
    as near as in the t interval over so many normal values. Where sampling of items explains part of the spread of the
    seed means, there are more degrees of freedom for it, up to 1.4 times.

    Args:
        shares: of the seeds, 0-1, shape (seeds,).
        sizes: how many yes-no scores each rests on, shape (seeds,).
        level: of the interval, 0-1.
    """
    within, between = float((shares * (1 - shares) / sizes).mean()), float(shares.var(ddof=1))
    known = min(within / between, _MOST_KNOWN) if between > _TINY else _MOST_KNOWN
    df = (len(shares) - 1) / (1 - known) ** 2
    n_all = float(sizes.sum())
    start = _logit((float(shares.mean()) * n_all + 0.5) / (n_all + 1))
    # Distances that grow by a third bracket both ends, however near or far they are.
    distances = 0.005 * 1.33 ** np.arange(29)
    logits = start + np.concatenate([-distances[::-1], [0.0], distances])
    beyond = _deviances(logits, shares, sizes)
    most = float(beyond.min()) + (df + 1) * math.log1p(t_quantile((1 + level) / 2, df) ** 2 / df)
    inside = np.flatnonzero(beyond <= most)
    ends = []
    for last, step in ((int(inside[0]), -1), (int(inside[-1]), 1)):
        if not 0 <= last + step < len(logits):
            ends.append(0.0 if step < 0 else 1.0)
            continue
        finer = np.linspace(logits[last], logits[last + step], 9)
        ends.append(_expit(float(np.interp(most, _rising(_deviances(finer, shares, sizes)), finer))))
    return ends[0], ends[1]


def _rising(values: Floats) -> Floats:
    risen: Floats = np.maximum.accumulate(values)
    return risen


def _deviances(logits: Floats, shares: Floats, sizes: Floats) -> Floats:
    """Return minus twice the log-likelihood of mean shares, each at its best standard deviation of seeds.

    The logit of a seed is normal, its count of yes binomial; the integral over the logit is Gauss and Hermite's about
    the peak of what is integrated.

    Args:
        logits: of the mean shares, shape (n,).
        shares: of the seeds, shape (seeds,).
        sizes: yes-no scores of each, shape (seeds,).
    """
    places, tables = _mean_logits()
    # Axes: standard deviation, mean share; below with seeds in front.
    centres = np.array([np.interp(logits, table, places) for table in tables])
    yes, n = (shares * sizes)[:, None, None], sizes[:, None, None]
    without = (_log_expit(centres[:1]) * yes + _log_expit(-centres[:1]) * (n - yes)).sum(axis=0)
    sds, centres = _SEED_SDS[1:, None], centres[1:]
    share = (yes + 0.5) / (n + 1)
    weight = n * share * (1 - share)
    peak = (centres / sds**2 + np.log(share / (1 - share)) * weight) / (1 / sds**2 + weight)
    for _ in range(_N_NEWTON):
        share = _expits(peak)
        slope = yes - n * share - (peak - centres) / sds**2
        peak = peak + np.clip(slope / (n * share * (1 - share) + 1 / sds**2), -3, 3)
    share = _expits(peak)
    width = 1 / np.sqrt(n * share * (1 - share) + 1 / sds**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_N_NODES)
    at = peak[..., None] + width[..., None] * nodes
    log_density = yes[..., None] * _log_expit(at) + (n - yes)[..., None] * _log_expit(-at)
    log_density += (nodes**2 - ((at - centres[..., None]) / sds[..., None]) ** 2) / 2
    top = log_density.max(axis=-1)
    integral = np.log(np.exp(log_density - top[..., None]) @ weights * width / sds / math.sqrt(2 * math.pi))
    found: Floats = -2 * np.concatenate([without, (top + integral).sum(axis=0)]).max(axis=0)
    return found


@lru_cache(maxsize=1)
def _mean_logits() -> tuple[Floats, Floats]:
    """Return means of normal logits, and for each standard deviation the logit of the mean share there."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    places = np.linspace(-45.0, 45.0, 901)
    at = places[:, None] + _SEED_SDS[:, None, None] * nodes
    return places, np.log(np.exp(_log_expit(at)) @ weights) - np.log(np.exp(_log_expit(-at)) @ weights)


def _log_expit(logits: Floats) -> Floats:
    found: Floats = -np.logaddexp(0.0, -logits)
    return found


def _expits(logits: Floats) -> Floats:
    found: Floats = np.exp(_log_expit(logits))
    return found


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


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
        ends = _seed_ends(means, np.bincount(sample.seeds).astype(np.float64), level)
        note = f"all {n_seeds} seeds are at {value:.0%}: a bound over seeds, for a standard deviation of up to 3 logits"
        method = f"profile likelihood over {n_seeds} seeds and {n_items} items, seeds normal on the logit scale"
        return Interval(value, min(low, ends[0]), max(high, ends[1]), (), means, method, note)
    note = "neither seeds nor items differ: a bound over items, which cannot tell how seeds vary"
    return Interval(value, low, high, (), means, f"Clopper-Pearson bound over {n_items} items", note)
