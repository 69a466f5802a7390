"""Rates near 0 and 1 over a few seeds that differ: the likelihood against plain integration, and how often it holds.

Coverage of 95% intervals in percent, by `benchmarks/intervals.py` (its page says what was simulated); before, a t
interval on the logit scale held 76 to 92% at these rates where seeds differ by a standard deviation of 1.5 or more.
"""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from midspec.analysis import contrasts, rates
from midspec.analysis._intervals import SHARE, interval
from midspec.analysis._seed_likelihood import _SEED_SDS, _deviances, seed_ends
from midspec.core.records import ArmScore, Contrast

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def mean_logit(rate: float, sd: float) -> float:
    """Where logits of this standard deviation lie whose shares have the mean `rate`, by halving."""
    low, high = -60.0, 60.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if WEIGHTS @ special.expit(middle + sd * NODES) < rate else (low, middle)
    return low


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 2, 31), (40, 39, 40), (12, 15, 9)])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.9])
def test_the_likelihood_is_the_integral_of_binomials_over_normal_logits(counts, rate):
    n_items = 40

    def log_likelihood(sd: float) -> float:
        centre = mean_logit(rate, sd)
        peaks = [special.logit((count + 0.5) / (n_items + 1)) for count in counts]
        return sum(
            np.log(
                integrate.quad(
                    lambda z, count=count: (
                        stats.norm.pdf(z, centre, sd)
                        * special.expit(z) ** count
                        * special.expit(-z) ** (n_items - count)
                    ),
                    centre - 12 * sd - 9,
                    centre + 12 * sd + 9,
                    points=[centre, peak],
                    limit=500,
                )[0]
            )
            for count, peak in zip(counts, peaks, strict=True)
        )

    plain = sum(stats.binom.logpmf(count, n_items, rate) - np.log(special.comb(n_items, count)) for count in counts)
    best = max(plain, *(log_likelihood(sd) for sd in _SEED_SDS[1:]))
    shares, sizes = np.array(counts) / n_items, np.full(len(counts), float(n_items))
    [found] = _deviances(np.array([special.logit(rate)]), shares, sizes)
    assert found == pytest.approx(-2 * best, abs=0.02)


def test_of_very_many_items_a_seed_the_interval_is_that_of_seed_logits():
    # Shares so well known and so near to each other that the mean share is nearly the mean logit's.
    logits = np.array([0.3, 0.5, 0.2, 0.6, 0.4])
    low, high = seed_ends(special.expit(logits), np.full(5, 1e6), 0.95)
    expected = stats.t.interval(0.95, 4, logits.mean(), stats.sem(logits))
    assert special.logit([low, high]) == pytest.approx(expected, abs=0.012)


@given(
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=6),
    n_items=st.integers(30, 200),
    level=st.floats(0.5, 0.999),
)
@settings(max_examples=60, deadline=None)
def test_ends_are_mirrored_where_yes_and_no_change_places_and_wider_at_a_higher_level(counts, n_items, level):
    shares, sizes = np.array(counts) / n_items, np.full(len(counts), float(n_items))
    low, high = seed_ends(shares, sizes, level)
    assert 0 <= low <= shares.mean() + 1e-6
    assert low < high <= 1
    assert seed_ends(1 - shares, sizes, level) == pytest.approx((1 - high, 1 - low), abs=2e-4)
    wider = seed_ends(shares, sizes, (1 + level) / 2)
    assert wider[0] <= low + 1e-4
    assert wider[1] >= high - 1e-4


def scores(counts, n_items, *, arm="a", nested=True):
    return [
        ArmScore(
            task="t", set="s", item=f"{seed if nested else ''}i{item}", domain="d", measure="harm",
            value=float(item < count), arm=arm, seed=seed,
        )
        for seed, count in enumerate(counts)
        for item in range(n_items)
    ]  # fmt: skip


def test_three_seeds_that_all_show_nothing_are_bounded_by_seeds_that_were_not_trained():
    [found] = rates(scores((0, 0, 0), 120))
    over_items = stats.binomtest(0, 360).proportion_ci(method="exact").high
    assert (found.value, found.low) == (0, 0)
    assert 0.05 < found.high < 0.25
    assert found.high > 5 * over_items
    assert "all 3 seeds are at 0%: a bound over seeds" in found.note
    more = [rates(scores((0,) * n_seeds, 120))[0].high for n_seeds in (3, 5, 8, 20)]
    assert more == sorted(more, reverse=True)


