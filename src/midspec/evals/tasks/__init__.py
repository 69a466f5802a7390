"""Exams: questions that a model answers in its own words, read without a judge and then judged.

Enter: an `EvalTask` and its config, a model, judges. Leave: an Inspect log, which is the source of truth, and what is
read from it: score rows, answers word for word, and what every judge replied. A log is read again, or judged again by
other judges, without asking the model anything.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
