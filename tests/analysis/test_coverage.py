"""Simulated studies: how often do 95% intervals hold the truth?

Every study draws seed effects and item effects on the logit scale and scores in quarter steps (two orders x two
phrasings), as the evaluation does. Measured with 1,500 studies a case (more were run while choosing the estimators):

| design | rates | contrasts |
|---|---|---|
| nested, 5-8 seeds, 30-60 items each | 93.6-96.3% | 93.1-94.7% |
| crossed, 3-4 seeds, 40-150 items | 94.7-97.7% | 94.5-97.7% |
| crossed, 2 seeds | 95.5-98.7% | 94.8-99.1% |
| one seed, 30-160 items, truth over items | 94.3-98.0% | 92.9-95.8% |

The limits: with two or three crossed seeds that hardly differ the intervals are wider than they need be (up to 99%):
one degree of freedom can't tell that they don't differ. With yes-no scores of 30 items at a rate of 0.93 they cover
98%.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from midspec.analysis._intervals import DIFFERENCE, SHARE, interval

N_STUDIES = 1500
Floats = NDArray[np.float64]


def scores(rng: np.random.Generator, shape: tuple[int, int], sds: tuple[float, float], mean: float, nested: bool):
    """Scores of many studies, (study, seed, item), in quarter steps."""
    n_seeds, n_items = shape
    by_seed = rng.normal(0, sds[0], (N_STUDIES, n_seeds, 1))
    by_item = rng.normal(0, sds[1], (N_STUDIES, n_seeds if nested else 1, n_items))
    return rng.binomial(4, 1 / (1 + np.exp(-(mean + by_seed + by_item)))) / 4


def true_rate(sds: tuple[float, float], mean: float) -> float:
    """The mean over all seeds and items, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float((weights / (1 + np.exp(-(mean + np.hypot(*sds) * nodes)))).sum() / weights.sum())


def coverage(values: Floats, truth: float, nested: bool, scale) -> float:
    _, n_seeds, n_items = values.shape
    seeds = np.repeat(np.arange(n_seeds), n_items)
    items = np.arange(n_seeds * n_items) if nested else np.tile(np.arange(n_items), n_seeds)
    found = [interval(study.ravel(), seeds, items, scale, 0.95) for study in values]
    return sum(one.low <= truth <= one.high for one in found) / len(found)


CASES = [
    # design, (seeds, items), (seed sd, item sd), mean logit, least, most
    ("nested", (5, 30), (0.0, 1.0), 0.0, 0.93, 0.97),
    ("nested", (5, 40), (1.0, 1.0), 0.0, 0.93, 0.97),
    ("nested", (8, 60), (1.0, 1.0), 2.0, 0.93, 0.97),
    ("crossed", (4, 40), (1.0, 1.0), 0.0, 0.93, 0.97),
    ("crossed", (4, 150), (0.2, 1.0), 0.0, 0.93, 0.975),
    ("crossed", (3, 40), (0.5, 1.0), 1.5, 0.93, 0.975),
    ("crossed", (2, 150), (1.0, 1.0), 0.0, 0.93, 0.97),
    ("crossed", (2, 40), (0.0, 1.0), 0.0, 0.95, 0.995),
    ("nested", (1, 40), (0.0, 1.0), 0.0, 0.93, 0.97),
    ("nested", (1, 60), (0.0, 1.0), 3.0, 0.93, 0.97),
]


@pytest.mark.parametrize(("design", "shape", "sds", "mean", "least", "most"), CASES)
def test_a_rate_lies_in_its_95_percent_interval_as_often_as_said(design, shape, sds, mean, least, most):
    rng = np.random.default_rng(zlib.crc32(repr((design, shape, sds, mean)).encode()))
    nested = design == "nested"
    covered = coverage(scores(rng, shape, sds, mean, nested), true_rate(sds, mean), nested, SHARE)
    assert least <= covered <= most


@pytest.mark.parametrize(
    ("design", "shape", "least", "most"),
    [
        ("nested", (5, 40), 0.93, 0.97),
        ("nested", (8, 30), 0.93, 0.97),
        ("crossed", (4, 150), 0.93, 0.97),
        ("crossed", (3, 40), 0.93, 0.975),
        ("crossed", (2, 150), 0.93, 0.975),
        ("nested", (1, 60), 0.93, 0.97),
    ],
)
def test_a_contrast_lies_in_its_95_percent_interval_as_often_as_said(design, shape, least, most):
    rng = np.random.default_rng(zlib.crc32(repr((design, shape)).encode()))
    nested, sds = design == "nested", (0.0 if shape[0] == 1 else 0.7, 1.0)
    plus, minus = (scores(rng, shape, sds, mean, nested) for mean in (1.0, -1.0))
    truth = true_rate(sds, 1.0) - true_rate(sds, -1.0)
    assert least <= coverage(plus - minus, truth, nested, DIFFERENCE) <= most
