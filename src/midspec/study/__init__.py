"""The study room: a study file goes in, a run folder with every step's result and a report comes out.

Enters: a `StudyConfig` (from YAML or from Python). Leaves: steps as lazy values, a `Plan`, and by `run_study` the
records of all steps. Steps are done side by side in worker processes, shared ones once; an interrupted run goes on.
Nothing is printed here: whoever wants to see a run go listens to its `Event`s.

The names below are loaded when they are first used, so that importing this room loads neither models nor evaluations.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
