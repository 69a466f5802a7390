"""Statistics: score rows in, estimates out. Sees scores only, never what made them.

Enters: `ArmScore` rows and the contrasts fixed before the run. Leaves: `Estimate` rows: rates and paired contrasts
with intervals that know which scores share a seed or an item, the variance between seeds, and what the design could
have seen; how far judges agree, and what a rate would be without a judge's errors.
"""

from midspec.analysis._agreement import agreements, cohen_kappa, fleiss_kappa
from midspec.analysis._estimates import contrasts, rates
from midspec.analysis._power import minimum_detectable_effect, power, seeds_for
from midspec.analysis._prevalence import adjusted

__all__ = [
    "adjusted",
    "agreements",
    "cohen_kappa",
    "contrasts",
    "fleiss_kappa",
    "minimum_detectable_effect",
    "power",
    "rates",
    "seeds_for",
]
