"""Statistics: score rows in, estimates out. Sees scores only, never what made them.

Enters: `ArmScore` rows and the contrasts fixed before the run. Leaves: `Estimate` rows: rates and paired contrasts
with intervals that know which scores share a seed or an item, the variance between seeds, and what the design could
have seen.
"""

from midspec.analysis._estimates import contrasts, rates
from midspec.analysis._power import minimum_detectable_effect, power, seeds_for

__all__ = ["contrasts", "minimum_detectable_effect", "power", "rates", "seeds_for"]
