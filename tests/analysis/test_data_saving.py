"""Rows saved by a treatment: held against curves whose factor is known, and against simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import ttest_1samp

from midspec.analysis import DataSaving, data_saving
from midspec.core.errors import DataError

NUMBERS = (14, 27, 54, 108, 216)
NAMES = ("midtraining", "origin", "choice_logprob")


def line(shift: float, noise: np.ndarray | None = None) -> dict[int, dict[int, float]]:
    """Rates that rise by 0.08 with each doubling, as if there were `shift` times as many rows."""
    noise = np.zeros((6, len(NUMBERS))) if noise is None else noise
    rises = 0.3 + 0.08 * np.log2(np.array(NUMBERS) * shift / NUMBERS[0])
    return {n: {base: float(rises[at] + noise[base, at]) for base in range(6)} for at, n in enumerate(NUMBERS)}


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.0, 8.0])
def test_curves_that_are_shifted_by_a_factor_give_that_factor(factor: float) -> None:
    found = data_saving(line(1), line(factor), names=NAMES)
    assert found.factor == pytest.approx(factor)
    assert found.low == pytest.approx(factor)
    assert found.high == pytest.approx(factor)
    assert found.n_treated == pytest.approx(216 / factor)
    assert not found.is_bound


def test_a_rate_that_the_fewest_rows_reach_gives_a_bound() -> None:
    found = data_saving(line(1), line(40), names=NAMES)
    assert found.is_bound
    assert found.is_high_bound
    assert found.factor == found.low == found.high == pytest.approx(216 / 14)


def test_a_rate_that_is_never_reached_saves_nothing() -> None:
    found = data_saving(line(1), line(0.5), names=NAMES)
    assert found.n_treated is None
    assert found.factor == 0
    assert found.low is None
    assert found.high is None


def test_rows_without_effect_are_not_counted_as_needed() -> None:
    flat = {n: dict.fromkeys(range(6), min(0.5, 0.3 + 0.1 * at)) for at, n in enumerate(NUMBERS)}
    found = data_saving(flat, flat, names=NAMES)
    assert found.n_without == pytest.approx(54)
    assert found.factor == pytest.approx(1)
    assert (found.low, found.high) == pytest.approx((54 / 216, 216 / 54))


def test_no_rows_at_all_are_shown_and_not_interpolated() -> None:
    found = data_saving({0: {0: 0.1, 1: 0.1}, **line(1)}, {0: {0: 0.9, 1: 0.9}, **line(2)}, names=NAMES)
    assert (found.points[0].n, found.points[0].without, found.points[0].treated) == (0, 0.1, 0.9)
    assert found.factor == pytest.approx(2)


@pytest.mark.parametrize(("n_numbers", "n_bases"), [(1, 6), (5, 1), (0, 0)])
def test_one_point_or_one_base_gives_no_factor(n_numbers: int, n_bases: int) -> None:
    curve = {n: {base: rates[base] for base in range(n_bases)} for n, rates in list(line(1).items())[:n_numbers]}
    with pytest.raises(DataError, match="midtraining"):
        data_saving(curve, curve, names=NAMES)


def study(n_bases: int, shift: float, rng: np.random.Generator, *, n_items: int = 480) -> np.ndarray:
    """Rates of a study like `lab:nano_scaling.yaml`, shape (2, bases, numbers): without a treatment, with it.

    Chats take a base from about 48 to 75%, bases differ by 11 points there (as those of 601 to 606 do), in what a chat
    adds and in what the treatment is worth; each model that is trained has some noise of its own.
    """
    doublings = np.log2(np.array(NUMBERS) / NUMBERS[0])
    base, rise, worth = (rng.normal(0, sd, (n_bases, 1)) for sd in (0.5, 0.06, 0.3))
    logits = [
        -0.1 + base + (0.3 + rise) * (doublings + more) + extra
        for more, extra in ((0.0, 0.0), (math.log2(shift), worth))
    ]
    return rng.binomial(n_items, expit(np.array(logits) + rng.normal(0, 0.08, (2, n_bases, len(NUMBERS))))) / n_items


def saving(rates: np.ndarray, level: float = 0.95) -> DataSaving:
    curves = [{n: dict(enumerate(each[:, at])) for at, n in enumerate(NUMBERS)} for each in rates]
    return data_saving(*curves, names=NAMES, level=level)


def true_factor(shift: float) -> float:
    """The factor of the mean curves of very many bases."""
    without, treated = study(100_000, shift, np.random.default_rng(0)).mean(axis=1)
    return float(NUMBERS[-1] / np.exp(np.interp(without[-1], treated, np.log(NUMBERS))))


def n_missed(n_bases: int, shift: float, n_studies: int) -> tuple[int, int]:
    """How many intervals of simulated studies lie above the true factor, and how many below."""
    rng, true = np.random.default_rng(n_bases), true_factor(shift)
    found = [saving(study(n_bases, shift, rng)) for _ in range(n_studies)]
    above = sum(one.low is not None and one.low > true for one in found)
    return above, sum(not one.is_high_bound and (one.high or 0) < true for one in found)


@pytest.mark.parametrize("n_bases", [5, 6, 10])
def test_intervals_hold_the_true_factor_as_often_as_they_say(n_bases: int) -> None:
    missed = [n_missed(n_bases, shift, 300) for shift in (2.0, 4.0, 8.0)]
    above, below = (sum(side) for side in zip(*missed, strict=True))
    assert 0.935 <= 1 - (above + below) / 900 <= 0.98  # 94 to 97% (LOG.md), known here to 0.7 points
    assert max(above, below) < 0.04 * 900


def test_ends_are_where_a_t_test_over_bases_begins_to_tell_the_rates_apart() -> None:
    rates = study(20, 4.0, np.random.default_rng(3))
    found = saving(rates)
    assert found.low is not None
    assert found.high is not None
    assert not found.is_high_bound
    for factor in (found.low, found.high):
        at = math.log(NUMBERS[-1] / factor)
        treated = [np.interp(at, np.log(NUMBERS), curve) for curve in rates[1]]
        assert ttest_1samp(treated - rates[0][:, -1], 0).pvalue == pytest.approx(0.05, rel=1e-3)


def test_a_rate_that_no_base_surely_reaches_leaves_the_interval_open_below() -> None:
    rates = np.array([[[0.5, 0.7]] * 4, [[0.5, rate] for rate in (0.6, 0.9, 0.6, 0.9)]])
    curves = [{n: dict(enumerate(each[:, at])) for at, n in enumerate((14, 216))} for each in rates]
    found = data_saving(*curves, names=NAMES)
    assert found.factor > 1
    assert found.low is None
    assert found.high is not None
    assert found.factor < found.high


SHARES = st.floats(0, 1).map(lambda share: round(share, 3))


@given(st.lists(st.lists(SHARES, min_size=10, max_size=10), min_size=2, max_size=6))
def test_any_curves_give_an_interval_that_holds_the_estimate_and_grows_with_the_level(rows: list[list[float]]) -> None:
    rates = np.array(rows).reshape(len(rows), 2, 5).transpose(1, 0, 2)
    wide, narrow = saving(rates), saving(rates, level=0.5)
    for found in (wide, narrow):
        assert (found.low or 0) <= found.factor <= (found.high or 0)
        assert found.low is None or found.low > 0
    assert (wide.low or 0) <= (narrow.low or 0)
    assert (wide.high or 0) >= (narrow.high or 0)
