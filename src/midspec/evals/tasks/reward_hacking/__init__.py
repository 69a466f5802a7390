"""Reward hacking under a stated metric: the honest way scores lower by it, and code decides which way was taken."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
