"""The side-effect panel: what training may have changed beside what it was meant to.

Eight exams, each with items of its own, one measure that reads the effect and one control whose rate should not move.
None needs a judge. Enter: a config and what a model said. Leave: the measure, and beside it how many answers were
refused, cut off or empty. The sets are called `<panel>` and `<panel>-control`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
