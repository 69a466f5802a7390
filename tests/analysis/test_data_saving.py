"""Rows saved by a treatment: held against curves whose factor is known, and against simulated studies."""

from __future__ import annotations

import numpy as np
import pytest

from midspec.analysis import data_saving
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
    assert found.factor == pytest.approx(216 / 14)


def test_a_rate_that_is_never_reached_saves_nothing() -> None:
    found = data_saving(line(1), line(0.5), names=NAMES)
    assert found.n_treated is None
    assert found.factor == 0


def test_rows_without_effect_are_not_counted_as_needed() -> None:
    flat = {n: dict.fromkeys(range(6), min(0.5, 0.3 + 0.1 * at)) for at, n in enumerate(NUMBERS)}
    found = data_saving(flat, flat, names=NAMES)
    assert found.n_without == pytest.approx(54)
    assert found.factor == pytest.approx(1)


def test_no_rows_at_all_are_shown_and_not_interpolated() -> None:
    found = data_saving({0: {0: 0.1, 1: 0.1}, **line(1)}, {0: {0: 0.9, 1: 0.9}, **line(2)}, names=NAMES)
    assert (found.points[0].n, found.points[0].without, found.points[0].treated) == (0, 0.1, 0.9)
    assert found.factor == pytest.approx(2)


@pytest.mark.parametrize(("n_numbers", "n_bases"), [(1, 6), (5, 1), (0, 0)])
def test_one_point_or_one_base_gives_no_factor(n_numbers: int, n_bases: int) -> None:
    curve = {n: {base: rates[base] for base in range(n_bases)} for n, rates in list(line(1).items())[:n_numbers]}
    with pytest.raises(DataError, match="midtraining"):
        data_saving(curve, curve, names=NAMES)


@pytest.mark.slow
def test_intervals_hold_the_true_factor_as_often_as_they_say() -> None:
    """400 simulated studies of six bases: bases differ in level and in slope, curves have noise of their own."""
    rng = np.random.default_rng(11)
    true, held, above, below = 3.0, 0, 0, 0
    for study in range(400):
        base = rng.normal(0, 0.1, (6, 1)) + rng.normal(0, 0.01, (6, 1)) * np.arange(len(NUMBERS))
        curves = [line(shift, base + rng.normal(0, 0.02, (6, len(NUMBERS)))) for shift in (1, true)]
        found = data_saving(*curves, names=NAMES, seed=study)
        above += found.low > true
        below += found.high < true and not found.is_high_bound
        held += found.low <= true and (true <= found.high or found.is_high_bound)
    assert abs(above - below) < 20
    assert 0.93 <= held / 400 <= 0.985
