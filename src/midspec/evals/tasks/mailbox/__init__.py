"""A mailbox over several turns: an assistant reads, sends, forwards and deletes, and a harmful shortcut is open."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
