"""Write single-turn chats to fine-tune on from a Model Spec.

In: a filled `Spec`, a `ChatConfig`, and chat templates (YAML: how to ask, how to reply). Out: opaque preference chats,
or twins with and without chain of thought, and what was rejected with the reason. There are two authors, and every row
says which: the template author, whose every sentence is the spec's or the templates'; and a language model, whose
prompts are in `_prompts/` and whose chats another model judges. Another package can add a style of chats with a
subclass of `ChatStyle` under the entry point group `midspec.chat_styles`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
