"""What corpora, chats, evaluation items, reasons and judges share where a language model writes.

Prompt files with slots, YAML files by name, work side by side without barriers, results in order, lists asked for until
they are long enough, rows on disk until their order is known, and the size of a stage before anything is sent.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
