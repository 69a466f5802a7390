"""Statistics: score rows in, estimates out. Sees scores only, never what made them.

Enters: `ArmScore` rows and the contrasts fixed before the run. Leaves: `Estimate` rows: rates and paired contrasts
with intervals that know which scores share a seed or an item, the variance between seeds, and what the design could
have seen; how many cells and samples a difference needs; how far judges agree, and what a rate would be without a
judge's errors.
"""

from midspec.analysis._agreement import agreements, cohen_kappa, fleiss_kappa
from midspec.analysis._estimates import contrasts, rates
from midspec.analysis._power import minimum_detectable_effect, power, seeds_for
from midspec.analysis._prevalence import adjusted
from midspec.analysis._reasons import reason_agreements, reason_shares
from midspec.analysis._sampling import (
    Spread,
    cells_for,
    power_over_cells,
    repeats_for,
    smallest_difference,
    spread_of,
)

__all__ = [
    "Spread",
    "adjusted",
    "agreements",
    "cells_for",
    "cohen_kappa",
    "contrasts",
    "fleiss_kappa",
    "minimum_detectable_effect",
    "power",
    "power_over_cells",
    "rates",
    "reason_agreements",
    "reason_shares",
    "repeats_for",
    "seeds_for",
    "smallest_difference",
    "spread_of",
]
