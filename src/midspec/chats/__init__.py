"""The chats room: a Model Spec goes in, single-turn chats to fine-tune on come out.

In: a filled `Spec`, a `ChatConfig`, and chat frames (YAML data: how to ask, how to reply). Out: `Chats`: opaque
preference chats, or twins with and without chain of thought; with what was rejected and why. There are two kinds of
author, and every row says which: the quoting one, whose every sentence is the spec's or the frames'; and a language
model, whose prompts are in `_prompts/` and whose chats another model judges.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
