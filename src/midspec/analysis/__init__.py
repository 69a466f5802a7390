"""Statistics of scores: rates, paired contrasts, power, agreement of judges, correction for a judge's errors.

In: `ArmScore` rows and the contrasts fixed before the run. Out: `Estimate` rows with intervals that account for scores
that share a seed or an item, the variance between seeds, and the smallest detectable difference; sample sizes that a
difference needs; `Agreement` rows.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
