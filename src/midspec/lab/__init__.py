"""Draw a nano world: one small enough that a model learns it on a CPU.

In: a seed and sizes. Out: pure data: a tokenizer folder, rows of a base corpus to pretrain on, rows to replay,
held-out items and a competence gate; and the shipped files of the nano study (specs in the world's own language,
templates, the study file).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
