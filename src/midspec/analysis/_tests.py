"""How surprising a contrast would be if there were no difference, alone and among many."""

from __future__ import annotations

import math
from collections.abc import Sequence

from midspec.analysis._intervals import Interval
from midspec.analysis._power import t_quantile

__all__ = ["holm", "p_value"]

_HALVINGS = 60


def p_value(found: Interval) -> float | None:
    """The two-sided p against no difference: the level at which the interval would just touch 0.

    `None` where nothing varied, because an interval that is only a bound has no p.
    """
    if not found.parts:
        return None
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        half = math.hypot(*(t_quantile(middle / 2, part.df) * math.sqrt(part.variance) for part in found.parts))
        low, high = (low, middle) if half <= abs(found.value) else (middle, high)
    return high


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction, which holds the chance of any false finding among all that were asked.

    A contrast without a p still counts as one that was asked.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    most = 0.0
    for rank, (p, index) in enumerate(known):
        most = max(most, min(1.0, p * (len(p_values) - rank)))
        corrected[index] = most
    return corrected
