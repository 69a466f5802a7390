"""Quantiles of Student's t, and what a design can see: power, the smallest detectable effect, seeds needed.

Power is the exact one of a two-sided t test (noncentral t), not its normal approximation: with five seeds the two
differ by a factor of about 1.3. scipy is imported on first use, so that importing the room stays quick.
"""

from __future__ import annotations

import math
from functools import lru_cache

from midspec.errors import DataError

__all__ = ["minimum_detectable_effect", "power", "seeds_for", "t_quantile"]

_MOST_SEEDS = 1_000


@lru_cache(maxsize=4096)
def t_quantile(share: float, df: float) -> float:
    """The value that a Student t with `df` degrees of freedom stays below with probability `share`."""
    from scipy.special import stdtrit

    return float(stdtrit(df, share))


def power(effect: float, se: float, df: float, *, alpha: float = 0.05) -> float:
    """The probability that a two-sided t test at level `alpha` finds a true `effect`, with its right sign.

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
    """The smallest true effect in standard errors that is found with probability `wanted`, by bisection."""
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
    """The smallest true difference that a two-sided t test finds with the given power, in the units of `se`.

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
        raise DataError(f"a power of {power} is not between alpha and 1", where="power", mend="Use 0.8, say")
    return se * _detectable_in_errors(df, power, alpha)


def seeds_for(difference: float, seed_sd: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """How many seeds a paired contrast needs to find a true `difference` with the given power.

    Args:
        difference: the true difference to be found, on the 0-1 scale.
        seed_sd: standard deviation between seeds of the paired difference (`Estimate.seed_sd` of a contrast), with
            as many items a seed as are planned.
        power: the wanted probability of finding it.
        alpha: the two-sided level of the test.

    Returns:
        The least number of seeds, at least 2.

    Raises:
        DataError: the difference is 0 (no number is enough) or another argument is out of range.
    """
    if difference == 0:
        raise DataError("no number of seeds finds a difference of 0", where="difference", mend="State a size")
    _check(seed_sd, 1, alpha)
    for n_seeds in range(2, _MOST_SEEDS + 1):
        se = seed_sd / math.sqrt(n_seeds)
        if minimum_detectable_effect(se, n_seeds - 1, power=power, alpha=alpha) <= abs(difference):
            return n_seeds
    raise DataError(f"more than {_MOST_SEEDS} seeds would be needed", where="difference", mend="State a larger one")


def _check(se: float, df: float, alpha: float) -> None:
    if not se > 0:
        raise DataError(f"a standard error of {se} is not positive", where="se", mend="Power needs some variance")
    if not df > 0:
        raise DataError(f"{df} degrees of freedom are too few", where="df", mend="Use two seeds or items at least")
    if not 0 < alpha < 1:
        raise DataError(f"a level of {alpha} is not between 0 and 1", where="alpha", mend="Use 0.05, say")
