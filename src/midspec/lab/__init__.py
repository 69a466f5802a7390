"""The lab: a world small enough to learn on a CPU.

In: a seed and sizes. Out: pure data, as the ordinary rooms take it: a tokenizer folder, base-corpus rows to pretrain
on, rows to replay, held-out items and a competence gate; and the shipped files of the nano study (specs in the
world's own language, frames, the study file). Nothing is trained, asked or scored here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
