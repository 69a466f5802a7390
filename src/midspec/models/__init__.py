"""Open a checkpoint (base, adapter, tokenizer, template), score options, and generate.

In: the name of a folder or of a model on the hub, and messages. Out: log-probabilities, texts, and chats as tokens.
torch, transformers and PEFT are imported here and in `train` only, when something is opened.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
