"""Evaluation: a checkpoint or any Inspect model, asked held-out pairs or an exam's questions.

Enter: items (pairs to choose from) and a `PreferenceConfig`, or an exam and its config; a model; judges, where an exam
needs them. Leave: an Inspect log, which is the source of truth, and what is read from it: score rows (a value, or none
with the reason), answers word for word, judges' replies.
inspect_ai lives in this room only, and is imported when something is asked, not before.
`inspect eval midspec/<name> --model midspec/<checkpoint>` asks the same.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
