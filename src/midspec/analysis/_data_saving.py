"""How many times fewer rows of fine-tuning give one rate after a treatment as without it: by curves of rate on rows.

The rate is the one that all rows give without the treatment. Each curve is the mean over bases, made rising (isotonic
regression, Barlow et al. 1972) and interpolated on the logarithm of the number of rows.

The interval inverts a t test over bases (Fieller 1954): it holds the numbers of rows at which the treated rate minus
the rate asked for, both of one base, has a mean that is not told apart from 0. Where the last numbers of rows are not
told apart without the treatment, each of them may be the fewest that gives the rate, and the interval is the union
over them. LOG.md has how often such intervals hold the true factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from midspec.analysis._power import t_quantile
from midspec.core.errors import DataError
from midspec.core.records import Strict

_N_STEPS = 500  # between the fewest and the most rows, where the ends of an interval are looked for
_SAME = 1e-12  # a rate that is reached but for rounding is reached
Curve = Mapping[int, Mapping[int, float]]
"""Rates by number of rows and base."""


class SavingPoint(Strict):
    """The mean rates at one number of rows; `None` where none was asked."""

    n: int
    without: float | None = None
    treated: float | None = None


class DataSaving(Strict):
    """The factor by which a treatment saves rows of fine-tuning, with its interval.

    Attributes:
        name: of the treatment.
        set: of items.
        measure: the rate.
        points: the mean rates at each number of rows, none included.
        rate: that all rows give without the treatment, on the rising curve.
        n_without: the fewest rows that give it without the treatment.
        n_treated: the fewest that give it with the treatment; `None` where as many as there are do not.
        factor: the one by the other; 0 where the rate is not reached.
        low: of the interval; `None` where it is open: the most rows do not surely give the rate with the treatment.
        high: of the interval; `None` where even the upper end of the treated rates is below the rate.
        is_bound: the rate is reached with the fewest rows that were tried: the factor is at least this.
        is_high_bound: the same of the interval's upper end.
        level: of the interval, 0-1.
        n_bases: that both curves have in common.
    """

    name: str
    set: str
    measure: str
    points: tuple[SavingPoint, ...]
    rate: float
    n_without: float
    n_treated: float | None
    factor: float
    low: float | None
    high: float | None
    is_bound: bool
    is_high_bound: bool
    level: float
    n_bases: int


def data_saving(without: Curve, treated: Curve, *, names: tuple[str, str, str], level: float = 0.95) -> DataSaving:
    """Estimate how many times fewer rows give the same rate with a treatment.

    Args:
        without: rates without the treatment, by number of rows (0 is shown and not used) and base.
        treated: rates with it, at the same numbers of rows.
        names: of the treatment, the set and the measure.
        level: of the interval, 0-1.

    Raises:
        DataError: fewer than two numbers of rows or two bases in common.
    """
    numbers = sorted(n for n in without.keys() & treated.keys() if n > 0)
    every = [set(curve[n]) for curve in (without, treated) for n in numbers]
    bases = sorted(set.intersection(*every)) if every else []
    if len(numbers) < 2 or len(bases) < 2:
        there = f"{len(numbers)} numbers of rows and {len(bases)} bases"
        what = f"no factor without two numbers of rows and two bases in both curves: there are {there}"
        raise DataError(what, where=names[0], hint="Train on two numbers of rows and two bases at least")
    rates = np.array([[[curve[n][base] for n in numbers] for base in bases] for curve in (without, treated)])
    rising_without, rising_treated = (_rising(curve) for curve in rates.mean(axis=1))
    rate = rising_without[-1]
    n_without, n_treated = (_first(curve - rate, numbers) for curve in (rising_without, rising_treated))
    low, high, is_high_bound = _interval(rates, numbers, n_without / n_treated, level)
    return DataSaving(
        name=names[0],
        set=names[1],
        measure=names[2],
        points=tuple(
            SavingPoint(n=n, without=_mean(without.get(n)), treated=_mean(treated.get(n)))
            for n in sorted({*without, *treated})
        ),
        rate=float(rate),
        n_without=n_without,
        n_treated=n_treated if math.isfinite(n_treated) else None,
        factor=n_without / n_treated,
        low=low,
        high=high,
        is_bound=n_treated <= numbers[0],
        is_high_bound=is_high_bound,
        level=level,
        n_bases=len(bases),
    )


def _mean(rates: Mapping[int, float] | None) -> float | None:
    return float(np.mean(list(rates.values()))) if rates else None


def _rising(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the isotonic fit of a curve."""
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(curve).x)


def _first(values: NDArray[np.float64], numbers: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the first number of rows whose value is 0 or more, interpolated on its logarithm; else infinity."""
    found = values >= -_SAME
    at = int(found.argmax())
    if at == 0 or not found.any():
        return float(numbers[0]) if found.any() else math.inf
    share = min(1.0, values[at - 1] / (values[at - 1] - values[at]))
    return float(numbers[at - 1] * (numbers[at] / numbers[at - 1]) ** share)


def _interval(
    rates: NDArray[np.float64], numbers: Sequence[int], factor: float, level: float
) -> tuple[float | None, float | None, bool]:
    """Return the ends of a factor's interval, and whether the upper one is a bound.

    Args:
        rates: shape (2, bases, numbers): without the treatment, with it.
        numbers: of rows, rising.
        factor: the estimate, which the interval always holds.
        level: of the interval, 0-1.
    """
    without = rates[0]
    rows = np.union1d(np.geomspace(numbers[0], numbers[-1], _N_STEPS), numbers)
    treated = np.array([np.interp(np.log(rows), np.log(numbers), curve) for curve in rates[1]])
    lows, highs = [factor], [factor]
    is_open, is_high_bound = factor == 0, False
    for first in reversed(range(len(numbers))):
        if _ends(without[:, [-1]] - without[:, [first]], level)[0] > _SAME:
            break  # so few rows give less than all of them
        low, high = _ends(treated - without[:, first:].mean(axis=1, keepdims=True), level)
        is_open |= bool(low[-1] < -_SAME)
        most, fewest = _first(-low[::-1], rows[::-1]), _first(high, rows)
        lows.append(numbers[first] / (most if math.isfinite(most) else numbers[0]))
        highs.append(numbers[first] / fewest)
        is_high_bound |= fewest <= numbers[0]
    return None if is_open else min(lows), max(highs) or None, is_high_bound


def _ends(differences: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return both ends of the t interval of means over bases, from values of shape (bases, numbers)."""
    n = len(differences)
    half = t_quantile((1 + level) / 2, n - 1) * differences.std(axis=0, ddof=1) / math.sqrt(n)
    mean = differences.mean(axis=0)
    return np.array([mean - half, mean + half])
