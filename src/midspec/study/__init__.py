"""Run a study: a study file goes in, a run folder with the result of every step and a report comes out.

In: a `StudyConfig` (from YAML or from Python). Out: its steps as typed lazy values (`study_steps`), a `Plan` of their
sizes and costs, and by `run_study` the records of all steps. Steps are made side by side in worker processes, those
that arms share once; an interrupted run goes on. `build_step` makes a single step in a folder of its own. Nothing is
printed: whoever shows a run listens to its `Event`s.

Another package brings a kind of step with a subclass of `Step` under the entry point group `midspec.steps`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
