"""Plan, run and report a study that compares arms.

In: a `StudyConfig` (from YAML or from Python). Out: steps as lazy values, a `Plan`, and by `run_study` the records of
all steps in a run folder with a report. Steps run side by side in worker processes, shared ones once; an interrupted
run continues. Nothing is printed here; a caller of `run_study` gets its `Event`s.

Names are loaded when they are first used, so that importing this package loads neither models nor evaluations.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
