"""Train one stage: rows and a checkpoint in, a checkpoint out.

In: a `TrainJob` (parent or architecture, JSONL files of documents and chats, a recipe, a seed). Out: a folder that
transformers, PEFT and vLLM open, with the metrics of every update. What is trained on is counted first, and a run
that would teach nothing is refused. The heavy libraries are imported when something is trained.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
