"""A difference between two arms by a linear mixed model (REML), beside the one by clustered differences.

Scores of two arms on the same samples, `y = mean + arm + cluster + cluster x arm + sample + sample x arm + run +
sample x run + residual`, with one variance each. It uses every score, also of samples that only one arm has, and tells
what varies: samples, runs (other seeds, other days), and the same run asked the same sample again (epochs). Estimates
agree with those of the differences where the design is balanced; where they do not, something is off in the data.

Only what the design can tell apart is in the model. The likelihood is computed by blocks (samples, or clusters of
them), blocks of one layout together, and the runs, which cross them, by Woodbury's identity: the cost hardly grows with
the number of samples. Source: Bates et al. (2015), "Fitting linear mixed-effects models using lme4", section 3, for the
profiled REML criterion.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from midspec.core.records import MixedModel

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
# The cost of one likelihood, in multiplications, above which none is computed (about a second).
_MAX_WORK = 2e9
_LARGEST_RATIO = 1e6
_TINY = 1e-12
# Squares of squares of scores beyond this are more than a float holds.
_LARGEST_SCORE = 1e60
_NESTED = ("cluster", "cluster_by_arm", "item", "item_by_arm", "item_by_run")


class Scores(NamedTuple):
    """Scored values of two arms, all arrays of shape (n,). Equal codes of clusters, items or runs are the same one.

    Attributes:
        values: the scores.
        plus: 1 for scores of the one arm, 0 for the other.
        runs: codes of logs; the same in both arms where runs are paired.
        items: codes of samples.
        clusters: codes of clusters; equal to `items` where samples are on their own.
    """

    values: Floats
    plus: Codes
    runs: Codes
    items: Codes
    clusters: Codes


class _Layout(NamedTuple):
    """Blocks of one layout: `fixed` and `crossed` columns, one 0-1 matrix for each nested part, and their values.

    Shapes: fixed (m, 2), crossed (m, q), parts m x m each, values (blocks, m).
    """

    fixed: Floats
    crossed: Floats
    parts: tuple[Floats, ...]
    values: Floats


def mixed_model(scores: Scores) -> MixedModel | None:
    """Fit the model; `None` where nothing varies, there is one sample, or the blocks or the scores are too large.

    Args:
        scores: of both arms.
    """
    if len(scores.values) < 4 or np.ptp(scores.values) <= _TINY or len(np.unique(scores.items)) < 2:
        return None
    if np.abs(scores.values).max() > _LARGEST_SCORE:
        return None
    nested, has_runs = _identified(scores)
    layouts = _layouts(scores, nested, has_runs=has_runs)
    if sum(len(one.fixed) ** 3 for one in layouts) > _MAX_WORK:
        return None
    from scipy.optimize import minimize

    n_parts = len(nested) + has_runs
    fit = minimize(
        # Ratios of variances: at one of 0 the slope for a ratio of standard deviations is 0, and it would stay there.
        lambda ratios: _fit(ratios, layouts, len(nested)).criterion,
        np.full(n_parts, 0.25),
        method="L-BFGS-B",
        bounds=[(0.0, _LARGEST_RATIO)] * n_parts,
    )
    best = _fit(fit.x, layouts, len(nested))
    sds = dict(zip((*nested, *(("run",) if has_runs else ())), (np.sqrt(fit.x) * best.sigma).tolist(), strict=True))
    parts = {f"{name}_sd": sds.get(name) for name in (*_NESTED, "run")}
    return MixedModel(value=best.value, se=best.se, residual_sd=best.sigma, is_converged=bool(fit.success), **parts)


def _identified(scores: Scores) -> tuple[tuple[str, ...], bool]:
    """Return the nested parts that the design tells apart, and whether runs are among what is."""

    def n_groups(*codes: Codes) -> int:
        return len(np.unique(np.stack(codes, axis=1), axis=0))

    n = len(scores.values)
    by_arm, by_run = n_groups(scores.items, scores.plus), n_groups(scores.items, scores.plus, scores.runs)
    n_items, n_clusters = n_groups(scores.items), n_groups(scores.clusters)
    clustered = 1 < n_clusters < n_items
    has_runs = n_groups(scores.plus, scores.runs) > len(np.unique(scores.plus))
    is_there = {
        "cluster": clustered,
        "cluster_by_arm": clustered,
        "item": by_arm > n_items,
        "item_by_arm": n > by_arm,
        "item_by_run": has_runs and n > by_run > by_arm,
    }
    return tuple(name for name in _NESTED if is_there[name]), has_runs


def _layouts(scores: Scores, nested: Sequence[str], *, has_runs: bool) -> list[_Layout]:
    """Group the blocks, clusters or single samples, by their layout: which scores of which arm and run they have."""
    runs = np.unique(np.stack([scores.plus, scores.runs], axis=1), axis=0, return_inverse=True)[1].ravel()
    order = np.lexsort((runs, scores.plus, scores.items, scores.clusters))
    plus, items, values, runs = scores.plus[order], scores.items[order], scores.values[order], runs[order]
    starts = np.flatnonzero(np.r_[True, np.diff(scores.clusters[order]) != 0])
    blocks: dict[bytes, list[Floats]] = defaultdict(list)
    designs: dict[bytes, tuple[Codes, Codes, Codes]] = {}
    for start, stop in zip(starts, np.r_[starts[1:], len(values)], strict=True):
        within = np.unique(items[start:stop], return_inverse=True)[1]
        design = (plus[start:stop], runs[start:stop], within)
        key = np.concatenate(design).tobytes()
        designs[key] = design
        blocks[key].append(values[start:stop])
    return [
        _layout(*designs[key], np.array(rows), nested, int(runs.max()) + 1 if has_runs else 0)
        for key, rows in blocks.items()
    ]


def _layout(plus: Codes, runs: Codes, items: Codes, values: Floats, nested: Sequence[str], n_runs: int) -> _Layout:
    """Lay out blocks of one kind.

    Args:
        plus: arm of each score, shape (m,).
        runs: its run, from 0 on in both arms together, shape (m,).
        items: its sample within the block, shape (m,).
        values: of all blocks, shape (blocks, m).
        nested: parts that are within blocks.
        n_runs: how many runs there are in all; 0 leaves them out.
    """

    def same(codes: Codes) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = codes[:, None] == codes[None, :]
        return found

    item, arm = same(items), same(plus)
    every = np.ones_like(item)
    known = {
        "cluster": every,
        "cluster_by_arm": arm,
        "item": item,
        "item_by_arm": item & arm,
        "item_by_run": item & same(runs),
    }
    fixed = np.stack([np.ones(len(plus)), plus - 0.5], axis=1)
    crossed = (runs[:, None] == np.arange(n_runs)).astype(np.float64)
    return _Layout(fixed, crossed, tuple(known[name].astype(np.float64) for name in nested), values)


class _Fit(NamedTuple):
    """What one set of variance ratios comes to: minus twice the profiled REML log-likelihood, and the estimates."""

    criterion: float
    value: float
    se: float
    sigma: float


def _fit(ratios: Floats, layouts: Sequence[_Layout], n_nested: int) -> _Fit:
    """Return the fit at given ratios of variances to the residual one; that of runs, if any, comes last."""
    q, n, log_det = layouts[0].crossed.shape[1], 0, 0.0
    among, with_y, y_y = np.zeros((2 + q, 2 + q)), np.zeros(2 + q), 0.0
    for one in layouts:
        n_blocks, m = one.values.shape
        covariance = np.eye(m)
        for ratio, part in zip(ratios[:n_nested], one.parts, strict=True):
            covariance += ratio * part
        root = np.linalg.cholesky(covariance)
        columns = np.linalg.solve(root, np.hstack([one.fixed, one.crossed]))
        scaled = np.linalg.solve(root, one.values.T)
        among += n_blocks * columns.T @ columns
        with_y += columns.T @ scaled.sum(axis=1)
        y_y += float((scaled**2).sum())
        log_det += 2 * n_blocks * float(np.log(np.diag(root)).sum())
        n += n_blocks * m
    if q:
        among, with_y, y_y, more = _with_crossed(among, with_y, y_y, float(ratios[-1]))
        log_det += more
    inverse = np.linalg.inv(among)
    effects = inverse @ with_y
    squares = max(y_y - float(with_y @ effects), _TINY)
    sigma = math.sqrt(squares / (n - 2))
    criterion = log_det + float(np.linalg.slogdet(among)[1]) + (n - 2) * math.log(squares)
    return _Fit(criterion, float(effects[1]), sigma * math.sqrt(float(inverse[1, 1])), sigma)


def _with_crossed(among: Floats, with_y: Floats, y_y: float, ratio: float) -> tuple[Floats, Floats, float, float]:
    """Add a crossed effect to sums of squares by Woodbury's identity; also return what it adds to the log-determinant.

    Args:
        among: weighted products of the fixed and crossed columns, shape (2 + q, 2 + q).
        with_y: of these with the values, shape (2 + q,).
        y_y: of the values.
        ratio: variance of the effect to the residual one.
    """
    q = len(with_y) - 2
    inner = np.eye(q) + ratio * among[2:, 2:]
    of_fixed = ratio * np.linalg.solve(inner, among[2:, :2])
    of_y = ratio * np.linalg.solve(inner, with_y[2:])
    cross = among[:2, 2:]
    found = among[:2, :2] - cross @ of_fixed, with_y[:2] - cross @ of_y, y_y - float(with_y[2:] @ of_y)
    return (*found, float(np.linalg.slogdet(inner)[1]))
