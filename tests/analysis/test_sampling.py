"""Cells and samples a cell: the promised power is what simulated studies have under scipy's own paired test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from midspec.analysis import Spread, cells_for, power_over_cells, repeats_for, smallest_difference, spread_of
from midspec.core.errors import DataError

N_STUDIES = 4_000


def found_share(rng, difference, spread, n_cells, n_repeats):
    """How often scipy's paired t test over cells finds the difference, each cell's rates drawn anew."""
    middle = 0.5 + rng.uniform(-0.1, 0.1, (N_STUDIES, n_cells))
    apart = rng.normal(difference, spread.between_sd, (N_STUDIES, n_cells))
    plus = rng.binomial(n_repeats, np.clip(middle + apart / 2, 0, 1)) / n_repeats
    minus = rng.binomial(n_repeats, np.clip(middle - apart / 2, 0, 1)) / n_repeats
    found = ttest_rel(plus, minus, axis=1)
    return float(((found.pvalue < 0.05) & (found.statistic > 0)).mean())


@pytest.mark.parametrize(("n_cells", "n_repeats"), [(27, 10), (27, 40), (9, 100), (150, 1)])
def test_simulated_studies_find_a_difference_as_often_as_power_says(n_cells, n_repeats):
    # Rates near one half: a sample has a standard deviation of just under 0.5.
    spread = Spread(between_sd=0.15, within_sd=0.49)
    told = power_over_cells(0.10, spread, n_cells=n_cells, n_repeats=n_repeats)
    seen = found_share(np.random.default_rng(4), 0.10, spread, n_cells, n_repeats)
    assert abs(seen - told) < 0.035


@pytest.mark.parametrize("difference", [0.08, 0.10, 0.20])
def test_the_samples_that_are_called_enough_find_the_difference_four_times_in_five(difference):
    spread = Spread(between_sd=0.12, within_sd=0.49)
    n_repeats = repeats_for(difference, spread, n_cells=27)
    seen = found_share(np.random.default_rng(8), difference, spread, 27, n_repeats)
    # The least number is whole, so power may be more than was asked for, and hardly less.
    assert seen > 0.76
    if n_repeats > 1:
        assert power_over_cells(difference, spread, n_cells=27, n_repeats=n_repeats - 1) < 0.8


def test_the_cells_that_are_called_enough_find_the_difference_four_times_in_five():
    spread = Spread(between_sd=0.2, within_sd=0.49)
    n_cells = cells_for(0.10, spread, n_repeats=5)
    assert abs(found_share(np.random.default_rng(15), 0.10, spread, n_cells, 5) - 0.8) < 0.04
    assert power_over_cells(0.10, spread, n_cells=n_cells - 1, n_repeats=5) < 0.8


def test_no_number_of_samples_makes_up_for_few_cells_that_differ():
    spread = Spread(between_sd=0.3, within_sd=0.5)
    assert repeats_for(0.10, spread, n_cells=9) is None
    assert found_share(np.random.default_rng(16), 0.10, spread, 9, 5_000) < 0.4
    assert cells_for(0.10, spread, n_repeats=10) > 9


def test_the_spread_of_simulated_samples_is_found_again():
    rng = np.random.default_rng(23)
    n_cells, n_repeats = 4_000, 6
    apart = rng.normal(0.05, 0.1, n_cells)
    plus, minus = (rng.binomial(1, 0.5 + sign * apart[:, None] / 2, (n_cells, n_repeats)) for sign in (1, -1))
    found = spread_of(plus.tolist(), minus.tolist())
    assert found.between_sd == pytest.approx(0.1, abs=0.02)
    assert found.within_sd == pytest.approx(0.5, abs=0.01)


def test_cells_of_unequal_size_do_not_bend_the_spread():
    rng = np.random.default_rng(42)
    sizes = rng.integers(2, 12, 6_000)
    apart = rng.normal(0, 1.0, len(sizes))
    plus = [list(rng.normal(shift, 2.0, size)) for shift, size in zip(apart, sizes, strict=True)]
    minus = [list(rng.normal(0, 2.0, size)) for size in reversed(sizes)]
    found = spread_of(plus, minus)
    assert found.between_sd == pytest.approx(1.0, abs=0.1)
    assert found.within_sd == pytest.approx(2.0, abs=0.03)


def test_single_samples_and_single_cells_tell_nothing_of_the_spread():
    assert spread_of([[1.0], [0.0]], [[0.0], [0.0]]) is None
    assert spread_of([[1.0, 0.0]], [[0.0, 1.0]]) is None
    assert spread_of([[1.0, 0.0], []], [[0.0, 1.0], [1.0]]) is None


@given(
    between=st.floats(0.0, 0.4),
    within=st.floats(0.0, 0.5),
    n_cells=st.integers(2, 60),
    n_repeats=st.integers(1, 60),
)
def test_more_cells_and_more_samples_never_hide_a_difference(between, within, n_cells, n_repeats):
    spread = Spread(between, within)
    least = smallest_difference(spread, n_cells=n_cells, n_repeats=n_repeats)
    assert smallest_difference(spread, n_cells=n_cells + 1, n_repeats=n_repeats) <= least
    assert smallest_difference(spread, n_cells=n_cells, n_repeats=n_repeats + 1) <= least
    assert math.isclose(power_over_cells(least, spread, n_cells=n_cells, n_repeats=n_repeats), 0.8, abs_tol=1e-3)


def test_what_cannot_be_a_design_is_a_one_line_error():
    spread = Spread(0.1, 0.5)
    with pytest.raises(DataError, match="a difference of 0"):
        repeats_for(0.0, spread, n_cells=27)
    with pytest.raises(DataError, match="1 cells of 10 samples"):
        smallest_difference(spread, n_cells=1, n_repeats=10)
    with pytest.raises(DataError, match="different cells"):
        spread_of([[1.0]], [])
