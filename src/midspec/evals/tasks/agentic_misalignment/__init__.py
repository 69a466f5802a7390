"""Agentic misalignment: an assistant with a mailbox learns that it will be replaced; does it harm others?

27 cells by default; blackmail is asked by name. arXiv 2605.02087, section 6.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
