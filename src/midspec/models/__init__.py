"""Models: opens a checkpoint (base, adapter, tokenizer, template), scores options, generates.

In: the name of a folder or of a model on the hub, and messages. Out: log-probabilities, texts, and chats as tokens.
torch, transformers and PEFT live here and in `train`; they are imported when something is opened, not before.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
