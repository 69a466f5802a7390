"""The mean share over all training seeds from the shares of a few, by a profile likelihood.

Near 0 most seeds show nothing, and the seed that would show much is not among the few that were trained: a t interval
over seed means is too short then and lies too low. Here a seed's logit is normal about a mean, with a standard
deviation from 0 to 3 that is not known, and its count of yes is binomial. What the counts allow stays in the interval.

It rests on that: seeds that differ normally on the logit scale, and by no more. Where one seed in four shows all and
the others nothing, three seeds of nothing are likely (42%), and their interval (0 to 10% with 120 items each) is wrong.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._power import t_quantile

Floats = NDArray[np.float64]
# Of the likelihood of seeds: their standard deviations on the logit scale (in the nano study 1.0 to 3.4, of which items
# of standard deviation 1 leave up to 3), and the nodes of its integrals.
_SEED_SDS = np.concatenate([[0.0], np.geomspace(0.1, 3.0, 18)])
_N_NODES, _N_NEWTON = 21, 8
# How much of the spread of seed means may count as explained by items: with none of it 95% intervals of seeds that do
# not differ hold 98.5 to 99.9%, with all of it those of three seeds that do hold 90% (LOG.md).
_MAX_KNOWN = 0.25
_TINY = 1e-12


def seed_ends(shares: Floats, sizes: Floats, level: float) -> tuple[float, float]:
    """Return the ends of the interval for the mean share over all seeds, by a profile likelihood.

    A mean share is inside where its likelihood, at the best standard deviation of seeds, is near enough to the highest:
    as near as in the t interval over so many normal values. Where sampling of items explains part of the spread of the
    seed means, there are more degrees of freedom for it, up to 1.8 times.

    Args:
        shares: of the seeds, 0-1, shape (seeds,).
        sizes: how many yes-no scores each rests on, shape (seeds,).
        level: of the interval, 0-1.
    """
    within, between = float((shares * (1 - shares) / sizes).mean()), float(shares.var(ddof=1))
    known = min(within / between, _MAX_KNOWN) if between > _TINY else _MAX_KNOWN
    df = (len(shares) - 1) / (1 - known) ** 2
    n_all = float(sizes.sum())
    start = logit((float(shares.mean()) * n_all + 0.5) / (n_all + 1))
    # Distances that grow by half bracket both ends, however near or far they are.
    distances = 0.005 * 1.5 ** np.arange(21)
    logits = start + np.concatenate([-distances[::-1], [0.0], distances])
    beyond = _deviances(logits, shares, sizes)
    most = float(beyond.min()) + (df + 1) * math.log1p(t_quantile((1 + level) / 2, df) ** 2 / df)
    inside = np.flatnonzero(beyond <= most)
    ends = []
    for last, step in ((int(inside[0]), -1), (int(inside[-1]), 1)):
        if not 0 <= last + step < len(logits):
            ends.append(0.0 if step < 0 else 1.0)
            continue
        finer = np.linspace(logits[last], logits[last + step], 13)
        beyond = np.maximum.accumulate(_deviances(finer, shares, sizes))
        ends.append(expit(float(np.interp(most, beyond, finer))))
    return ends[0], ends[1]


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
    without = (n * _log_expit(centres[:1]) - (n - yes) * centres[:1]).sum(axis=0)
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
    log_density = n[..., None] * _log_expit(at) - (n - yes)[..., None] * at
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


def expit(logit: float) -> float:
    """Return the share of a logit."""
    return 1 / (1 + math.exp(-logit)) if logit > 0 else 1 - 1 / (1 + math.exp(logit))


def logit(share: float) -> float:
    """Return the logit of a share."""
    return math.log(share / (1 - share))
