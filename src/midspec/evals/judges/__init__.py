"""Judges: how a model that grades is asked, read, paid for and itself measured.

In: rubrics filled in with escaped answers. Out: verdicts read strictly, or the reason why there is none; and, from a
set of transcripts whose verdicts are known, how often a judge errs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
