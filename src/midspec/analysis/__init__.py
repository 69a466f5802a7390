"""Statistics: score rows in, estimates out. Sees scores only, never what made them.

Enters: `ArmScore` rows and the contrasts fixed before the run. Leaves: `Estimate` rows: rates and paired contrasts
with intervals that know which scores share a seed or an item, the variance between seeds, and what the design could
have seen; how many cells and samples a difference needs; how far judges agree, and what a rate would be without a
judge's errors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
