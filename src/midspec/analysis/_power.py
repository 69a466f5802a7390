"""Quantiles of Student's t, and the power of a design: the smallest detectable effect, seeds and samples needed.

Power is the exact one of a two-sided t test (noncentral t), not its normal approximation: with five seeds the two
differ by a factor of about 1.3. scipy is imported on first use, so that importing this package stays quick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from midspec.core.errors import DataError

_MAX_CELLS = 1_000_000
# The smallest variance: below it the noncentral t is not computed in double precision.
_TINY = 1e-12


@lru_cache(maxsize=4096)
def t_quantile(share: float, df: float) -> float:
    """Return the quantile of Student's t with `df` degrees of freedom at probability `share`."""
    from scipy.special import stdtrit

    return float(stdtrit(df, share))


def power(effect: float, se: float, df: float, *, alpha: float = 0.05) -> float:
    """Return the probability that a two-sided t test at level `alpha` finds a true `effect`, with its right sign.

    Args:
        effect: the true difference, in the units of `se`.
        se: standard error of the estimate, greater than 0.
        df: its degrees of freedom (seeds minus one, for a t interval over seed means).
        alpha: the two-sided level of the test.

    Raises:
        DataError: `se` or `df` is not positive, or `alpha` not between 0 and 1.
    """
    from scipy.special import nctdtr

    _check(se, df, alpha)
    critical = t_quantile(1 - alpha / 2, df)
    return float(1 - nctdtr(df, abs(effect) / se, critical))


@lru_cache(maxsize=4096)
def _detectable_in_errors(df: float, wanted: float, alpha: float) -> float:
    """Return the smallest true effect in standard errors that is found with probability `wanted`, by bisection."""
    low, high = 0.0, 2.0
    while power(high, 1.0, df, alpha=alpha) < wanted:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        if power(middle, 1.0, df, alpha=alpha) < wanted:
            low = middle
        else:
            high = middle
    return high


def minimum_detectable_effect(se: float, df: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true difference that a two-sided t test finds with the given power, in the units of `se`.

    Args:
        se: standard error of the estimate.
        df: its degrees of freedom.
        power: the wanted probability of finding the difference.
        alpha: the two-sided level of the test.

    Raises:
        DataError: an argument is out of range.
    """
    _check(se, df, alpha)
    if not alpha < power < 1:
        raise DataError(f"a power of {power} is not between alpha and 1", where="power", hint="Use 0.8, say")
    return se * _detectable_in_errors(df, power, alpha)


def _check(se: float, df: float, alpha: float) -> None:
    if not se > 0:
        raise DataError(f"a standard error of {se} is not positive", where="se", hint="Power needs some variance")
    if not df > 0:
        raise DataError(f"{df} degrees of freedom are too few", where="df", hint="Use two seeds or items at least")
    if not 0 < alpha < 1:
        raise DataError(f"a level of {alpha} is not between 0 and 1", where="alpha", hint="Use 0.05, say")


class Spread(NamedTuple):
    """Standard deviations, in the measure's own units.

    Attributes:
        between_sd: of the cells' true differences between the two arms.
        within_sd: of one sample about its cell's rate; at most 0.5 for a share.
    """

    between_sd: float
    within_sd: float


def spread_of(plus: Sequence[Sequence[float]], minus: Sequence[Sequence[float]]) -> Spread | None:
    """Estimate the spread behind two arms' samples, by the method of moments.

    Args:
        plus: for each cell the samples of one arm; a cell where either arm has none is left out.
        minus: the same cells of the other arm.

    Returns:
        `None` with fewer than two cells to compare, or where no cell has two samples of one arm: what varies between
        cells can't be told from what varies within them then. A variance between cells that comes out below 0 is 0.

    Raises:
        DataError: the two are not of the same cells.
    """
    if len(plus) != len(minus):
        raise DataError("the arms have different cells", where="spread", hint="Give each arm every cell, if empty")
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(plus, minus, strict=True) if len(a) and len(b)]
    several = [cell for pair in pairs for cell in pair if len(cell) > 1]
    if len(pairs) < 2 or not several:
        return None
    within = sum(float(((cell - cell.mean()) ** 2).sum()) for cell in several) / sum(len(cell) - 1 for cell in several)
    observed = float(np.var([a.mean() - b.mean() for a, b in pairs], ddof=1))
    noise = within * float(np.mean([1 / len(a) + 1 / len(b) for a, b in pairs]))
    return Spread(math.sqrt(max(0.0, observed - noise)), math.sqrt(within))


def power_over_cells(difference: float, spread: Spread, *, n_cells: int, n_repeats: int) -> float:
    """Return the probability that the paired t test over cells finds a true mean `difference`, with its right sign.

    Args:
        difference: in the measure's own units (0.10 is 10 points of a share).
        spread: between and within cells.
        n_cells: questions that both arms answer, at least 2.
        n_repeats: samples of each arm a cell, at least 1.

    Raises:
        DataError: a number is out of range.
    """
    return power(difference, _error(spread, n_cells, n_repeats), n_cells - 1)


def smallest_difference(spread: Spread, *, n_cells: int, n_repeats: int) -> float:
    """Return the smallest true difference that a design finds with a power of 80%, in the measure's own units.

    Raises:
        DataError: a number is out of range.
    """
    return minimum_detectable_effect(_error(spread, n_cells, n_repeats), n_cells - 1)


def repeats_for(difference: float, spread: Spread, *, n_cells: int) -> int | None:
    """Return the samples of each arm that a cell needs, for a true `difference` to be found with a power of 80%.

    Returns:
        The smallest number; `None` where no number is enough, because too few cells differ too much among themselves.

    Raises:
        DataError: a number is out of range, or the difference is 0.
    """
    _check_difference(difference)
    # What the cells alone allow; bisecting up to a bound would call a million samples possible.
    if spread.between_sd > 0 and not _finds(spread._replace(within_sd=0.0), difference, n_cells, 1):
        return None
    return least(1, lambda n: _finds(spread, difference, n_cells, n))


def cells_for(difference: float, spread: Spread, *, n_repeats: int) -> int | None:
    """Return the number of cells needed, each answered `n_repeats` times by each arm, to find a true `difference`.

    Returns:
        The smallest number, at least 2; `None` for more than a million.

    Raises:
        DataError: a number is out of range, or the difference is 0.
    """
    _check_difference(difference)
    return least(2, lambda n: _finds(spread, difference, n, n_repeats))


def _finds(spread: Spread, difference: float, n_cells: int, n_repeats: int) -> bool:
    return smallest_difference(spread, n_cells=n_cells, n_repeats=n_repeats) <= abs(difference)


def least(first: int, enough: Callable[[int], bool]) -> int | None:
    """Return the least number from `first` to a million that is enough, by bisection; more is never worse."""
    high = first
    while not enough(high):
        if high >= _MAX_CELLS:
            return None
        high = min(2 * high, _MAX_CELLS)
    low = max(first, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def _error(spread: Spread, n_cells: int, n_repeats: int) -> float:
    """Return the standard error of the mean difference over cells."""
    if n_cells < 2 or n_repeats < 1 or min(spread) < 0:
        what = f"{n_cells} cells of {n_repeats} samples, standard deviations {spread.between_sd}, {spread.within_sd}"
        raise DataError(what, where="power", hint="Two cells, one sample and no negative spread are the least")
    found = spread.between_sd**2 + 2 * spread.within_sd**2 / n_repeats
    return math.sqrt(max(found, _TINY) / n_cells)


def _check_difference(difference: float) -> None:
    if difference == 0:
        raise DataError("no number finds a difference of 0", where="difference", hint="State a size")