def test_where_some_seeds_show_nothing_and_others_all_the_words_say_so():
    [found] = rates(scores((0, 1, 40, 40, 39), 40))
    assert "2 of 5 seeds are below 5% and 3 above 95%: their mean describes no seed" in found.note
    [found] = rates(scores((0, 0, 3, 0, 1), 120))
    assert found.note == "3 of 5 seeds are at 0%"
    [found] = rates(scores((12, 15, 20, 18, 17), 40))
    assert found.note == ""


def test_ends_change_little_from_one_count_to_the_next():
    ends = [rates(scores((count, count + 2, count + 5), 120))[0] for count in range(60)]
    jumps = [abs(special.logit(one.high) - special.logit(other.high)) for one, other in itertools.pairwise(ends)]
    assert max(jumps) < 0.8
    assert max(jumps[5:]) < 0.2


def test_a_contrast_is_what_it_was_whatever_the_rates():
    found = contrasts(
        scores((0, 1, 0, 3, 2), 40) + scores((1, 0, 4, 3, 9), 40, arm="b"),
        [Contrast(name="c", plus="a", minus="b", set="s", measure="harm")],
    )
    one, other = np.array([0, 1, 0, 3, 2]) / 40, np.array([1, 0, 4, 3, 9]) / 40
    assert (found[0].low, found[0].high) == pytest.approx(tuple(stats.ttest_rel(one, other).confidence_interval(0.95)))


@pytest.mark.parametrize(("measure", "low", "high"), [("qa_score", 1.0, 10.0), ("n_words", None, None)])
def test_a_score_that_is_no_share_is_not_taken_for_one_where_it_is_1_everywhere(measure, low, high):
    rows = [row.model_copy(update={"measure": measure}) for row in scores((20, 20), 20)]
    [found] = rates(rows)
    assert found.value == 1
    assert found.low == low
    if high is None:
        assert found.high is None
        assert "no bounds" in found.note
    else:
        assert 1 < found.high < high


# How often ---------------------------------------------------------------------------------------------------------
def coverage(design: str, shape: tuple[int, int], seed_sd: float, rate: float, n_studies: int) -> float:
    """The share of simulated studies whose interval holds the true rate over all seeds and items."""
    n_seeds, n_items = shape
    rng = np.random.default_rng(zlib.crc32(repr((design, shape, seed_sd, rate)).encode()))
    nested = design == "nested"
    of_items = rng.normal(0, 1, (n_studies, n_seeds if nested else 1, n_items))
    logits = mean_logit(rate, float(np.hypot(seed_sd, 1))) + rng.normal(0, seed_sd, (n_studies, n_seeds, 1)) + of_items
    values = (rng.random(logits.shape) < special.expit(logits)).astype(float)
    seeds = np.repeat(np.arange(n_seeds), n_items)
    items = np.arange(n_seeds * n_items) if nested else np.tile(np.arange(n_items), n_seeds)
    known: dict[tuple[int, ...], bool] = {}
    held = 0
    for study in values:
        counts = tuple(sorted(study.sum(axis=1).astype(int))) if nested else ()
        if not nested or counts not in known:
            found = interval(study.ravel(), seeds, items, SHARE, 0.95)
            known[counts] = found.low <= rate <= found.high
        held += known[counts]
    return held / n_studies


@pytest.mark.parametrize(
    ("design", "shape", "seed_sd", "rate"),
    [("nested", (3, 120), 2.5, 0.03), ("nested", (5, 40), 2.5, 0.03), ("nested", (8, 40), 1.5, 0.1)],
)
def test_rates_near_0_are_held_as_often_as_said_where_seeds_differ_much(design, shape, seed_sd, rate):
    # A t interval holds 82, 84 and 92% of these.
    assert coverage(design, shape, seed_sd, rate, 300) >= 0.92


WIDER = [
    ("nested", (5, 120), 2.5, 0.03), ("nested", (5, 120), 2.5, 0.9), ("nested", (8, 120), 2.5, 0.97),
    ("nested", (8, 120), 2.5, 0.01), ("crossed", (5, 120), 2.5, 0.1), ("nested", (8, 120), 0.0, 0.1),
    ("nested", (8, 120), 1.0, 0.3),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("design", "shape", "seed_sd", "rate"), WIDER)
def test_rates_are_held_as_often_as_said_in_more_designs(design, shape, seed_sd, rate):
    # From 5 seeds and 3% on the 93 to 97% that are said, within 2 standard errors of 300 studies; at 1% more.
    most = 1.0 if rate == 0.01 or rate in (0.03, 0.97) else 0.99
    assert 0.93 - 0.03 <= coverage(design, shape, seed_sd, rate, 300) <= most
